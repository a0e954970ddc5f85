// User-space coalescing: consecutive TCP segments of one flow that arrive in one batch leave as one
// super-frame (PACKET_VNET_HDR, GSO_TCPV4), which costs the kernel and the host once what they would cost
// each.
//
// The rules are those of the kernel's GRO: segmenting the super-frame again gives back the same segments. A
// segment joins only after its checksum was verified. Order within a flow is kept; nothing waits beyond its
// batch.
#pragma once

#include <array>
#include <cstdint>

#include "forward/counters.h"
#include "forward/out_batch.h"
#include "forward/packet.h"
#include "wire/ethernet.h"

namespace vpc_conn::forward {

class Coalescer : public Flusher {
 public:
  // `flusher` sends; both outlive the coalescer.
  Coalescer(Flusher& flusher, CounterBlock& counters) : flusher_(flusher), counters_(counters) {}

  // Adds a finished TCP frame (Ethernet header at `ethernet`, contiguous, valid until the batch is flushed)
  // to the batch: to an open super-frame of its flow, or as a frame of its own. `verified`: its checksum is
  // known to be right.
  void Add(const Packet& packet, uint8_t* ethernet, bool verified, OutBatch& batch);

  // Finishes what is open of the packet's flow: something of the flow that does not join comes behind it.
  void Close(const Packet& packet, OutBatch& batch);

  // Finishes all open super-frames, then sends the batch.
  void Flush(OutBatch& batch) override;

 private:
  static constexpr uint32_t kOpen = 8;

  struct SuperFrame {
    uint8_t* ip = nullptr;  // of the first segment; nullptr: not in use
    uint8_t* tcp = nullptr;
    uint32_t message = 0;  // in the batch
    uint32_t tcp_header = 0;
    uint32_t segment_size = 0;
    uint32_t payload = 0;
    uint32_t segments = 0;
    uint32_t next_sequence = 0;
    uint16_t next_id = 0;
    uint8_t last_flags = 0;  // FIN and PSH of the last segment
    bool full = false;       // takes no more, but keeps its flow's place
  };

  SuperFrame* Find(const Packet& packet);
  static bool Follows(const SuperFrame& open, const Packet& packet, uint32_t payload);
  void Open(const Packet& packet, uint32_t payload, uint32_t message);
  static void Finish(SuperFrame& open, OutBatch& batch);

  Flusher& flusher_;
  CounterBlock& counters_;
  std::array<SuperFrame, kOpen> open_{};
};

}  // namespace vpc_conn::forward
