#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#define CATCH_CONFIG_RUNNER
#include <catch2/catch.hpp>
#endif

#include <cstdlib>
#include <iostream>
#include <random>

namespace engenho::testing {

unsigned long seed() {
  static const unsigned long value = [] {
    if (const char* given = std::getenv("ENGENHO_TEST_SEED")) return std::strtoul(given, nullptr, 10);
    return static_cast<unsigned long>(std::random_device{}());
  }();
  return value;
}

}  // namespace engenho::testing

int main(int argc, char** argv) {
  std::cout << "seed " << engenho::testing::seed() << std::endl;
  return Catch::Session().run(argc, argv);
}
