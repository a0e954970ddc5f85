// User-space segmentation of IPv6 super-frames: as segment.h, for the other header.
#pragma once

#include <cstdint>

#include "forward/frame.h"
#include "forward/packet6.h"
#include "forward/segment.h"

namespace vpc_conn::forward {

// The longest IPv6 header with extensions that a batch's head has room for, beside everything else.
inline constexpr uint32_t kMaxSegmentedHeader6 = 104;
static_assert(kHeadroom + wire::kEthernetHeader + kMaxSegmentedHeader6 + wire::kTcpHeaderMax <=
              OutBatch::kHeadBytes);

// The packet's header is no longer than kMaxSegmentedHeader6. Otherwise as for IPv4.
uint32_t SegmentTcp(const Packet6& packet, const Encapsulation& encapsulation, uint32_t segment_size,
                    OutBatch& batch);
uint32_t SegmentUdp(const Packet6& packet, const Encapsulation& encapsulation, uint32_t segment_size,
                    OutBatch& batch);

}  // namespace vpc_conn::forward
