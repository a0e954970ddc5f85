// What a pipeline works with while it handles one batch.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "forward/bindings.h"
#include "forward/coalesce.h"
#include "forward/counters.h"
#include "forward/fragment_table.h"
#include "forward/frame.h"
#include "forward/icmp_error.h"
#include "forward/known_flows.h"
#include "forward/known_pairs.h"
#include "forward/learned_macs.h"
#include "forward/out_batch.h"
#include "forward/snapshot.h"
#include "forward/super_frame_sender.h"

namespace vpc_conn::forward {

// State that outlives snapshots and is shared by all workers.
struct SharedState {
  SharedState() = default;
  // Known seeds: the same frames do the same whenever they come.
  explicit SharedState(std::array<uint64_t, 2> seed) : bindings(seed) {}

  Bindings bindings;
  LearnedMacs learned_macs;
  // CLOCK_MONOTONIC seconds at which a neighbor slot was last used; the control plane reads them.
  std::unique_ptr<std::atomic<uint32_t>[]> neighbor_use =
      std::make_unique<std::atomic<uint32_t>[]>(kNeighborSlots);
  // Of the next fragmented packet that is masqueraded: hosts behind one address must not share one (RFC 6864
  // section 5.3.1).
  std::atomic<uint16_t> next_fragment_id{0};
};

struct Context {
  const Snapshot& snapshot;
  SharedState& shared;
  CounterBlock& counters;
  EventSink& events;
  OutBatch& batch;
  Coalescer& coalescer;            // stands in front of the batch's flusher
  SuperFrameSender* super_frames;  // nullptr: segmented in user space
  IcmpErrors& icmp_errors;
  FragmentTable& fragments;
  KnownPairs* known_pairs;  // nullptr: every packet is carried here
  uint32_t strip_marker;    // source MACs of stripped frames begin with it; 0: there are none
  FlowHandover* handover;   // decap, where the kernel carries known flows; else nullptr
  uint32_t now_seconds;     // CLOCK_MONOTONIC

  const ForwardingTable& table() const { return *snapshot.table; }

  // Asks the control plane for the next hop to `peer`.
  void AskForNextHop(const Peer& peer) const {
    if (peer.ends6) {
      events.Unresolved(kScopeUnderlay, peer.ends6->remote);
    } else {
      events.Unresolved(kScopeUnderlay, peer.address);
    }
  }

  void MarkUsed(uint16_t neighbor_slot) const {
    std::atomic<uint32_t>& mark = shared.neighbor_use[neighbor_slot];
    if (mark.load(std::memory_order_relaxed) != now_seconds) {
      mark.store(now_seconds, std::memory_order_relaxed);
    }
  }
};

}  // namespace vpc_conn::forward
