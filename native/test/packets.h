// Packets for tests, built byte by byte and checked with a reference that shares nothing with
// wire/checksum.h.
#pragma once

#include <algorithm>
#include <cstdint>
#include <random>
#include <span>
#include <stdexcept>
#include <vector>

#include "forward/packet.h"

namespace vpc_conn::test {

using Bytes = std::vector<uint8_t>;

// RFC 1071 as it is written: 16-bit words, one after the other, odd byte padded, carries folded in at once.
inline uint16_t ReferenceSum(std::span<const uint8_t> bytes, uint16_t start = 0) {
  uint32_t sum = start;
  for (size_t i = 0; i < bytes.size(); i += 2) {
    const uint32_t low = i + 1 < bytes.size() ? bytes[i + 1] : 0;
    sum += static_cast<uint32_t>(bytes[i] << 8) | low;
    if (sum > 0xffff) sum -= 0xffff;
  }
  return static_cast<uint16_t>(sum);
}

inline void Put16(Bytes& bytes, size_t at, uint32_t value) {
  bytes[at] = static_cast<uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<uint8_t>(value);
}
inline void Put32(Bytes& bytes, size_t at, uint32_t value) {
  Put16(bytes, at, value >> 16);
  Put16(bytes, at + 2, value & 0xffff);
}
inline uint16_t Get16(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint16_t>(bytes[at] << 8 | bytes[at + 1]);
}
inline uint32_t Get32(std::span<const uint8_t> bytes, size_t at) {
  return static_cast<uint32_t>(Get16(bytes, at)) << 16 | Get16(bytes, at + 2);
}

inline uint32_t HeaderLengthOf(std::span<const uint8_t> ip) {
  return (ip[0] & 0xfu) * 4;
}

// Sum of pseudo-header and L4 part: 0xffff when the checksum in it is right.
inline uint16_t L4Sum(std::span<const uint8_t> ip) {
  const uint32_t header = HeaderLengthOf(ip);
  const uint32_t total = Get16(ip, 2);
  uint16_t sum = 0;
  if (ip[9] != wire::kProtocolIcmp) {
    Bytes pseudo(12);
    std::copy(ip.begin() + 12, ip.begin() + 20, pseudo.begin());
    pseudo[9] = ip[9];
    Put16(pseudo, 10, total - header);
    sum = ReferenceSum(pseudo);
  }
  return ReferenceSum(ip.subspan(header, total - header), sum);
}

inline size_t L4ChecksumOffset(uint8_t protocol) {
  return protocol == wire::kProtocolTcp ? 16 : protocol == wire::kProtocolUdp ? 6 : 2;
}

// Makes both checksums afresh. UDP: a computed zero becomes ones (RFC 768).
inline void Seal(Bytes& ip) {
  const uint32_t header = HeaderLengthOf(ip);
  Put16(ip, 10, 0);
  Put16(ip, 10, static_cast<uint16_t>(~ReferenceSum(std::span(ip).first(header))));
  const size_t at = header + L4ChecksumOffset(ip[9]);
  if (at + 2 > ip.size()) return;
  Put16(ip, at, 0);
  auto sum = static_cast<uint16_t>(~L4Sum(ip));
  if (sum == 0 && ip[9] == wire::kProtocolUdp) sum = 0xffff;
  Put16(ip, at, sum);
}

inline bool HeaderSumRight(std::span<const uint8_t> ip) {
  return ReferenceSum(ip.first(HeaderLengthOf(ip))) == 0xffff;
}
// UDP without a checksum counts as right.
inline bool L4SumRight(std::span<const uint8_t> ip) {
  if (ip[9] == wire::kProtocolUdp && Get16(ip, HeaderLengthOf(ip) + 6) == 0) return true;
  return L4Sum(ip) == 0xffff;
}

struct PacketSpec {
  uint8_t protocol = wire::kProtocolTcp;
  uint32_t source = 0x0a00000a;
  uint32_t destination = 0x0a000014;
  uint32_t options = 0;  // bytes of IPv4 options, a multiple of 4
  uint32_t tcp_options = 0;
  uint16_t source_port = 40000;  // ICMP: the identifier
  uint16_t destination_port = 80;
  uint8_t tcp_flags = wire::kTcpAck;
  uint8_t icmp_type = wire::kIcmpEcho;
  uint8_t tos = 0;
  uint16_t id = 0x1234;
  uint16_t fragment = wire::kDontFragment;
  uint32_t payload = 100;
};

// An IPv4 packet with right checksums and a payload from `random`.
inline Bytes MakePacket(const PacketSpec& spec, std::mt19937& random) {
  const uint32_t header = 20 + spec.options;
  const uint32_t l4_header = spec.protocol == wire::kProtocolTcp ? 20 + spec.tcp_options : 8;
  Bytes ip(header + l4_header + spec.payload);
  ip[0] = static_cast<uint8_t>(0x40 | header / 4);
  ip[1] = spec.tos;
  Put16(ip, 2, static_cast<uint32_t>(ip.size()));
  Put16(ip, 4, spec.id);
  Put16(ip, 6, spec.fragment);
  ip[8] = 64;
  ip[9] = spec.protocol;
  Put32(ip, 12, spec.source);
  Put32(ip, 16, spec.destination);
  for (uint32_t i = 20; i < header; i++) ip[i] = wire::kTcpOptionNop;  // IPv4's no-operation is 1, too
  for (size_t i = header; i < ip.size(); i++) ip[i] = static_cast<uint8_t>(random());
  switch (spec.protocol) {
    case wire::kProtocolTcp:
      Put16(ip, header, spec.source_port);
      Put16(ip, header + 2, spec.destination_port);
      ip[header + 12] = static_cast<uint8_t>(l4_header / 4 << 4);
      ip[header + 13] = spec.tcp_flags;
      for (uint32_t i = 0; i < spec.tcp_options; i++) ip[header + 20 + i] = wire::kTcpOptionNop;
      break;
    case wire::kProtocolUdp:
      Put16(ip, header, spec.source_port);
      Put16(ip, header + 2, spec.destination_port);
      Put16(ip, header + 4, 8 + spec.payload);
      break;
    default:
      ip[header] = spec.icmp_type;
      ip[header + 1] = 0;
      Put16(ip, header + 4, spec.source_port);
  }
  Seal(ip);
  return ip;
}

// An ICMP error about `quoted`, of which `length` bytes are quoted.
inline Bytes MakeIcmpError(uint32_t source, uint32_t destination, std::span<const uint8_t> quoted,
                           size_t length, std::mt19937& random) {
  PacketSpec spec{.protocol = wire::kProtocolIcmp, .source = source, .destination = destination};
  spec.icmp_type = wire::kIcmpUnreachable;
  spec.source_port = 0;
  spec.payload = static_cast<uint32_t>(length);
  Bytes ip = MakePacket(spec, random);
  std::copy_n(quoted.begin(), length, ip.begin() + 28);
  Seal(ip);
  return ip;
}

inline forward::Packet Parse(Bytes& ip) {
  wire::Cursor cursor(ip);
  forward::Packet packet;
  if (forward::ParsePacket(cursor, packet)) throw std::logic_error("the test's packet does not parse");
  return packet;
}

}  // namespace vpc_conn::test
