#include "io/rx_ring.h"

#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <atomic>
#include <cstring>

#include "io/system_error.h"

namespace vpc_conn::io {

namespace {

constexpr uint32_t kBlockBytes = 128 * 1024;
constexpr uint32_t kRingBytes = 8 * 1024 * 1024;
constexpr uint32_t kMinimumSlots = 2048;
// Kernel's slot header, address, alignment and our headroom in front of the frame.
constexpr uint32_t kSlotOverhead = 192;
constexpr uint32_t kLargestFrame = 65536 + 64;

}  // namespace

RxRing::RxRing(PacketSocket& socket, uint32_t frame_bytes) : socket_(socket) {
  const uint32_t wanted = std::max<uint32_t>(2048, (frame_bytes + kSlotOverhead + 63) / 64 * 64);
  slot_bytes_ = std::min(wanted, kBlockBytes);
  slots_per_block_ = kBlockBytes / slot_bytes_;
  block_bytes_ = kBlockBytes;
  const uint32_t blocks =
      std::max(kRingBytes / kBlockBytes, (kMinimumSlots + slots_per_block_ - 1) / slots_per_block_);
  slots_ = blocks * slots_per_block_;

  const int fd = socket_.fd();
  const unsigned reserve = forward::kHeadroom;
  if (setsockopt(fd, SOL_PACKET, PACKET_RESERVE, &reserve, sizeof reserve) != 0) {
    throw SystemError(errno, "setsockopt(PACKET_RESERVE)", socket_.interface().name);
  }
  const int copy = 1;
  if (setsockopt(fd, SOL_PACKET, PACKET_COPY_THRESH, &copy, sizeof copy) != 0) {
    throw SystemError(errno, "setsockopt(PACKET_COPY_THRESH)", socket_.interface().name);
  }
  tpacket_req request{};
  request.tp_block_size = block_bytes_;
  request.tp_block_nr = blocks;
  request.tp_frame_size = slot_bytes_;
  request.tp_frame_nr = slots_;
  if (setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request) != 0) {
    throw SystemError(errno, "setsockopt(PACKET_RX_RING)", socket_.interface().name);
  }
  ring_bytes_ = size_t{block_bytes_} * blocks;
  void* mapped = mmap(nullptr, ring_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd, 0);
  if (mapped == MAP_FAILED) throw SystemError(errno, "mmap", socket_.interface().name);
  ring_ = static_cast<uint8_t*>(mapped);
  large_ = std::make_unique<uint8_t[]>(forward::kHeadroom + kLargestFrame);
}

RxRing::~RxRing() {
  if (ring_ != nullptr) munmap(ring_, ring_bytes_);
}

tpacket2_hdr* RxRing::Slot(uint32_t index) const {
  uint8_t* at = ring_ + size_t{index / slots_per_block_} * block_bytes_ +
                size_t{index % slots_per_block_} * slot_bytes_;
  return reinterpret_cast<tpacket2_hdr*>(at);
}

bool RxRing::Ready() const {
  return (std::atomic_ref<uint32_t>(Slot(next_)->tp_status).load(std::memory_order_acquire) &
          TP_STATUS_USER) != 0;
}

RxRing::Next RxRing::Take(forward::ReceivedFrame& frame) {
  if (taken_ == slots_) return Next::none;  // all of them are ours: Release first
  tpacket2_hdr* slot = Slot(next_);
  // Pairs with the kernel's release: the frame is whole once the status says so.
  const uint32_t status = std::atomic_ref<uint32_t>(slot->tp_status).load(std::memory_order_acquire);
  if ((status & TP_STATUS_USER) == 0) return Next::none;
  next_ = next_ + 1 == slots_ ? 0 : next_ + 1;
  taken_++;
  if ((status & TP_STATUS_LOSING) != 0) losing_ = true;

  uint8_t* start = reinterpret_cast<uint8_t*>(slot);
  frame.data = start + slot->tp_mac;
  frame.length = slot->tp_snaplen;
  frame.wire_length = slot->tp_len;
  frame.vlan_tagged = (status & TP_STATUS_VLAN_VALID) != 0;
  frame.replayed = false;
  const auto* address = reinterpret_cast<const sockaddr_ll*>(start + TPACKET_ALIGN(sizeof(tpacket2_hdr)));
  frame.other_host = address->sll_pkttype == PACKET_OTHERHOST;
  if (slot->tp_snaplen == slot->tp_len) {
    std::memcpy(&frame.virtio, frame.data - sizeof frame.virtio, sizeof frame.virtio);
    return Next::frame;
  }
  if ((status & TP_STATUS_COPY) != 0 && ReadLarge(frame)) return Next::large;
  return Next::lost;
}

bool RxRing::ReadLarge(forward::ReceivedFrame& frame) {
  iovec pieces[2] = {{&frame.virtio, sizeof frame.virtio},
                     {large_.get() + forward::kHeadroom, kLargestFrame}};
  msghdr message{};
  message.msg_iov = pieces;
  message.msg_iovlen = 2;
  ssize_t got = recvmsg(socket_.fd(), &message, MSG_DONTWAIT | MSG_TRUNC);
  // An error that waited (the interface went down) is told once, before the frames behind it. Left unread,
  // this one would be taken for the next, and keep poll() from sleeping ever after.
  if (got < 0 && errno != EAGAIN) got = recvmsg(socket_.fd(), &message, MSG_DONTWAIT | MSG_TRUNC);
  if (got < static_cast<ssize_t>(sizeof frame.virtio)) return false;
  frame.data = large_.get() + forward::kHeadroom;
  frame.wire_length = static_cast<uint32_t>(got - static_cast<ssize_t>(sizeof frame.virtio));
  frame.length = std::min(frame.wire_length, kLargestFrame);
  return true;
}

uint64_t RxRing::OldestArrival() const {
  const tpacket2_hdr* slot = Slot(OldestTaken());
  return uint64_t{slot->tp_sec} * 1'000'000'000 + slot->tp_nsec;
}

void RxRing::Release() {
  uint32_t index = OldestTaken();
  for (; taken_ != 0; taken_--) {
    std::atomic_ref<uint32_t>(Slot(index)->tp_status).store(TP_STATUS_KERNEL, std::memory_order_release);
    index = index + 1 == slots_ ? 0 : index + 1;
  }
}

}  // namespace vpc_conn::io
