// The ports of one masquerade address for one protocol: which far endpoint each stands for. Lookups take no
// lock; the rest runs under the caller's mutex.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>

#include "forward/zeroed_array.h"

namespace vpc_conn::forward {

class PortBlock {
 public:
  static constexpr uint32_t kPorts = 65536;

  struct Slot {
    std::atomic<uint64_t>
        far;              // kInUse and the far endpoint in one word, so that a reader sees all or nothing
    uint32_t first_flow;  // under the mutex, like the rest
    uint32_t flows;
  };

  PortBlock() : slots_(kPorts) {}

  Slot& operator[](uint32_t port) { return slots_[port]; }
  const Slot& operator[](uint32_t port) const { return slots_[port]; }

  // RFC 4787 REQ-3, REQ-4: `wanted` itself where it is free and in the range. Else a port that follows from
  // `wanted` alone, which its host chose at random (RFC 6056); else the next free one from there, of the same
  // parity where there is one. nullopt: all are taken.
  std::optional<uint16_t> Choose(uint16_t wanted, uint16_t first, uint16_t last) const {
    const auto in_range = [&](uint32_t port) { return port >= first && port <= last; };
    uint32_t start = wanted;
    if (!in_range(start)) {
      start = first + wanted % (last - first + 1u);
      if (((start ^ wanted) & 1) != 0 && in_range(start ^ 1)) start ^= 1;
    }
    const uint64_t parity = (wanted & 1) != 0 ? 0xaaaaaaaaaaaaaaaaULL : 0x5555555555555555ULL;
    for (const uint64_t mask : {parity, ~uint64_t{0}}) {
      if (const auto port = NextFree(start, last, mask)) return port;
      if (const auto port = NextFree(first, last, mask)) return port;
    }
    return std::nullopt;
  }

  void Take(uint16_t port) { taken_[port / 64] |= uint64_t{1} << port % 64; }
  void Free(uint16_t port) { taken_[port / 64] &= ~(uint64_t{1} << port % 64); }

  uint32_t in_use = 0;

 private:
  std::optional<uint16_t> NextFree(uint32_t from, uint32_t last, uint64_t mask) const {
    uint64_t beyond = ~uint64_t{0} << from % 64;
    for (uint32_t word = from / 64; word <= last / 64; word++, beyond = ~uint64_t{0}) {
      const uint64_t free = ~taken_[word] & mask & beyond;
      if (free == 0) continue;
      const uint32_t port = word * 64 + static_cast<uint32_t>(__builtin_ctzll(free));
      if (port > last) return std::nullopt;
      return static_cast<uint16_t>(port);
    }
    return std::nullopt;
  }

  ZeroedArray<Slot> slots_;
  std::array<uint64_t, kPorts / 64> taken_{};
};

}  // namespace vpc_conn::forward
