// What masquerade's tables speak of (RFC 4787 terms), and what time does to it.
//
//   binding: a far host's (address, port) <-> (masquerade address, port); one for all it speaks to
//   flow:    a binding and one near endpoint; made by what the far host sends. A binding lives as long as one
//            of its flows does.
#pragma once

#include <cstdint>

#include "wire/l4.h"

namespace vpc_conn::forward {

// ICMP query ids count as ports (RFC 5508 section 3.1).
enum class NatProtocol : uint8_t { tcp, udp, icmp, count_ };

struct FarEndpoint {
  uint16_t peer_id;  // < 2^15
  uint32_t address;
  uint16_t port;
};

// A local host's. ICMP: port 0.
struct NearEndpoint {
  uint32_t address;
  uint16_t port;
};

// What stands for a far endpoint here.
struct Mapping {
  uint32_t address;
  uint16_t port;
};

enum class FlowState : uint8_t { transitory, established, closing, active };

// Seconds: RFC 4787 REQ-5, RFC 5508 REQ-1, RFC 5382 REQ-5.
inline constexpr uint32_t kUdpTimeout = 300;
inline constexpr uint32_t kIcmpTimeout = 60;
inline constexpr uint32_t kTcpEstablishedTimeout = 7440;
inline constexpr uint32_t kTcpTransitoryTimeout = 240;
// RFC 4787 REQ-5: the least that a UDP mapping must be given, however full the table is.
inline constexpr uint32_t kUdpLeastTimeout = 120;

// What has been seen of a TCP connection. Whoever has no handshake to show (taken up after a restart) is
// established as soon as both ends have acknowledged something.
namespace tcp_seen {
inline constexpr uint8_t kAckFar = 1, kAckNear = 2, kFinFar = 4, kFinNear = 8, kReset = 16;
inline constexpr uint8_t kAll = 31;

inline constexpr bool Closing(uint8_t seen) {
  return (seen & kReset) != 0 || (seen & (kFinFar | kFinNear)) == (kFinFar | kFinNear);
}

// A RST may be forged: both ends going on make it undone (RFC 6146 section 3.5.2.2, state TRANS). A SYN on a
// connection that was closed begins the next one. Simultaneous open needs no care: each end's SYN-ACK counts.
inline constexpr uint8_t After(uint8_t seen, uint8_t flags, bool from_far) {
  if ((flags & wire::kTcpRst) != 0) return kReset;
  if ((flags & wire::kTcpSyn) != 0 && (flags & wire::kTcpAck) == 0 && Closing(seen)) return 0;
  if ((flags & wire::kTcpAck) != 0) seen |= from_far ? kAckFar : kAckNear;
  if ((flags & wire::kTcpFin) != 0) seen |= from_far ? kFinFar : kFinNear;
  if ((seen & (kAckFar | kAckNear)) == (kAckFar | kAckNear)) seen &= static_cast<uint8_t>(~kReset);
  return seen;
}
}  // namespace tcp_seen

inline constexpr FlowState FlowStateOf(NatProtocol protocol, uint8_t seen) {
  if (protocol != NatProtocol::tcp) return FlowState::active;
  if (tcp_seen::Closing(seen)) return FlowState::closing;
  const bool both =
      (seen & (tcp_seen::kAckFar | tcp_seen::kAckNear)) == (tcp_seen::kAckFar | tcp_seen::kAckNear);
  return both ? FlowState::established : FlowState::transitory;
}

inline constexpr uint32_t TimeoutOf(NatProtocol protocol, uint8_t seen) {
  switch (protocol) {
    case NatProtocol::udp:
      return kUdpTimeout;
    case NatProtocol::icmp:
      return kIcmpTimeout;
    default:
      return FlowStateOf(protocol, seen) == FlowState::established ? kTcpEstablishedTimeout
                                                                   : kTcpTransitoryTimeout;
  }
}

// A worker's clock may be a batch ahead of ours: not idle then.
inline constexpr uint32_t IdleSince(uint32_t used, uint32_t now) {
  const auto idle = static_cast<int32_t>(now - used);
  return idle > 0 ? static_cast<uint32_t>(idle) : 0;
}

}  // namespace vpc_conn::forward
