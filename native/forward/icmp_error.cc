#include "forward/icmp_error.h"

#include <algorithm>
#include <cstring>

#include "forward/flow_label.h"
#include "forward/frame.h"
#include "forward/segment.h"

namespace vpc_conn::forward {

namespace {

// RFC 1812 section 4.3.2.5: network control.
constexpr uint8_t kTos = 0xc0;

// RFC 1812 section 4.3.2.7: never about ICMP errors (nor what might be one), nor about later fragments.
bool MayBeReported(const Packet& packet) {
  if (!packet.HasL4Header()) return false;
  if (packet.protocol != wire::kProtocolIcmp) return true;
  return !wire::IcmpIsError(packet.l4[0]) && packet.l4[0] <= wire::kIcmpLastQuery;
}

// No host sends from a group's MAC (IEEE 802.3 section 3.2.3); whoever forges one must not have us answer to
// all.
constexpr bool IsGroup(uint64_t mac) {
  return (mac >> 40 & 1) != 0;
}

// The packet of which `packet` is an aggregate: its lengths are those of one part.
void MendQuote(uint8_t* quote, const Packet& packet, uint32_t total_length) {
  wire::StoreBe16(quote + wire::kIpv4TotalLengthOffset, static_cast<uint16_t>(total_length));
  wire::StoreChecksum(quote + wire::kIpv4ChecksumOffset, 0);
  const uint16_t sum = wire::Fold(wire::AddBytes(0, quote, packet.header_length));
  wire::StoreChecksum(quote + wire::kIpv4ChecksumOffset, static_cast<uint16_t>(~sum));
  if (packet.protocol == wire::kProtocolUdp) {
    wire::StoreBe16(quote + packet.header_length + wire::kUdpLengthOffset,
                    static_cast<uint16_t>(total_length - packet.header_length));
  }
}

}  // namespace

void IcmpErrors::Send(const IcmpError& error, const Packet& packet, uint32_t total_length,
                      const IcmpErrorRoute& route, const TableContents& contents, uint32_t now_seconds) {
  if (sender_ == nullptr || !MayBeReported(packet) || IsGroup(route.destination_mac)) return;
  if (route.outer != nullptr && !route.outer->resolved) return;
  if (!limit_.Allow(packet.source, now_seconds, contents.icmp_errors_per_second)) {
    counters_.Add(Counter::icmp_errors_withheld);
    return;
  }
  uint8_t buffer[kHeadroom + wire::kEthernetHeader + kLargestPacket];
  uint8_t* frame = buffer + sizeof(wire::VirtioNetHeader);
  uint8_t* ethernet = frame + (route.outer == nullptr ? 0 : route.outer->length);
  uint8_t* ip = ethernet + wire::kEthernetHeader;
  uint8_t* icmp = ip + wire::kIpv4Header;
  uint8_t* quote = icmp + wire::kIcmpHeader;
  constexpr uint32_t kHeaders = wire::kIpv4Header + wire::kIcmpHeader;
  const uint32_t room = std::min(kLargestPacket, route.mtu) - kHeaders;
  const uint32_t quoted = std::min(room, total_length);

  wire::StoreMac(ethernet, route.destination_mac);
  wire::SetSourceMac(ethernet, contents.overlay_mac);
  wire::StoreBe16(ethernet + 12, wire::kEtherTypeIpv4);

  std::memset(ip, 0, kHeaders);
  ip[0] = 0x45;
  ip[wire::kIpv4TosOffset] = kTos;
  wire::StoreBe16(ip + wire::kIpv4TotalLengthOffset, static_cast<uint16_t>(kHeaders + quoted));
  // An atomic datagram (RFC 6864 4.1); it is small enough for any path.
  wire::StoreBe16(ip + wire::kIpv4FragmentOffset, wire::kDontFragment);
  ip[wire::kIpv4TtlOffset] = 64;
  ip[wire::kIpv4ProtocolOffset] = wire::kProtocolIcmp;
  wire::StoreBe32(ip + wire::kIpv4SourceOffset, contents.overlay_address);
  wire::StoreBe32(ip + wire::kIpv4DestinationOffset, packet.source);
  const uint16_t header_sum = wire::Fold(wire::AddBytes(0, ip, wire::kIpv4Header));
  wire::StoreChecksum(ip + wire::kIpv4ChecksumOffset, static_cast<uint16_t>(~header_sum));

  std::memcpy(quote, packet.ip, quoted);
  if (total_length != packet.total_length) MendQuote(quote, packet, total_length);
  icmp[0] = error.type;
  icmp[1] = error.code;
  wire::StoreBe32(icmp + wire::kIcmpRestOffset, error.rest);
  const uint16_t icmp_sum = wire::Fold(wire::AddBytes(0, icmp, wire::kIcmpHeader + quoted));
  wire::StoreChecksum(icmp + wire::kIcmpChecksumOffset, static_cast<uint16_t>(~icmp_sum));

  const uint32_t inner_length = wire::kEthernetHeader + kHeaders + quoted;
  if (route.outer != nullptr) WriteOuterHeader(frame, *route.outer, inner_length, kTos, kNoFlow);
  const auto length = static_cast<uint32_t>(ethernet - frame) + inner_length;
  counters_.Add(sender_->Reply(frame, length) ? Counter::icmp_errors : Counter::icmp_errors_withheld);
}

void IcmpErrors::SendTooBig(const Packet6& packet, uint32_t total_length, uint32_t mtu,
                            const IcmpErrorRoute& route, const TableContents& contents,
                            uint32_t now_seconds) {
  if (sender_ == nullptr || mtu < wire::kIpv6MinimumMtu || IsGroup(route.destination_mac)) return;
  // RFC 4443 section 2.4 e: never about an ICMPv6 error, nor about what might be one.
  if (packet.protocol == wire::kNextHeaderIcmp6 && (!packet.HasL4Header() || IsIcmp6Error(packet))) return;
  if (route.outer != nullptr && !route.outer->resolved) return;
  if (!limit_.Allow(MixHash(packet.source.high) ^ packet.source.low, now_seconds,
                    contents.icmp_errors_per_second)) {
    counters_.Add(Counter::icmp_errors_withheld);
    return;
  }
  uint8_t buffer[kHeadroom + wire::kEthernetHeader + wire::kIpv6MinimumMtu];
  uint8_t* frame = buffer + sizeof(wire::VirtioNetHeader);
  uint8_t* ethernet = frame + (route.outer == nullptr ? 0 : route.outer->length);
  uint8_t* ip = ethernet + wire::kEthernetHeader;
  uint8_t* icmp = ip + wire::kIpv6Header;
  uint8_t* quote = icmp + wire::kIcmp6ErrorHeader;
  constexpr uint32_t kHeaders = wire::kIpv6Header + wire::kIcmp6ErrorHeader;
  // As much as fits the minimum MTU (RFC 4443 section 3.2), which any path takes.
  const uint32_t quoted = std::min(std::min(wire::kIpv6MinimumMtu, route.mtu) - kHeaders, total_length);
  const uint32_t message = wire::kIcmp6ErrorHeader + quoted;

  wire::StoreMac(ethernet, route.destination_mac);
  wire::SetSourceMac(ethernet, contents.overlay_mac);
  wire::StoreBe16(ethernet + 12, wire::kEtherTypeIpv6);
  std::memset(ip, 0, kHeaders);
  ip[0] = 0x60;
  wire::SetTrafficClass(ip, kTos);
  wire::StoreBe16(ip + wire::kIpv6PayloadLengthOffset, static_cast<uint16_t>(message));
  ip[wire::kIpv6NextHeaderOffset] = wire::kNextHeaderIcmp6;
  ip[wire::kIpv6HopLimitOffset] = 64;
  const wire::Ipv6Address source = contents.overlay_address6.value_or(wire::Ipv6Address{});
  wire::StoreIpv6(ip + wire::kIpv6SourceOffset, source);
  wire::StoreIpv6(ip + wire::kIpv6DestinationOffset, packet.source);

  std::memcpy(quote, packet.ip, quoted);
  if (total_length != packet.total_length) {  // one datagram of an aggregate
    wire::StoreBe16(quote + wire::kIpv6PayloadLengthOffset,
                    static_cast<uint16_t>(total_length - wire::kIpv6Header));
    if (packet.protocol == wire::kProtocolUdp) {
      wire::StoreBe16(quote + packet.header_length + wire::kUdpLengthOffset,
                      static_cast<uint16_t>(total_length - packet.header_length));
    }
  }
  icmp[0] = wire::kIcmp6PacketTooBig;
  wire::StoreBe32(icmp + wire::kIcmp6ChecksumOffset + 2, mtu);
  const wire::Sum pseudo = wire::PseudoHeader6(source, packet.source, wire::kNextHeaderIcmp6, message);
  wire::StoreChecksum(icmp + wire::kIcmp6ChecksumOffset,
                      static_cast<uint16_t>(~wire::Fold(wire::AddBytes(pseudo, icmp, message))));

  const uint32_t inner_length = wire::kEthernetHeader + kHeaders + quoted;
  if (route.outer != nullptr) WriteOuterHeader(frame, *route.outer, inner_length, kTos, kNoFlow);
  const auto length = static_cast<uint32_t>(ethernet - frame) + inner_length;
  counters_.Add(sender_->Reply(frame, length) ? Counter::icmp_errors : Counter::icmp_errors_withheld);
}

}  // namespace vpc_conn::forward
