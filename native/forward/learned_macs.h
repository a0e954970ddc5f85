// Inner source MACs of far hosts, as they came through the tunnel. Towards the original tool they must be the
// inner destination MAC of what returns: its sender delivers with that MAC exactly as it comes.
//
// Written by decap workers, read by encap workers. A fixed table of (peer, host) -> MAC with a sequence lock
// per entry; a collision replaces the older entry, which only costs a foreign peer one more learning.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>

#include "forward/flat_map.h"

namespace vpc_conn::forward {

class LearnedMacs {
 public:
  // Seconds after which an entry no longer counts where the MAC can be asked for instead.
  static constexpr uint32_t kFreshSeconds = 300;

  LearnedMacs() : entries_(std::make_unique<Entry[]>(kEntries)) {}

  void Learn(uint16_t peer_id, uint32_t host, uint64_t mac, uint32_t now_seconds) {
    const uint64_t key = KeyOf(peer_id, host);
    Entry& entry = entries_[MixHash(key) & (kEntries - 1)];
    // The usual case changes nothing: no store, so the cache line stays shared.
    if (entry.key.load(std::memory_order_relaxed) == key &&
        entry.mac.load(std::memory_order_relaxed) == mac &&
        now_seconds - entry.seconds.load(std::memory_order_relaxed) < kRefreshSeconds) {
      return;
    }
    uint32_t sequence = entry.sequence.load(std::memory_order_relaxed);
    if ((sequence & 1) != 0 ||
        !entry.sequence.compare_exchange_strong(sequence, sequence + 1, std::memory_order_acquire)) {
      return;  // another worker writes this entry now; the next packet learns it
    }
    std::atomic_thread_fence(std::memory_order_release);
    entry.key.store(key, std::memory_order_relaxed);
    entry.mac.store(mac, std::memory_order_relaxed);
    entry.seconds.store(now_seconds, std::memory_order_relaxed);
    entry.sequence.store(sequence + 2, std::memory_order_release);
  }

  struct Learned {
    uint64_t mac;
    uint32_t seconds;  // when, on the clock that Learn was given
  };
  std::optional<Learned> Find(uint16_t peer_id, uint32_t host) const {
    const uint64_t key = KeyOf(peer_id, host);
    const Entry& entry = entries_[MixHash(key) & (kEntries - 1)];
    for (int attempt = 0; attempt < 4; attempt++) {
      const uint32_t before = entry.sequence.load(std::memory_order_acquire);
      const uint64_t found = entry.key.load(std::memory_order_relaxed);
      const Learned learned{entry.mac.load(std::memory_order_relaxed),
                            entry.seconds.load(std::memory_order_relaxed)};
      std::atomic_thread_fence(std::memory_order_acquire);
      if ((before & 1) != 0 || entry.sequence.load(std::memory_order_relaxed) != before) continue;
      if (found != key) return std::nullopt;
      return learned;
    }
    return std::nullopt;
  }

 private:
  static constexpr size_t kEntries = 16384;
  static constexpr uint32_t kRefreshSeconds = 30;
  static uint64_t KeyOf(uint16_t peer_id, uint32_t host) { return (uint64_t{peer_id} + 1) << 32 | host; }

  struct Entry {
    std::atomic<uint32_t> sequence{0};
    std::atomic<uint32_t> seconds{0};
    std::atomic<uint64_t> key{0};
    std::atomic<uint64_t> mac{0};
  };
  std::unique_ptr<Entry[]> entries_;
};

}  // namespace vpc_conn::forward
