#include "io/transmitter.h"

#include <sys/uio.h>

#include <cerrno>
#include <cstddef>

namespace vpc_conn::io {

static_assert(sizeof(forward::Piece) == sizeof(iovec));
static_assert(offsetof(forward::Piece, base) == offsetof(iovec, iov_base));
static_assert(offsetof(forward::Piece, length) == offsetof(iovec, iov_len));

forward::DropReason ReasonOfSendError(int error) {
  switch (error) {
    case EAGAIN:
    case ENOBUFS:
      return forward::DropReason::tx_busy;
    case ENETDOWN:
    case ENXIO:
    case ENODEV:
      return forward::DropReason::interface_down;
    case EMSGSIZE:
      return forward::DropReason::too_big;
    default:
      return forward::DropReason::tx_failed;
  }
}

Transmitter::Transmitter(PacketSocket& socket, forward::CounterBlock& counters)
    : socket_(socket), counters_(counters) {}

void Transmitter::Flush(forward::OutBatch& batch) {
  const uint32_t count = batch.count();
  for (uint32_t i = 0; i < count; i++) {
    msghdr& header = messages_[i].msg_hdr;
    header.msg_iov = reinterpret_cast<iovec*>(const_cast<forward::Piece*>(batch.pieces(i)));
    header.msg_iovlen = batch.piece_count(i);
  }
  uint64_t bytes = 0;
  uint32_t frames = 0;
  for (uint32_t done = 0; done < count;) {
    const int sent = sendmmsg(socket_.fd(), &messages_[done], count - done, 0);
    if (sent > 0) {
      for (uint32_t i = done; i < done + static_cast<uint32_t>(sent); i++) bytes += batch.length(i);
      frames += static_cast<uint32_t>(sent);
      done += static_cast<uint32_t>(sent);
      continue;
    }
    if (sent < 0 && errno == EINTR) continue;
    // The first frame of the rest was refused; those behind it may still pass.
    counters_.Drop(ReasonOfSendError(sent < 0 ? errno : EIO));
    done++;
  }
  counters_.Add(forward::Counter::tx_frames, frames);
  counters_.Add(forward::Counter::tx_bytes, bytes);
  batch.Clear();
}

}  // namespace vpc_conn::io
