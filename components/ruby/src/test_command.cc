#include <iostream>

#include "engenho/ruby/evaluator.h"

namespace engenho::ruby {

int test_command(const std::vector<std::string>&) {
  std::cerr << "engenho pangea test: not there yet\n";
  return 1;
}

}  // namespace engenho::ruby
