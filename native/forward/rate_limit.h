// How many messages may be sent in a second: altogether, and to one destination, so that a host that provokes
// many leaves some for the others. Used by one thread.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>

#include "forward/flat_map.h"

namespace vpc_conn::forward {

class RateLimit {
 public:
  // `key` names the destination. One destination gets a tenth of `per_second`, but at least one.
  bool Allow(uint64_t key, uint32_t now_seconds, uint32_t per_second) {
    if (!Take(all_, now_seconds, per_second)) return false;
    return Take(by_key_[MixHash(key) % by_key_.size()], now_seconds, std::max(1u, per_second / 10));
  }

 private:
  struct Count {
    uint32_t second = 0;
    uint32_t sent = 0;
  };
  static bool Take(Count& count, uint32_t now_seconds, uint32_t limit) {
    if (count.second != now_seconds) count = {now_seconds, 0};
    if (count.sent >= limit) return false;
    count.sent++;
    return true;
  }

  Count all_;
  std::array<Count, 256> by_key_{};  // destinations with one hash share a place
};

}  // namespace vpc_conn::forward
