// One direction's pipeline: what a worker runs for every frame, and what tests, fuzzers and benchmarks run on
// frames in memory. Owns the frames that wait for a neighbor. Used by one thread.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "forward/context.h"
#include "forward/look_ahead.h"

namespace vpc_conn::forward {

enum class Direction : uint8_t { encap, decap };

class Pipeline {
 public:
  // Frames that wait for a neighbor (RFC 1122 2.3.2.2): so many, so long; the oldest gives way to the newest.
  static constexpr uint32_t kHeldFrames = 64;
  static constexpr uint32_t kHeldBytes = 9728;  // larger ones (super-frames) are not held
  static constexpr uint32_t kHoldSeconds = 3;

  // All references outlive the pipeline.
  Pipeline(Direction direction, SharedState& shared, CounterBlock& counters, EventSink& events,
           Flusher& flusher);

  // Handles one frame; counts it under exactly one of forwarded, punted, held or a drop reason. What is to be
  // sent is in the batch until Flush.
  Verdict Process(ReceivedFrame& frame, const Snapshot& snapshot, uint32_t now_seconds);

  // Hints at frames that are processed next, at most kLookAhead of them, which reads ahead what they need.
  void LookAhead(std::span<const ReceivedFrame> frames, const Snapshot& snapshot) const {
    const ForwardingTable& table = *snapshot.table;
    if (!table.masquerades()) return;
    if (direction_ == Direction::encap) {
      LookAheadEncap(frames, table, shared_.bindings);
    } else {
      LookAheadDecap(frames, table, shared_.bindings, strip_marker_);
    }
  }

  // Tries the held frames again: after a new snapshot, and once a second. Flushes.
  void RetryHeld(const Snapshot& snapshot, uint32_t now_seconds);
  bool holding() const { return !held_.empty() || !fragments_.empty(); }

  // Where super-frames go whole; nullptr: they are segmented here. Before the first frame, or on the thread
  // that uses the pipeline.
  void SetSuperFrameSender(SuperFrameSender* sender) {
    super_frames_ = sender;
    context_.reset();
  }

  // Where ICMP errors go back to the sender; nullptr: none are sent. As above.
  void SetReplySender(ReplySender* sender) { icmp_errors_.SetSender(sender); }
  // Who carries plain packets of known pairs; nullptr: nobody. As above.
  void SetKnownPairs(KnownPairs* known_pairs) {
    known_pairs_ = known_pairs;
    context_.reset();
  }

  // How frames that XDP stripped are known (forward/context.h). Before the first frame.
  void SetStripMarker(uint32_t marker) {
    strip_marker_ = marker;
    context_.reset();
  }

  // Decap: where the kernel carries known flows. Outlives the pipeline. Before the first frame.
  void SetHandover(FlowHandover* handover) {
    handover_ = handover;
    context_.reset();
  }

  void Flush() {
    batch_.Flush();
    if (handover_ != nullptr) handover_->Commit();
  }
  CounterBlock& counters() { return counters_; }

 private:
  struct HeldFrame {
    std::unique_ptr<uint8_t[]> storage;  // kHeadroom + kHeldBytes
    ReceivedFrame frame;
    uint32_t since = 0;
  };

  void BuildContext(const Snapshot& snapshot, uint32_t now_seconds);
  Verdict Run(ReceivedFrame& frame, const Snapshot& snapshot, uint32_t now_seconds);
  bool Hold(const ReceivedFrame& frame, uint32_t now_seconds);
  void ReleaseFragments(const Snapshot& snapshot, uint32_t now_seconds);

  const Direction direction_;
  SharedState& shared_;
  CounterBlock& counters_;
  EventSink& events_;
  Coalescer coalescer_;
  OutBatch batch_;
  IcmpErrors icmp_errors_;
  FragmentTable fragments_;
  SuperFrameSender* super_frames_ = nullptr;
  KnownPairs* known_pairs_ = nullptr;
  uint32_t strip_marker_ = 0;
  FlowHandover* handover_ = nullptr;
  std::optional<Context> context_;  // of the batch
  std::deque<HeldFrame> held_;
  std::vector<std::unique_ptr<uint8_t[]>> spare_;  // storage of frames that wait no more
};

}  // namespace vpc_conn::forward
