#include "forward/rewrite.h"

#include <algorithm>

#include "wire/cursor.h"

namespace vpc_conn::forward {

using wire::AddBe16;
using wire::AddBe32;

namespace {

constexpr uint32_t AddressOffset(Side side) {
  return side == Side::source ? wire::kIpv4SourceOffset : wire::kIpv4DestinationOffset;
}
constexpr uint32_t PortOffset(Side side) {
  return side == Side::source ? wire::kSourcePortOffset : wire::kDestinationPortOffset;
}

// The TCP or UDP checksum field if it is within the first `available` bytes of the L4 header and in use.
uint8_t* L4Checksum(const Packet& packet, uint32_t available) {
  if (!packet.HasL4Header()) return nullptr;
  if (packet.protocol == wire::kProtocolTcp && available >= wire::kTcpChecksumOffset + 2) {
    return packet.l4 + wire::kTcpChecksumOffset;
  }
  if (packet.protocol == wire::kProtocolUdp && available >= wire::kUdpChecksumOffset + 2) {
    uint8_t* field = packet.l4 + wire::kUdpChecksumOffset;
    return wire::LoadChecksum(field) == 0 ? nullptr : field;  // RFC 768: zero means none, and stays
  }
  return nullptr;
}

void UpdateL4Checksum(const Packet& packet, uint8_t* field, wire::Sum removed, wire::Sum added) {
  uint16_t checksum = wire::UpdateChecksum(wire::LoadChecksum(field), removed, added);
  if (checksum == 0 && packet.protocol == wire::kProtocolUdp) checksum = 0xffff;  // RFC 768
  wire::StoreChecksum(field, checksum);
}

}  // namespace

void SetAddressInHeader(Packet& packet, Side side, uint32_t address) {
  uint32_t& known = side == Side::source ? packet.source : packet.destination;
  wire::UpdateChecksumAt(packet.ip + wire::kIpv4ChecksumOffset, AddBe32(0, known), AddBe32(0, address));
  wire::StoreBe32(packet.ip + AddressOffset(side), address);
  known = address;
}

void SetAddress(Packet& packet, Side side, uint32_t address) {
  const uint32_t old = side == Side::source ? packet.source : packet.destination;
  if (old == address) return;
  SetAddressInHeader(packet, side, address);
  if (uint8_t* field = L4Checksum(packet, packet.l4_length)) {
    UpdateL4Checksum(packet, field, AddBe32(0, old), AddBe32(0, address));
  }
}

void SetPort(Packet& packet, Side side, uint16_t port) {
  uint8_t* field = packet.l4 + PortOffset(side);
  const uint16_t old = wire::LoadBe16(field);
  if (old == port) return;
  wire::StoreBe16(field, port);
  if (uint8_t* checksum = L4Checksum(packet, packet.l4_length)) {
    UpdateL4Checksum(packet, checksum, AddBe16(0, old), AddBe16(0, port));
  }
}

void SetIcmpId(Packet& packet, uint16_t id) {
  const uint16_t old = wire::LoadBe16(packet.l4 + wire::kIcmpIdOffset);
  if (old == id) return;
  wire::StoreBe16(packet.l4 + wire::kIcmpIdOffset, id);
  wire::UpdateChecksumAt(packet.l4 + wire::kIcmpChecksumOffset, AddBe16(0, old), AddBe16(0, id));
}

bool ClampMss(uint8_t* tcp, uint32_t header_length, uint16_t maximum) {
  uint8_t* options = tcp + wire::kTcpHeader;
  const uint32_t length = header_length - wire::kTcpHeader;
  bool clamped = false;
  for (uint32_t i = 0; i < length && options[i] != wire::kTcpOptionEnd;) {
    const uint8_t kind = options[i];
    if (kind == wire::kTcpOptionNop) {
      i++;
      continue;
    }
    if (i + 1 >= length) break;
    const uint8_t option_length = options[i + 1];
    if (option_length < 2 || i + option_length > length) break;
    uint8_t* field = options + i + 2;
    // A second one, which nobody has a reason to send, is the one that Linux believes.
    if (kind == wire::kTcpOptionMss && option_length == 4 && wire::LoadBe16(field) > maximum) {
      const uint16_t mss = wire::LoadBe16(field);
      wire::StoreBe16(field, maximum);
      // The option may start at an odd offset; its bytes then count shifted in the sum (RFC 1071 2(B)).
      const bool odd = ((wire::kTcpHeader + i + 2) & 1) != 0;
      const auto shifted = [odd](uint16_t v) { return odd ? __builtin_bswap16(v) : v; };
      wire::UpdateChecksumAt(tcp + wire::kTcpChecksumOffset, AddBe16(0, shifted(mss)),
                             AddBe16(0, shifted(maximum)));
      clamped = true;
    }
    i += option_length;
  }
  return clamped;
}

bool PartialChecksumInPlace(const Packet& packet, const uint8_t* frame, uint32_t csum_start,
                            uint32_t csum_offset) {
  const auto l4 = static_cast<uint32_t>(packet.l4 - frame);
  if (!packet.HasL4Header()) return csum_start >= l4;
  const bool tcp = packet.protocol == wire::kProtocolTcp;
  if (csum_start == l4 && (tcp || packet.protocol == wire::kProtocolUdp)) {
    return csum_offset == (tcp ? wire::kTcpChecksumOffset : wire::kUdpChecksumOffset);
  }
  return csum_start >= l4 + (tcp ? TcpHeaderLength(packet) : L4HeaderLength(packet.protocol));
}

bool CompleteChecksum(uint8_t* frame, uint32_t length, uint32_t csum_start, uint32_t csum_offset) {
  if (csum_start >= length || csum_offset + 2 > length - csum_start) return false;
  uint8_t* field = frame + csum_start + csum_offset;
  // The pseudo-header sum in the field, not complemented, is part of what is summed.
  auto checksum =
      static_cast<uint16_t>(~wire::Fold(wire::AddBytes(0, frame + csum_start, length - csum_start)));
  // RFC 768: a UDP checksum that comes out as zero is sent as ones. For TCP both mean the same.
  if (checksum == 0 && csum_offset == wire::kUdpChecksumOffset) checksum = 0xffff;
  wire::StoreChecksum(field, checksum);
  return true;
}

void SetId(Packet& packet, uint16_t id) {
  const uint16_t old = wire::LoadBe16(packet.ip + wire::kIpv4IdOffset);
  wire::StoreBe16(packet.ip + wire::kIpv4IdOffset, id);
  wire::UpdateChecksumAt(packet.ip + wire::kIpv4ChecksumOffset, AddBe16(0, old), AddBe16(0, id));
}

void SetEcn(Packet& packet, uint8_t ecn) {
  const uint8_t old = packet.ip[wire::kIpv4TosOffset];
  const auto marked = static_cast<uint8_t>((old & ~3u) | ecn);
  packet.ip[wire::kIpv4TosOffset] = marked;
  wire::UpdateChecksumAt(packet.ip + wire::kIpv4ChecksumOffset, AddBe16(0, old), AddBe16(0, marked));
}

void MendHeaderChecksum(Packet& packet) {
  uint8_t* field = packet.ip + wire::kIpv4ChecksumOffset;
  wire::StoreChecksum(field, 0);
  const uint16_t sum = wire::Fold(wire::AddBytes(0, packet.ip, packet.header_length));
  wire::StoreChecksum(field, static_cast<uint16_t>(~sum));
}

std::optional<DropReason> ParseQuote(const Packet& error, Quote& quote) {
  if (wire::Fold(wire::AddBytes(0, error.l4, error.l4_length)) != 0xffff) {
    return DropReason::bad_icmp_checksum;
  }
  wire::Cursor cursor({error.l4 + wire::kIcmpHeader, error.l4_length - wire::kIcmpHeader});
  Packet& packet = quote.packet;
  uint8_t* ip = cursor.Take(wire::kIpv4Header);
  if (ip == nullptr || (ip[0] >> 4) != 4) return DropReason::malformed_l4;
  packet.ip = ip;
  packet.header_length = (ip[0] & 0xfu) * 4;
  if (packet.header_length < wire::kIpv4Header ||
      cursor.Take(packet.header_length - wire::kIpv4Header) == nullptr) {
    return DropReason::malformed_l4;
  }
  if (!wire::Ipv4HeaderChecksumRight(ip, packet.header_length)) return DropReason::bad_icmp_checksum;
  packet.total_length = wire::LoadBe16(ip + wire::kIpv4TotalLengthOffset);
  packet.fragment = wire::LoadBe16(ip + wire::kIpv4FragmentOffset);
  packet.protocol = ip[9];
  packet.source = wire::LoadBe32(ip + wire::kIpv4SourceOffset);
  packet.destination = wire::LoadBe32(ip + wire::kIpv4DestinationOffset);
  if (packet.total_length < packet.header_length) return DropReason::malformed_l4;
  packet.l4 = cursor.position();
  // A router that adds extensions pads a shorter packet to 128 bytes first (RFC 4884 section 4.6): a checksum
  // field that was not quoted must not be looked for in there.
  packet.l4_length =
      std::min(static_cast<uint32_t>(cursor.left()), packet.total_length - packet.header_length);
  const bool icmp = packet.protocol == wire::kProtocolIcmp;
  const uint32_t needed = icmp ? wire::kIcmpIdOffset + 2 : 4;
  quote.has_ports = packet.HasL4Header() && L4HeaderLength(packet.protocol) != 0 &&
                    packet.l4_length >= needed &&
                    (!icmp || wire::IcmpIsQuery(packet.l4[0]) || wire::IcmpIsQueryReply(packet.l4[0]));
  return std::nullopt;
}

uint16_t QuotedPort(const Quote& quote, Side side) {
  const Packet& packet = quote.packet;
  const uint32_t offset = packet.protocol == wire::kProtocolIcmp ? wire::kIcmpIdOffset : PortOffset(side);
  return wire::LoadBe16(packet.l4 + offset);
}

void RewriteQuote(Packet& error, Quote& quote, Side side, uint32_t address, std::optional<uint16_t> port) {
  Packet& packet = quote.packet;
  const uint32_t old_address = side == Side::source ? packet.source : packet.destination;
  uint8_t* checksum = L4Checksum(packet, packet.l4_length);
  SetAddressInHeader(packet, side, address);
  if (checksum != nullptr) {
    UpdateL4Checksum(packet, checksum, AddBe32(0, old_address), AddBe32(0, address));
  }
  if (port) {
    const bool icmp = packet.protocol == wire::kProtocolIcmp;
    uint8_t* field = packet.l4 + (icmp ? wire::kIcmpIdOffset : PortOffset(side));
    const uint16_t old_port = wire::LoadBe16(field);
    wire::StoreBe16(field, *port);
    if (icmp) {
      wire::UpdateChecksumAt(packet.l4 + wire::kIcmpChecksumOffset, AddBe16(0, old_port), AddBe16(0, *port));
    } else if (checksum != nullptr) {
      UpdateL4Checksum(packet, checksum, AddBe16(0, old_port), AddBe16(0, *port));
    }
  }
  wire::StoreChecksum(error.l4 + wire::kIcmpChecksumOffset, 0);
  const uint16_t sum = wire::Fold(wire::AddBytes(0, error.l4, error.l4_length));
  wire::StoreChecksum(error.l4 + wire::kIcmpChecksumOffset, static_cast<uint16_t>(~sum));
}

}  // namespace vpc_conn::forward
