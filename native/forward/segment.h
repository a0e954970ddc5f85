// User-space segmentation of super-frames (GRO/TSO aggregates that AF_PACKET delivers whole).
#pragma once

#include <cstdint>
#include <optional>

#include "forward/out_batch.h"
#include "forward/packet.h"
#include "forward/snapshot.h"
#include "forward/super_frame_sender.h"

namespace vpc_conn::forward {

// What became of one packet.
struct Sent {
  uint32_t packets = 0;
  uint64_t bytes = 0;  // of the inner frames
};

// What stands in front of every segment.
struct Encapsulation {
  const OuterHeader* outer;       // nullptr: nothing (UDP and fragments alone)
  const uint8_t* inner_ethernet;  // 14 bytes
  uint32_t flow_label = 0;        // of the outer header, over IPv6
};

// Writes the outer headers for an inner frame of `inner_length` bytes to `at`. ECN is copied from the inner
// packet (RFC 6040 normal mode); so is DSCP, unless the settings fix it (RFC 2983). `flow_label` counts over
// IPv6 alone (forward/flow_label.h).
void WriteOuterHeader(uint8_t* at, const OuterHeader& outer, uint32_t inner_length, uint8_t inner_tos,
                      uint32_t flow_label);

// Cuts a TCP super-frame, from payload byte `from` on (a multiple of `segment_size`), into packets of at most
// `segment_size` bytes of payload and adds them to the batch. Lengths, identifications, sequence numbers,
// flags (FIN and PSH last, CWR first) and all checksums are made afresh; the packet's own checksum fields are
// not read. Payload bytes are not copied. Returns the count.
uint32_t SegmentTcp(const Packet& packet, const Encapsulation& encapsulation, uint32_t segment_size,
                    uint32_t from, OutBatch& batch);

// Sends a TCP super-frame the best way there is: whole segments as one through `sender` (may be nullptr),
// because every segment must fit the one outer header, and the shorter rest, or everything, through the
// batch. The batch is flushed before, so that the flow stays in order. Returns the number of segments.
uint32_t SendSuperFrame(const Packet& packet, const Encapsulation& encapsulation, uint32_t segment_size,
                        SuperFrameSender* sender, OutBatch& batch);

// The same for a UDP super-frame (GSO_UDP_L4): every `segment_size` bytes become a datagram of their own, cut
// into fragments where it is larger than `mtu`. Returns the packets and the bytes of the inner frames.
Sent SegmentUdp(const Packet& packet, const Encapsulation& encapsulation, uint32_t segment_size, uint32_t mtu,
                OutBatch& batch);

}  // namespace vpc_conn::forward
