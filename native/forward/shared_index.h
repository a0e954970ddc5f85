// A hash index that many threads read without a lock while one at a time (under the caller's mutex) changes
// it.
//
//   chunk, one cache line: 3 entries of { key, owner, value, state }, and how many entries passed it by
//   because it was full. A search ends at the first chunk that nobody passed by, so it touches one line in
//   the usual case whatever the number of entries; erasing needs neither tombstones nor moves, and an entry's
//   place is its name.
//
// The hash is keyed: who sends the packets cannot aim at one chunk.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "forward/zeroed_array.h"

namespace vpc_conn::forward {

class SharedIndex {
 public:
  static constexpr uint32_t kNone = ~uint32_t{0};
  // Keys have 63 bits.
  static constexpr uint64_t kInUse = uint64_t{1} << 63;

  // Room for `capacity` entries. `seed`: secret.
  SharedIndex(uint32_t capacity, std::array<uint64_t, 2> seed)
      : chunk_count_(ChunksFor(capacity)), seed_(seed), chunks_(chunk_count_) {}

  // An entry's place, kNone: there is none. Any thread. An entry that is erased at the same moment may still
  // be found, one that is inserted may not yet.
  uint32_t Find(uint64_t key, uint32_t owner) const {
    key |= kInUse;
    for (uint32_t i = Home(key, owner), left = chunk_count_; left != 0; i = Next(i), left--) {
      const Chunk& chunk = chunks_[i];
      for (uint32_t at = 0; at < kEntries; at++) {
        if (chunk.keys[at].load(std::memory_order_acquire) != key) continue;
        if (chunk.owners[at].load(std::memory_order_acquire) != owner) continue;
        // Erased and used again in between: the owner was another one's.
        if (chunk.keys[at].load(std::memory_order_relaxed) == key) return i * kPlaces + at;
      }
      if (chunk.passed_by.load(std::memory_order_relaxed) == 0) return kNone;
    }
    return kNone;
  }

  // Asks memory for what Find will read first. Any thread.
  void Fetch(uint64_t key, uint32_t owner) const {
    __builtin_prefetch(&chunks_[Home(key | kInUse, owner)], 1);
  }

  // The key is not in it yet, and there is room. Under the mutex.
  uint32_t Insert(uint64_t key, uint32_t owner, uint32_t value, uint8_t state) {
    key |= kInUse;
    for (uint32_t i = Home(key, owner);; i = Next(i)) {
      Chunk& chunk = chunks_[i];
      for (uint32_t at = 0; at < kEntries; at++) {
        if (chunk.keys[at].load(std::memory_order_relaxed) != 0) continue;
        chunk.owners[at].store(owner, std::memory_order_release);
        chunk.values[at].store(value, std::memory_order_relaxed);
        chunk.states[at].store(state, std::memory_order_relaxed);
        chunk.keys[at].store(key, std::memory_order_release);
        size_++;
        return i * kPlaces + at;
      }
      chunk.passed_by.store(chunk.passed_by.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
    }
  }

  // Under the mutex.
  void Erase(uint32_t place) {
    Chunk& chunk = chunks_[place / kPlaces];
    const uint32_t at = place % kPlaces;
    const uint32_t home = Home(chunk.keys[at].load(std::memory_order_relaxed), owner(place));
    chunk.keys[at].store(0, std::memory_order_release);
    for (uint32_t i = home; i != place / kPlaces; i = Next(i)) {
      std::atomic<uint32_t>& passed_by = chunks_[i].passed_by;
      passed_by.store(passed_by.load(std::memory_order_relaxed) - 1, std::memory_order_relaxed);
    }
    size_--;
  }

  bool in_use(uint32_t place) const {
    return place % kPlaces < kEntries &&
           chunks_[place / kPlaces].keys[place % kPlaces].load(std::memory_order_relaxed) != 0;
  }
  uint64_t key(uint32_t place) const {
    return chunks_[place / kPlaces].keys[place % kPlaces].load(std::memory_order_relaxed) & ~kInUse;
  }
  uint32_t owner(uint32_t place) const {
    return chunks_[place / kPlaces].owners[place % kPlaces].load(std::memory_order_relaxed);
  }
  // Free for the caller's use, by any thread.
  std::atomic<uint32_t>& value(uint32_t place) { return chunks_[place / kPlaces].values[place % kPlaces]; }
  std::atomic<uint8_t>& state(uint32_t place) { return chunks_[place / kPlaces].states[place % kPlaces]; }
  uint32_t value(uint32_t place) const {
    return chunks_[place / kPlaces].values[place % kPlaces].load(std::memory_order_relaxed);
  }
  uint8_t state(uint32_t place) const {
    return chunks_[place / kPlaces].states[place % kPlaces].load(std::memory_order_relaxed);
  }

  // Places are 0 .. places() - 1; most hold nothing.
  uint32_t places() const { return chunk_count_ * kPlaces; }
  // Under the mutex.
  uint32_t size() const { return size_; }

 private:
  static constexpr uint32_t kEntries = 3;
  static constexpr uint32_t kPlaces = 4;  // per chunk, so that a place is told apart by shifts

  struct alignas(64) Chunk {
    std::atomic<uint64_t> keys[kEntries];  // 0: free
    std::atomic<uint32_t> owners[kEntries];
    std::atomic<uint32_t> values[kEntries];
    std::atomic<uint32_t> passed_by;
    std::atomic<uint8_t> states[kEntries];
  };
  static_assert(sizeof(Chunk) == 64);

  // Two entries in each chunk when full.
  static uint32_t ChunksFor(uint32_t capacity) {
    uint32_t chunks = 1;
    while (chunks < capacity / 2) chunks *= 2;
    return chunks;
  }
  uint32_t Home(uint64_t key, uint32_t owner) const {
    const uint64_t factor = ((uint64_t{owner} << 1) ^ seed_[1]) | 1;
    const auto product = static_cast<unsigned __int128>(key ^ seed_[0]) * factor;
    const auto folded = static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
    return static_cast<uint32_t>(folded >> 32) & (chunk_count_ - 1);
  }
  uint32_t Next(uint32_t chunk) const { return (chunk + 1) & (chunk_count_ - 1); }

  const uint32_t chunk_count_;
  const std::array<uint64_t, 2> seed_;
  ZeroedArray<Chunk> chunks_;
  uint32_t size_ = 0;
};

}  // namespace vpc_conn::forward
