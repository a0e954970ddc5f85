// What a worker tells of its own effort: CPU time, and how long frames wait for it.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstdint>

namespace vpc_conn::runtime {

// Batches by the time from the kernel's receiving the oldest frame to the last one's being sent. Bucket 0:
// below 1.024 us; each further one ends at twice that; the last has no end. Written by the worker, read by
// anyone.
class LatencyHistogram {
 public:
  static constexpr size_t kBuckets = 24;

  void Add(uint64_t nanoseconds, uint64_t batches) {
    const auto bucket =
        std::min<size_t>(static_cast<size_t>(std::bit_width(nanoseconds >> 10)), kBuckets - 1);
    std::atomic<uint64_t>& count = counts_[bucket];
    count.store(count.load(std::memory_order_relaxed) + batches, std::memory_order_relaxed);
  }
  uint64_t operator[](size_t bucket) const { return counts_[bucket].load(std::memory_order_relaxed); }

 private:
  std::array<std::atomic<uint64_t>, kBuckets> counts_{};
};

// Which batches to time: each that a worker was woken for, where the time is mostly the wake-up, and one of
// kEvery others, which counts for all of them.
class LatencySampling {
 public:
  static constexpr uint32_t kEvery = 64;

  // For how many batches this one stands; 0: it is not timed.
  uint32_t Weight(bool woken) {
    if (woken) return 1;
    if (++passed_ < kEvery) return 0;
    passed_ = 0;
    return kEvery;
  }

 private:
  uint32_t passed_ = 0;
};

// One row of DataPlane::ReadLoads: CPU time in nanoseconds, then the buckets.
inline constexpr size_t kLoadValues = 1 + LatencyHistogram::kBuckets;

}  // namespace vpc_conn::runtime
