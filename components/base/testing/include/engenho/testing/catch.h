// Catch2 2 (Debian 12) and 3 (Debian 13) under one include.
#pragma once

#if __has_include(<catch2/catch_all.hpp>)
#include <catch2/catch_all.hpp>
#else
#include <catch2/catch.hpp>
#endif

namespace engenho::testing {
// The seed of this run, printed at start; ENGENHO_TEST_SEED repeats one.
unsigned long seed();
}  // namespace engenho::testing
