#include "forward/packet6.h"

#include "wire/ipv4.h"
#include "wire/l4.h"

namespace vpc_conn::forward {

namespace {

// How far a chain of extension headers could be followed.
enum class Chain { upper_layer, cut_off, malformed, source_routed };

// From the fixed header on; `packet` gets protocol, fragment and where the upper layer starts.
Chain FollowChain(wire::Cursor& cursor, Packet6& packet) {
  uint8_t next = packet.ip[wire::kIpv6NextHeaderOffset];
  for (uint32_t count = 0;; count++) {
    packet.protocol = next;
    packet.l4 = cursor.position();
    switch (next) {
      case wire::kNextHeaderHopByHop:
        if (count != 0) return Chain::malformed;  // RFC 8200 4.1: immediately after the fixed header only
        break;
      case wire::kNextHeaderRouting:
      case wire::kNextHeaderFragment:
      case wire::kNextHeaderDestinationOptions:
      case wire::kNextHeaderMobility:
        break;
      default:
        return Chain::upper_layer;
    }
    if (count == kMaxExtensionHeaders) return Chain::malformed;
    const uint8_t* header = cursor.Take(wire::kExtensionUnit);
    if (header == nullptr) return Chain::cut_off;
    if (next == wire::kNextHeaderFragment) {
      packet.fragment = wire::LoadBe16(header + 2) & (wire::kIpv6FragmentOffset | wire::kIpv6MoreFragments);
    } else {
      // Where it leads in the end is written there, past every check of the destination; type 0 is forbidden
      // anyway (RFC 5095).
      if (next == wire::kNextHeaderRouting && header[3] != 0) return Chain::source_routed;
      if (cursor.Take(header[1] * wire::kExtensionUnit) == nullptr) return Chain::cut_off;
    }
    next = header[0];
    if (!packet.HasL4Header()) {
      packet.protocol = next;
      packet.l4 = cursor.position();
      return Chain::upper_layer;
    }
  }
}

bool TakeFixedHeader(wire::Cursor& cursor, Packet6& packet) {
  uint8_t* ip = cursor.Take(wire::kIpv6Header);
  if (ip == nullptr || (ip[0] >> 4) != 6) return false;
  packet.ip = ip;
  packet.total_length = wire::kIpv6Header + wire::LoadBe16(ip + wire::kIpv6PayloadLengthOffset);
  packet.source = wire::LoadIpv6(ip + wire::kIpv6SourceOffset);
  packet.destination = wire::LoadIpv6(ip + wire::kIpv6DestinationOffset);
  return true;
}

void SetUpperLayer(const wire::Cursor& cursor, Packet6& packet) {
  packet.header_length = static_cast<uint32_t>(packet.l4 - packet.ip);
  packet.l4_length = static_cast<uint32_t>(cursor.left());
}

bool UpperLayerFits(const Packet6& packet) {
  switch (packet.protocol) {
    case wire::kProtocolTcp: {
      if (packet.l4_length < wire::kTcpHeader) return false;
      const uint32_t header = TcpHeaderLength(packet);
      return header >= wire::kTcpHeader && header <= packet.l4_length;
    }
    case wire::kProtocolUdp: {
      if (packet.l4_length < wire::kUdpHeader) return false;
      const uint32_t length = wire::LoadBe16(packet.l4 + wire::kUdpLengthOffset);
      return packet.IsFragment() || (length >= wire::kUdpHeader && length <= packet.l4_length);
    }
    case wire::kNextHeaderIcmp6:
      return packet.l4_length >= wire::kIcmp6Header;
    default:
      return true;
  }
}

}  // namespace

std::optional<DropReason> ParsePacket6(wire::Cursor& cursor, Packet6& packet) {
  if (!TakeFixedHeader(cursor, packet) || !cursor.Limit(packet.total_length - wire::kIpv6Header)) {
    return DropReason::malformed_ipv6;
  }
  switch (FollowChain(cursor, packet)) {
    case Chain::upper_layer:
      break;
    case Chain::source_routed:
      return DropReason::ipv6_source_routed;
    default:
      return DropReason::malformed_ipv6;
  }
  SetUpperLayer(cursor, packet);
  if (packet.HasL4Header() && !UpperLayerFits(packet)) return DropReason::malformed_l4;
  return std::nullopt;
}

bool ParseQuoted6(wire::Cursor& cursor, Packet6& packet) {
  if (!TakeFixedHeader(cursor, packet)) return false;
  const Chain chain = FollowChain(cursor, packet);
  // What is cut off has no L4 header that could be read; what nobody can have sent is left as it is.
  if (chain != Chain::upper_layer) packet.fragment = wire::kIpv6FragmentOffset;
  SetUpperLayer(cursor, packet);
  return true;
}

uint32_t TcpHeaderLength(const Packet6& packet) {
  return (packet.l4[wire::kTcpDataOffset] >> 4) * 4u;
}

bool IsNeighborDiscovery(const Packet6& packet) {
  return packet.protocol == wire::kNextHeaderIcmp6 && packet.HasL4Header() &&
         wire::Icmp6IsNeighborDiscovery(packet.l4[0]);
}

bool IsIcmp6Error(const Packet6& packet) {
  return packet.protocol == wire::kNextHeaderIcmp6 && packet.HasL4Header() &&
         wire::Icmp6IsError(packet.l4[0]);
}

std::optional<DropReason> UnforwardableAddress6(const wire::Ipv6Address& address) {
  if (wire::IsMulticast(address)) return DropReason::multicast;
  if (wire::IsLinkLocal(address) || wire::IsInstanceService(address)) return DropReason::link_local;
  if (wire::IsNoHost(address)) return DropReason::reserved_address;
  return std::nullopt;
}

}  // namespace vpc_conn::forward
