#include "forward/icmp_error.h"

#include <algorithm>
#include <cstring>

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
  if (sender_ == nullptr || !MayBeReported(packet)) return;
  if (route.outer != nullptr && !route.outer->resolved) return;
  if (!limit_.Allow(packet.source, now_seconds, contents.icmp_errors_per_second)) {
    counters_.Add(Counter::icmp_errors_withheld);
    return;
  }
  uint8_t
      buffer[sizeof(wire::VirtioNetHeader) + wire::kOuterHeaders + wire::kEthernetHeader + kLargestPacket];
  uint8_t* frame = buffer + sizeof(wire::VirtioNetHeader);
  uint8_t* ethernet = frame + (route.outer == nullptr ? 0 : wire::kOuterHeaders);
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
  if (route.outer != nullptr) WriteOuterHeader(frame, *route.outer, inner_length, kTos);
  const auto length = static_cast<uint32_t>(ethernet - frame) + inner_length;
  counters_.Add(sender_->Reply(frame, length) ? Counter::icmp_errors : Counter::icmp_errors_withheld);
}

}  // namespace vpc_conn::forward
