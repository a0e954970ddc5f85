// Sends batches through a packet socket: one sendmmsg for up to OutBatch::kFrames frames.
#pragma once

#include <sys/socket.h>

#include <array>

#include "forward/counters.h"
#include "forward/out_batch.h"
#include "io/packet_socket.h"

namespace vpc_conn::io {

class Transmitter : public forward::Flusher {
 public:
  // Both outlive the transmitter. Counts tx_frames, tx_bytes and what the kernel refuses.
  Transmitter(PacketSocket& socket, forward::CounterBlock& counters);

  void Flush(forward::OutBatch& batch) override;

 private:
  PacketSocket& socket_;
  forward::CounterBlock& counters_;
  std::array<mmsghdr, forward::OutBatch::kFrames> messages_{};
};

// The reason under which a frame counts that the kernel refused with `error`.
forward::DropReason ReasonOfSendError(int error);

}  // namespace vpc_conn::io
