// How much of the masquerade tables each far host holds, so that none may starve the others. Under the mutex
// of Bindings.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <unordered_map>

#include "forward/nat.h"

namespace vpc_conn::forward {

struct FarHost {
  std::array<uint32_t, static_cast<size_t>(NatProtocol::count_)> bindings{};
  uint32_t flows = 0;
  uint8_t pool_index = 0;  // its masquerade address (RFC 4787 REQ-2: paired)
};

class FarHosts {
 public:
  explicit FarHosts(uint64_t seed) : hosts_(16, Hash{seed}) {}

  static uint64_t KeyOf(const FarEndpoint& far) { return (uint64_t{far.peer_id} << 32) | far.address; }

  FarHost* Find(uint64_t key) {
    const auto found = hosts_.find(key);
    return found == hosts_.end() ? nullptr : &found->second;
  }
  FarHost& Enter(uint64_t key) { return hosts_[key]; }
  void LeaveIfIdle(uint64_t key) {
    const auto found = hosts_.find(key);
    if (found != hosts_.end() && found->second.flows == 0) hosts_.erase(found);
  }
  size_t size() const { return hosts_.size(); }

 private:
  struct Hash {
    uint64_t seed;
    size_t operator()(uint64_t key) const {
      const auto product = static_cast<unsigned __int128>(key ^ seed) * (seed | 1);
      return static_cast<size_t>(product) ^ static_cast<size_t>(product >> 64);
    }
  };
  std::unordered_map<uint64_t, FarHost, Hash> hosts_;
};

// The rule for both tables. One eighth is kept for hosts that hold less than an equal share, so no single
// host can take all of it, and nothing live has to end for another one's sake.
struct FairShare {
  uint32_t capacity;
  uint32_t hosts;  // the one that asks among them

  // As if one more came: to the only one not all is due.
  uint32_t share() const { return std::max(capacity / (hosts + 1), 1u); }
  bool Admits(uint32_t used, uint32_t held) const {
    return used < capacity - capacity / 8 || (used < capacity && held < share());
  }
  // Whether a host that holds `held` may take the place of something idle of a host that holds `other`.
  bool MayDisplace(bool same_host, uint32_t held, uint32_t other) const {
    return same_host || (held < share() && other > share());
  }
};

}  // namespace vpc_conn::forward
