// Flows that the kernel carries by itself (rung "full", bpf/carry.bpf.c): TCP, UDP and ICMP echo between a
// far host and a local one, between which nothing but MACs is rewritten. A decap worker writes an entry, with
// plain stores, once it has sent a frame of the flow through all its checks; every entry belongs to the table
// it was decided under, and a newer table takes over only those that still hold. So the kernel never does
// what the worker would not do.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <span>
#include <vector>

#include "forward/snapshot.h"
#include "wire/endian.h"

namespace vpc_conn::forward {

// Laid out as bpf/layout.h has it. Addresses and MACs are in network order in memory.
struct alignas(64) KnownFlow {
  std::atomic<uint32_t> version{0};     // odd while it is being written: a sequence lock
  std::atomic<uint32_t> generation{0};  // of the snapshot that it is right under; 0: never
  std::atomic<uint32_t> source{0};
  std::atomic<uint32_t> destination{0};
  std::atomic<uint64_t> far{0};    // inner source MAC, peer id
  std::atomic<uint64_t> local{0};  // MAC of the local host, its neighbor slot
  std::atomic<uint32_t> used_seconds{0};
};

// Stripped frames that the kernel gave to a worker, and those that it has done with, by FlowSlot. A flow goes
// over to the kernel when both are equal: then nothing of it is underway, and it stays in order.
struct HandoverCount {
  std::atomic<uint32_t> given{0};
  std::atomic<uint32_t> done{0};
};

inline constexpr uint32_t kKnownFlows = 8192;

// `source` and `destination` as they stand in memory.
inline uint32_t FlowSlot(uint32_t peer_id, uint32_t source, uint32_t destination) {
  uint32_t h = source;
  h ^= h >> 16;
  h *= 0x85ebca6b;
  h ^= h >> 13;
  h += destination ^ (peer_id << 16);
  h ^= h >> 16;
  h *= 0xc2b2ae35;
  h ^= h >> 15;
  return h & (kKnownFlows - 1);
}

// Shared by all workers.
class KnownFlows {
 public:
  // An entry that was used so recently is not replaced by another flow of its slot, seconds.
  static constexpr uint32_t kInUseSeconds = 2;

  // kKnownFlows entries; they outlive this object.
  explicit KnownFlows(std::span<KnownFlow> entries) : entries_(entries) {}

  struct Flow {
    uint16_t peer_id;
    uint32_t source;  // as in memory
    uint32_t destination;
    uint64_t far_mac;  // 48 bits
    uint64_t local_mac;
    uint16_t neighbor_slot;
  };
  // The flow holds under the snapshot of `generation`. Any worker.
  void Know(const Flow& flow, uint64_t generation, uint32_t now_seconds);

  // The generation that is in force before the first Renew. JS thread.
  void Begin(uint64_t generation) { generation_ = GenerationOf(generation); }

  // Entries that are right under `next`, too, become its own; the others are right no more as soon as the
  // kernel is told next's generation. JS thread, before `next` is published.
  void Renew(const Snapshot& next);

  // Marks the neighbors that the kernel sent to. JS thread.
  void MarkUsed(std::atomic<uint32_t>* neighbor_use) const;

  static uint32_t GenerationOf(uint64_t generation) { return static_cast<uint32_t>(generation); }

 private:
  std::span<KnownFlow> entries_;
  uint32_t generation_ = 0;  // the newest; JS thread
};

// One worker's side of the handover.
class FlowHandover {
 public:
  // kKnownFlows counts; both outlive this object.
  FlowHandover(KnownFlows& flows, std::span<HandoverCount> counts) : flows_(flows), counts_(counts) {}

  // A stripped frame came out of the ring. Call Commit before the next when full.
  void Take(uint32_t slot) { taken_[count_++] = static_cast<uint16_t>(slot); }
  bool full() const { return count_ == taken_.size(); }
  // What was taken has been sent or dropped.
  void Commit();

  // Frames were lost on their way to the worker: Heal until it returns true.
  void Lost() { lost_ = true; }
  // The ring is empty. Slots of which frames were lost, and that were quiet since the last call, at least
  // kQuietNanoseconds ago, count as done.
  void Heal(uint64_t now_nanoseconds) {
    if (lost_) HealSlots(now_nanoseconds);
  }

  KnownFlows& flows() { return flows_; }

 private:
  // Far longer than a frame takes from the socket's filter into the ring.
  static constexpr uint64_t kQuietNanoseconds = 100'000;
  void HealSlots(uint64_t now_nanoseconds);

  KnownFlows& flows_;
  std::span<HandoverCount> counts_;
  std::array<uint16_t, 256> taken_{};
  size_t count_ = 0;
  bool lost_ = false;
  uint64_t seen_nanoseconds_ = 0;
  std::vector<uint32_t> seen_ = std::vector<uint32_t>(kKnownFlows);  // `given` at the last look
};

}  // namespace vpc_conn::forward
