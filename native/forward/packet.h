// An IPv4 packet, parsed once: whoever holds one may read and write what it points to without further checks.
#pragma once

#include <cstdint>
#include <optional>
#include <variant>

#include "forward/drop_reason.h"
#include "wire/checksum.h"
#include "wire/cursor.h"
#include "wire/ethernet.h"
#include "wire/ipv4.h"
#include "wire/l4.h"

namespace vpc_conn::forward {

struct Packet {
  uint8_t* ip;
  uint32_t header_length;
  uint32_t total_length;
  uint32_t source;
  uint32_t destination;
  uint16_t fragment;  // flags and offset
  uint8_t protocol;
  uint8_t* l4;
  uint32_t l4_length;

  bool IsFragment() const { return (fragment & (wire::kMoreFragments | wire::kFragmentOffset)) != 0; }
  bool DontFragment() const { return (fragment & wire::kDontFragment) != 0; }
  // The L4 header stands in this packet (unfragmented, or the first fragment).
  bool HasL4Header() const { return (fragment & wire::kFragmentOffset) == 0; }
};

// Shortest L4 header that a rewrite touches; 0: a protocol whose header is left alone.
inline uint32_t L4HeaderLength(uint8_t protocol) {
  switch (protocol) {
    case wire::kProtocolTcp:
      return wire::kTcpHeader;
    case wire::kProtocolUdp:
      return wire::kUdpHeader;
    case wire::kProtocolIcmp:
      return wire::kIcmpHeader;
    default:
      return 0;
  }
}

// Parses from the cursor, which afterwards stands behind the packet's header and is limited to the packet.
inline std::optional<DropReason> ParsePacket(wire::Cursor& cursor, Packet& packet) {
  const size_t available = cursor.left();
  uint8_t* ip = cursor.Take(wire::kIpv4Header);
  if (ip == nullptr || (ip[0] >> 4) != 4) return DropReason::malformed_ipv4;
  packet.ip = ip;
  packet.header_length = (ip[0] & 0xfu) * 4;
  packet.total_length = wire::LoadBe16(ip + wire::kIpv4TotalLengthOffset);
  if (packet.header_length < wire::kIpv4Header || packet.total_length < packet.header_length ||
      packet.total_length > available) {
    return DropReason::malformed_ipv4;
  }
  if (cursor.Take(packet.header_length - wire::kIpv4Header) == nullptr ||
      !cursor.Limit(packet.total_length - packet.header_length)) {
    return DropReason::malformed_ipv4;
  }
  packet.fragment = wire::LoadBe16(ip + wire::kIpv4FragmentOffset);
  packet.protocol = ip[9];
  packet.source = wire::LoadBe32(ip + wire::kIpv4SourceOffset);
  packet.destination = wire::LoadBe32(ip + wire::kIpv4DestinationOffset);
  packet.l4 = cursor.position();
  packet.l4_length = static_cast<uint32_t>(cursor.left());
  // Nothing reaches beyond what a reassembled packet can have.
  if (packet.IsFragment() &&
      packet.header_length + (packet.fragment & wire::kFragmentOffset) * 8u + packet.l4_length > 65535) {
    return DropReason::malformed_ipv4;
  }
  if (packet.HasL4Header()) {
    if (packet.protocol == wire::kProtocolTcp) {
      if (packet.l4_length < wire::kTcpHeader) return DropReason::malformed_l4;
      const uint32_t tcp_header = (packet.l4[wire::kTcpDataOffset] >> 4) * 4u;
      if (tcp_header < wire::kTcpHeader || tcp_header > packet.l4_length) return DropReason::malformed_l4;
    } else if (packet.protocol == wire::kProtocolUdp) {
      if (packet.l4_length < wire::kUdpHeader) return DropReason::malformed_l4;
      if (packet.IsFragment()) return std::nullopt;
      const uint32_t udp_length = wire::LoadBe16(packet.l4 + wire::kUdpLengthOffset);
      if (udp_length < wire::kUdpHeader || udp_length > packet.l4_length) return DropReason::malformed_l4;
    } else if (packet.l4_length < L4HeaderLength(packet.protocol)) {
      return DropReason::malformed_l4;
    }
  }
  return std::nullopt;
}

inline uint32_t TcpHeaderLength(const Packet& packet) {
  return (packet.l4[wire::kTcpDataOffset] >> 4) * 4u;
}

// ICMP errors quote the packet that they are about, and are translated by what they quote.
inline bool IsIcmpError(const Packet& packet) {
  return packet.protocol == wire::kProtocolIcmp && packet.HasL4Header() && wire::IcmpIsError(packet.l4[0]);
}

// A frame to a group MAC is for nobody to forward, even if its packet is for one host (RFC 1812 section
// 5.3.4, RFC 1122 section 3.3.6). nullopt: fine.
inline std::optional<DropReason> UnforwardableMac(const uint8_t* ethernet) {
  if ((ethernet[0] & 1) == 0) return std::nullopt;
  const bool all_ones = wire::MacToInteger(ethernet) == 0xffffffffffff;
  return all_ones ? DropReason::broadcast : DropReason::multicast;
}

// Addresses no packet may carry between hosts (rfc-checklist 51). nullopt: fine.
inline std::optional<DropReason> UnforwardableDestination(uint32_t address) {
  const uint32_t network = address >> 24;
  if (network - 1 < 0xe0 - 1 && network != 127 && !wire::IsLinkLocal(address)) [[likely]] {
    return std::nullopt;
  }
  if (wire::IsMulticast(address)) return DropReason::multicast;
  if (wire::IsLimitedBroadcast(address)) return DropReason::broadcast;
  if (wire::IsLinkLocal(address)) return DropReason::link_local;
  if (wire::IsLoopback(address) || wire::IsThisNetwork(address) || wire::IsClassE(address)) {
    return DropReason::reserved_address;
  }
  return std::nullopt;
}

}  // namespace vpc_conn::forward
