// What must hold whatever is put in: says where it does not, and ends the fuzzer, which keeps the input.
#pragma once

#include <cstdio>
#include <cstdlib>

#define REQUIRE_THAT(condition)                                                           \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)
