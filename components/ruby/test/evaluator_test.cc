#include "engenho/ruby/evaluator.h"

#include <catch2/catch_test_macros.hpp>

namespace engenho::ruby {

TEST_CASE("version") {}

}  // namespace engenho::ruby
