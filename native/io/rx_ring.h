// PACKET_RX_RING (TPACKET_V2) of one socket: frames as the kernel left them in shared memory. Frames larger
// than a slot (super-frames) wait whole in the socket's queue, in the same order (PACKET_COPY_THRESH), and
// are read from there: one ring of small slots serves both without one reordering the other.
//
// Only this file touches tp_status.
#pragma once

#include <linux/if_packet.h>

#include <cstdint>
#include <memory>

#include "forward/frame.h"
#include "io/packet_socket.h"

namespace vpc_conn::io {

class RxRing {
 public:
  // Slots for frames of up to `frame_bytes`; maps the ring. Throws SystemError. The socket outlives the ring.
  RxRing(PacketSocket& socket, uint32_t frame_bytes);
  ~RxRing();
  RxRing(const RxRing&) = delete;
  RxRing& operator=(const RxRing&) = delete;

  enum class Next {
    none,   // nothing has arrived
    frame,  // `frame` is set; its memory is valid until Release
    large,  // as frame, but in the one large buffer: flush before the next call
    lost,   // a large frame that the kernel had no room for: `frame` tells its lengths
  };
  // Takes the next slot. Worker thread.
  Next Take(forward::ReceivedFrame& frame);

  // A frame has arrived that Take was not called for yet.
  bool Ready() const;

  // When the kernel received the oldest of the taken frames, nanoseconds of CLOCK_REALTIME. Some are taken.
  uint64_t OldestArrival() const;

  // Gives all taken slots back to the kernel.
  void Release();
  uint32_t taken() const { return taken_; }

  // Frames have been lost since the last look; ask the socket for the number.
  bool losing() const { return losing_; }
  void ClearLosing() { losing_ = false; }

 private:
  tpacket2_hdr* Slot(uint32_t index) const;
  uint32_t OldestTaken() const { return next_ >= taken_ ? next_ - taken_ : next_ + slots_ - taken_; }
  bool ReadLarge(forward::ReceivedFrame& frame);

  PacketSocket& socket_;
  uint8_t* ring_ = nullptr;
  size_t ring_bytes_ = 0;
  uint32_t block_bytes_ = 0;
  uint32_t slot_bytes_ = 0;
  uint32_t slots_per_block_ = 0;
  uint32_t slots_ = 0;
  uint32_t next_ = 0;   // slot to look at
  uint32_t taken_ = 0;  // slots before next_ that are still ours
  bool losing_ = false;
  std::unique_ptr<uint8_t[]> large_;  // headroom + one super-frame
};

}  // namespace vpc_conn::io
