// An inner frame on its way to a local host, however it came out of its outer headers.
#pragma once

#include <cstdint>

#include "forward/forwarding_table.h"
#include "forward/frame.h"
#include "wire/virtio_net.h"

namespace vpc_conn::forward {

struct Arrival {
  const Peer* peer;
  uint8_t* ethernet;
  uint64_t source_mac;  // of the inner frame, as the far gateway sent it
  uint8_t outer_tos;
  bool verified;  // the L4 checksum is known to be right
  wire::VirtioNetHeader virtio;
  const ReceivedFrame& frame;  // that brought it
  bool stripped = false;       // by XDP
};

}  // namespace vpc_conn::forward
