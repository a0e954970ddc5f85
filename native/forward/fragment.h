// Fragmentation of packets that are too big for the way on and may be cut (RFC 791 section 3.2).
#pragma once

#include <cstdint>

#include "forward/out_batch.h"
#include "forward/packet.h"
#include "forward/segment.h"

namespace vpc_conn::forward {

// What is cut: an IPv4 header, and behind it `head` (an L4 header that was made afresh, or nothing), then
// `payload`. Total length and header checksum are made per fragment; the L4 checksum is already right.
struct Fragmentable {
  const uint8_t* ip;
  uint32_t header_length;
  uint16_t fragment;  // flags and offset: a fragment can be cut further
  const uint8_t* head = nullptr;
  uint32_t head_length = 0;  // at most 8
  const uint8_t* payload;
  uint32_t payload_length;
};

// Adds the fragments, in order, none of them larger than `mtu` (at least 68, RFC 791), to the batch. The
// payload is not copied. Without `encapsulation.outer` they go onto the overlay.
Sent SendFragments(const Fragmentable& packet, uint32_t mtu, const Encapsulation& encapsulation,
                   OutBatch& batch);

inline Fragmentable AsFragmentable(const Packet& packet) {
  return {.ip = packet.ip,
          .header_length = packet.header_length,
          .fragment = packet.fragment,
          .payload = packet.l4,
          .payload_length = packet.l4_length};
}

}  // namespace vpc_conn::forward
