#include "runtime/memory_pipeline.h"

#include <algorithm>
#include <cstring>
#include <stdexcept>
#include <utility>

namespace vpc_conn::runtime {

MemoryPipeline::MemoryPipeline()
    : shared_({1, 2}),
      queue_([] {}),
      events_(queue_, counters_),
      encap_(forward::Direction::encap, shared_, counters_, events_, *this),
      decap_(forward::Direction::decap, shared_, counters_, events_, *this) {
  encap_.SetReplySender(this);
  decap_.SetReplySender(this);
}

uint64_t MemoryPipeline::PublishTable(forward::TableContents contents) {
  const auto gone = peer_ids_.Assign(contents.peers);
  if (!gone) throw std::length_error("too many peers");
  shared_.bindings.Configure({contents.masquerade_first_port, contents.masquerade_last_port,
                              contents.masquerade_addresses, contents.masquerade_flows});
  for (const uint16_t id : *gone) shared_.bindings.DropPeer(id);
  table_ = std::make_shared<const forward::ForwardingTable>(std::move(contents));
  Rebuild();
  return generation_;
}

uint64_t MemoryPipeline::PublishNeighbors(std::vector<forward::NeighborRecord> records) {
  neighbors_ = std::move(records);
  if (table_) Rebuild();
  return generation_;
}

void MemoryPipeline::Rebuild() {
  snapshot_ = forward::BuildSnapshot(++generation_, table_, neighbors_);
}

MemoryPipeline::Result MemoryPipeline::Process(forward::Direction direction, std::span<const uint8_t> frame,
                                               const wire::VirtioNetHeader& virtio) {
  if (!snapshot_) throw std::logic_error("no table published");
  forward::Pipeline& pipeline = direction == forward::Direction::encap ? encap_ : decap_;
  // Exactly as large as the frame, so that a sanitizer sees every step beyond it.
  const auto storage = std::make_unique<uint8_t[]>(forward::kHeadroom + frame.size());
  forward::ReceivedFrame received;
  received.data = storage.get() + forward::kHeadroom;
  received.length = static_cast<uint32_t>(frame.size());
  received.wire_length = received.length;
  received.virtio = virtio;
  std::copy(frame.begin(), frame.end(), received.data);
  events_.SetTime(now_seconds_);
  if (pipeline.holding()) pipeline.RetryHeld(*snapshot_, now_seconds_);
  pipeline.LookAhead({&received, 1}, *snapshot_);
  const forward::Verdict verdict = pipeline.Process(received, *snapshot_, now_seconds_);
  pipeline.Flush();
  return {verdict, std::exchange(sent_, {}), std::exchange(replies_, {}), queue_.Take()};
}

void MemoryPipeline::Flush(forward::OutBatch& batch) {
  for (uint32_t i = 0; i < batch.count(); i++) {
    std::vector<uint8_t> bytes;
    for (uint32_t piece = 0; piece < batch.piece_count(i); piece++) {
      const forward::Piece& part = batch.pieces(i)[piece];
      const auto* start = static_cast<const uint8_t*>(part.base);
      bytes.insert(bytes.end(), start, start + part.length);
    }
    SentFrame sent;
    std::memcpy(&sent.virtio, bytes.data(), sizeof sent.virtio);
    sent.bytes.assign(bytes.begin() + sizeof sent.virtio, bytes.end());
    counters_.Add(forward::Counter::tx_frames);
    counters_.Add(forward::Counter::tx_bytes, sent.bytes.size());
    sent_.push_back(std::move(sent));
  }
  batch.Clear();
}

bool MemoryPipeline::Reply(uint8_t* frame, uint32_t length) {
  counters_.Add(forward::Counter::tx_frames);
  counters_.Add(forward::Counter::tx_bytes, length);
  replies_.emplace_back(frame, frame + length);
  return true;
}

}  // namespace vpc_conn::runtime
