// Seeded documents of any schema, for round trips.
#pragma once

#include <random>

#include "engenho/base/json.h"
#include "engenho/schema/schema.h"

namespace engenho::testing {

class Documents {
 public:
  explicit Documents(unsigned long seed) : random_(seed) {}
  // A document of `schema`, in no particular form: about half of its fields, lists and maps of up to three.
  json::Value make(const schema::Schema& schema, int depth = 0);

 private:
  size_t below(size_t n) { return random_() % n; }
  std::string word();
  std::mt19937_64 random_;
};

}  // namespace engenho::testing
