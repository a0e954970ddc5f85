// The port for sending a TCP super-frame as one: the kernel segments and encapsulates it (rung "segment").
#pragma once

#include <cstdint>
#include <span>

namespace vpc_conn::forward {

class SuperFrameSender {
 public:
  virtual ~SuperFrameSender() = default;

  // `outer`: the headers in front of every segment. `head`: inner Ethernet, IPv4 and TCP header of the whole
  // super-frame, its TCP checksum field holding the pseudo-header sum; then `payload`, a multiple of
  // `segment_size`. False: not sent, and nothing of it was; the caller segments it itself. Worker thread.
  virtual bool Send(std::span<const uint8_t> outer, const uint8_t* head, uint32_t head_length,
                    const uint8_t* payload, uint32_t payload_length, uint32_t segment_size) = 0;
};

}  // namespace vpc_conn::forward
