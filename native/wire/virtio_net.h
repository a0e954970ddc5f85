// struct virtio_net_hdr as AF_PACKET delivers it with PACKET_VNET_HDR (virtio 1.2, 5.1.6), host byte order.
// Declared here because <linux/virtio_net.h> does not compile as C++ (a member called class).
#pragma once

#include <cstdint>

namespace vpc_conn::wire {

struct VirtioNetHeader {
  uint8_t flags = 0;
  uint8_t gso_type = 0;
  uint16_t hdr_len = 0;
  uint16_t gso_size = 0;
  uint16_t csum_start = 0;
  uint16_t csum_offset = 0;
};
static_assert(sizeof(VirtioNetHeader) == 10);

inline constexpr uint8_t kVirtioNeedsChecksum = 1;
inline constexpr uint8_t kVirtioDataValid = 2;
inline constexpr uint8_t kVirtioGsoNone = 0;
inline constexpr uint8_t kVirtioGsoTcp4 = 1;
inline constexpr uint8_t kVirtioGsoUdp = 3;  // UFO: obsolete fragmentation offload
inline constexpr uint8_t kVirtioGsoTcp6 = 4;
inline constexpr uint8_t kVirtioGsoUdpL4 = 5;
inline constexpr uint8_t kVirtioGsoEcn = 0x80;  // CWR stands in the super-frame

}  // namespace vpc_conn::wire
