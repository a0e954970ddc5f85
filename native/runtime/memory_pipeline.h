// Both directions' pipelines on frames in memory, for tests, fuzzers and benchmarks: the workers' own code
// behind a port that collects frames instead of sending them. Used by one thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "forward/pipeline.h"
#include "runtime/event_queue.h"
#include "runtime/peer_ids.h"

namespace vpc_conn::runtime {

class MemoryPipeline : private forward::Flusher, private forward::ReplySender {
 public:
  MemoryPipeline();

  // As DataPlane's.
  uint64_t PublishTable(forward::TableContents contents);
  uint64_t PublishNeighbors(std::vector<forward::NeighborRecord> records);

  struct SentFrame {
    wire::VirtioNetHeader virtio;
    std::vector<uint8_t> bytes;
  };
  struct Result {
    forward::Verdict verdict;
    std::vector<SentFrame> frames;              // frames released from waiting come first
    std::vector<std::vector<uint8_t>> replies;  // ICMP errors, out of where the frame came in
    std::vector<Event> events;
  };
  // One frame as the ring delivers it. A table must have been published.
  Result Process(forward::Direction direction, std::span<const uint8_t> frame,
                 const wire::VirtioNetHeader& virtio);

  // The clock that the pipelines see, seconds; starts at 1.
  void SetTime(uint32_t seconds) { now_seconds_ = seconds; }
  const forward::CounterBlock& counters() const { return counters_; }
  forward::SharedState& shared() { return shared_; }
  const forward::ForwardingTable* table() const { return table_.get(); }

 private:
  void Flush(forward::OutBatch& batch) override;
  bool Reply(uint8_t* frame, uint32_t length) override;
  void Rebuild();

  forward::SharedState shared_;
  forward::CounterBlock counters_;
  PeerIds peer_ids_;
  std::shared_ptr<const forward::ForwardingTable> table_;
  std::vector<forward::NeighborRecord> neighbors_;
  std::unique_ptr<const forward::Snapshot> snapshot_;
  uint64_t generation_ = 0;
  uint32_t now_seconds_ = 1;
  EventQueue queue_;
  WorkerEvents events_;
  std::vector<SentFrame> sent_;
  std::vector<std::vector<uint8_t>> replies_;
  forward::Pipeline encap_;
  forward::Pipeline decap_;
};

}  // namespace vpc_conn::runtime
