// Sends frames back out of the interface that a worker receives on, through its receive socket.
#pragma once

#include "forward/counters.h"
#include "forward/icmp_error.h"
#include "io/packet_socket.h"

namespace vpc_conn::io {

class ReplySocket : public forward::ReplySender {
 public:
  // Both outlive it. Counts tx_frames and tx_bytes.
  ReplySocket(PacketSocket& socket, forward::CounterBlock& counters) : socket_(socket), counters_(counters) {}

  // Never blocks: a reply that finds no room is lost.
  bool Reply(uint8_t* frame, uint32_t length) override;

 private:
  PacketSocket& socket_;
  forward::CounterBlock& counters_;
};

}  // namespace vpc_conn::io
