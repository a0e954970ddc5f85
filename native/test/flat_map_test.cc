#include "forward/flat_map.h"

#include <doctest/doctest.h>

#include <map>
#include <random>

namespace vpc_conn::forward {

TEST_SUITE("flat_map") {
  TEST_CASE("finds what was put, and nothing else, against std::map") {
    std::mt19937_64 random(1);
    for (const size_t count : {0u, 1u, 4u, 5u, 100u, 5000u}) {
      FlatMap<uint64_t> map;
      map.Reserve(count);
      std::map<uint64_t, uint64_t> model;
      while (model.size() < count) {
        // Few distinct keys and dense ones: replacements and clusters.
        const uint64_t key = random() % 2 == 0 ? random() % (count * 2) : random() >> 1;
        const uint64_t value = random();
        map.Put(key, value);
        model[key] = value;
        CHECK(map.size() == model.size());
      }
      for (const auto& [key, value] : model) {
        const uint64_t* found = map.Find(key);
        REQUIRE(found != nullptr);
        CHECK(*found == value);
      }
      for (int round = 0; round < 10000; round++) {
        const uint64_t key = random() % 2 == 0 ? random() % (count * 4 + 1) : random() >> 1;
        CHECK((map.Find(key) != nullptr) == (model.count(key) != 0));
      }
    }
  }

  TEST_CASE("keys that hash to one slot are kept apart") {
    FlatMap<int> map;
    map.Reserve(64);
    std::map<uint64_t, int> same;
    for (uint64_t key = 0; same.size() < 64; key++) {
      if ((MixHash(key) & 127) == 7) same[key] = static_cast<int>(same.size());
    }
    for (const auto& [key, value] : same) map.Put(key, value);
    for (const auto& [key, value] : same) {
      REQUIRE(map.Find(key) != nullptr);
      CHECK(*map.Find(key) == value);
    }
  }

  TEST_CASE("Reserve empties") {
    FlatMap<int> map;
    map.Put(1, 1);
    map.Reserve(1);
    CHECK(map.Find(1) == nullptr);
    CHECK(map.size() == 0);
  }
}

}  // namespace vpc_conn::forward
