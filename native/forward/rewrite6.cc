#include "forward/rewrite6.h"

#include "wire/checksum.h"
#include "wire/ipv4.h"
#include "wire/l4.h"

namespace vpc_conn::forward {

namespace {

constexpr uint32_t AddressOffset(Side side) {
  return side == Side::source ? wire::kIpv6SourceOffset : wire::kIpv6DestinationOffset;
}

// The checksum field that covers the addresses if all of it is there and in use.
uint8_t* L4Checksum(const Packet6& packet) {
  if (!packet.HasL4Header()) return nullptr;
  uint32_t offset = 0;
  switch (packet.protocol) {
    case wire::kProtocolTcp:
      offset = wire::kTcpChecksumOffset;
      break;
    case wire::kProtocolUdp:
      offset = wire::kUdpChecksumOffset;
      break;
    case wire::kNextHeaderIcmp6:
      offset = wire::kIcmp6ChecksumOffset;
      break;
    default:
      return nullptr;
  }
  if (packet.l4_length < offset + 2) return nullptr;
  uint8_t* field = packet.l4 + offset;
  // RFC 6936: some tunnels send UDP without a checksum; it stays without.
  if (packet.protocol == wire::kProtocolUdp && wire::LoadChecksum(field) == 0) return nullptr;
  return field;
}

void UpdateL4Checksum(const Packet6& packet, const wire::Ipv6Address& removed,
                      const wire::Ipv6Address& added) {
  uint8_t* field = L4Checksum(packet);
  if (field == nullptr) return;
  uint16_t checksum =
      wire::UpdateChecksum(wire::LoadChecksum(field), wire::AddIpv6(0, removed), wire::AddIpv6(0, added));
  if (checksum == 0 && packet.protocol == wire::kProtocolUdp) checksum = 0xffff;  // RFC 8200 8.1
  wire::StoreChecksum(field, checksum);
}

bool Icmp6ChecksumRight(const Packet6& packet) {
  const wire::Sum pseudo =
      wire::PseudoHeader6(packet.source, packet.destination, wire::kNextHeaderIcmp6, packet.l4_length);
  return wire::Fold(wire::AddBytes(pseudo, packet.l4, packet.l4_length)) == 0xffff;
}

}  // namespace

void SetAddressInHeader(Packet6& packet, Side side, const wire::Ipv6Address& address) {
  (side == Side::source ? packet.source : packet.destination) = address;
  wire::StoreIpv6(packet.ip + AddressOffset(side), address);
}

void SetAddress(Packet6& packet, Side side, const wire::Ipv6Address& address) {
  const wire::Ipv6Address old = side == Side::source ? packet.source : packet.destination;
  if (old == address) return;
  SetAddressInHeader(packet, side, address);
  UpdateL4Checksum(packet, old, address);
}

bool PartialChecksumInPlace(const Packet6& packet, const uint8_t* frame, uint32_t csum_start,
                            uint32_t csum_offset) {
  const auto l4 = static_cast<uint32_t>(packet.l4 - frame);
  if (!packet.HasL4Header()) return csum_start >= l4;
  switch (packet.protocol) {
    case wire::kProtocolTcp:
      if (csum_start == l4) return csum_offset == wire::kTcpChecksumOffset;
      return csum_start >= l4 + TcpHeaderLength(packet);
    case wire::kProtocolUdp:
      if (csum_start == l4) return csum_offset == wire::kUdpChecksumOffset;
      return csum_start >= l4 + wire::kUdpHeader;
    case wire::kNextHeaderIcmp6:
      if (csum_start == l4) return csum_offset == wire::kIcmp6ChecksumOffset;
      return csum_start >= l4 + wire::kIcmp6Header;
    default:
      return csum_start >= l4;
  }
}

std::optional<DropReason> MergeEcn(Packet6& packet, uint8_t outer_traffic_class, CounterBlock& counters) {
  const uint8_t outer = outer_traffic_class & 3;
  const uint8_t traffic_class = wire::TrafficClass(packet.ip);
  const uint8_t inner = traffic_class & 3;
  if (outer == inner) return std::nullopt;
  if (outer == 3 && inner == 0) return DropReason::ecn_not_ect_ce;
  // The cells marked (!) and (!!!): no encapsulator and no router makes them.
  if (inner == 0 || (inner == 1 && outer == 2) || (inner == 3 && outer == 1)) {
    counters.Add(Counter::ecn_unexpected);
  }
  if (outer == 3 || (outer == 1 && inner == 2)) {
    wire::SetTrafficClass(packet.ip, static_cast<uint8_t>((traffic_class & ~3u) | outer));
  }
  return std::nullopt;
}

std::optional<wire::Ipv6Address> PeekQuoted(const Packet6& packet, Side side) {
  if (packet.l4_length < wire::kIcmp6ErrorHeader + wire::kIpv6Header) return std::nullopt;
  return wire::LoadIpv6(packet.l4 + wire::kIcmp6ErrorHeader + AddressOffset(side));
}

std::optional<DropReason> RewriteQuote(Packet6& error, Side side, const wire::Ipv6Address& address) {
  // Its own checksum covers the whole quote, so all of it must be here.
  if (error.IsFragment()) return DropReason::fragment_without_ports;
  if (!Icmp6ChecksumRight(error)) return DropReason::bad_icmp_checksum;
  wire::Cursor cursor({error.l4 + wire::kIcmp6ErrorHeader, error.l4_length - wire::kIcmp6ErrorHeader});
  Packet6 quote;
  if (!ParseQuoted6(cursor, quote)) return DropReason::malformed_l4;
  SetAddress(quote, side, address);
  wire::StoreChecksum(error.l4 + wire::kIcmp6ChecksumOffset, 0);
  const wire::Sum pseudo =
      wire::PseudoHeader6(error.source, error.destination, wire::kNextHeaderIcmp6, error.l4_length);
  const uint16_t sum = wire::Fold(wire::AddBytes(pseudo, error.l4, error.l4_length));
  wire::StoreChecksum(error.l4 + wire::kIcmp6ChecksumOffset, static_cast<uint16_t>(~sum));
  return std::nullopt;
}

}  // namespace vpc_conn::forward
