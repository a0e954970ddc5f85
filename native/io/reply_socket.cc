#include "io/reply_socket.h"

#include <sys/socket.h>

#include <cstring>

#include "wire/virtio_net.h"

namespace vpc_conn::io {

bool ReplySocket::Reply(uint8_t* frame, uint32_t length) {
  uint8_t* start = frame - sizeof(wire::VirtioNetHeader);
  std::memset(start, 0, sizeof(wire::VirtioNetHeader));
  if (send(socket_.fd(), start, sizeof(wire::VirtioNetHeader) + length, MSG_DONTWAIT) < 0) return false;
  counters_.Add(forward::Counter::tx_frames);
  counters_.Add(forward::Counter::tx_bytes, length);
  return true;
}

}  // namespace vpc_conn::io
