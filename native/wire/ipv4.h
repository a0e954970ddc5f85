// IPv4 header (RFC 791).
//
//    0                   1                   2                   3
//   +---------------+---------------+-------------------------------+
//   |version|  IHL  |  DSCP |  ECN  |         total length          |
//   +---------------+---------------+-----+-------------------------+
//   |         identification        |flags|     fragment offset     |
//   +---------------+---------------+-----+-------------------------+
//   |      TTL      |   protocol    |        header checksum        |
//   +---------------+---------------+-------------------------------+
//   |                            source                             |
//   |                          destination                          |
//   |                          options ...                          |
#pragma once

#include <cstdint>

#include "wire/endian.h"

namespace vpc_conn::wire {

inline constexpr uint32_t kIpv4Header = 20;
inline constexpr uint32_t kIpv4HeaderMax = 60;
inline constexpr uint8_t kProtocolIcmp = 1;
inline constexpr uint8_t kProtocolTcp = 6;
inline constexpr uint8_t kProtocolUdp = 17;
inline constexpr uint8_t kProtocolEtherIp = 97;
inline constexpr uint8_t kProtocolSctp = 132;
inline constexpr uint16_t kDontFragment = 0x4000;
inline constexpr uint16_t kMoreFragments = 0x2000;
inline constexpr uint16_t kFragmentOffset = 0x1fff;

inline constexpr uint32_t kIpv4TosOffset = 1;
inline constexpr uint32_t kIpv4TotalLengthOffset = 2;
inline constexpr uint32_t kIpv4IdOffset = 4;
inline constexpr uint32_t kIpv4FragmentOffset = 6;
inline constexpr uint32_t kIpv4TtlOffset = 8;
inline constexpr uint32_t kIpv4ProtocolOffset = 9;
inline constexpr uint32_t kIpv4ChecksumOffset = 10;
inline constexpr uint32_t kIpv4SourceOffset = 12;
inline constexpr uint32_t kIpv4DestinationOffset = 16;

// Options (RFC 791 section 3.1): a type byte, of which the first bit says that fragments repeat the option.
inline constexpr uint8_t kIpv4OptionEnd = 0;
inline constexpr uint8_t kIpv4OptionNop = 1;
inline constexpr uint8_t kIpv4OptionCopied = 0x80;
// Every host and link takes packets of this size (RFC 791 section 3.2).
inline constexpr uint32_t kSmallestMtu = 68;

// Address classes that are never forwarded (rfc-checklist 51); addresses are host-order integers.
inline constexpr bool IsMulticast(uint32_t a) {
  return (a >> 28) == 0xe;
}
inline constexpr bool IsLimitedBroadcast(uint32_t a) {
  return a == 0xffffffff;
}
inline constexpr bool IsClassE(uint32_t a) {
  return (a >> 28) == 0xf;
}
inline constexpr bool IsLoopback(uint32_t a) {
  return (a >> 24) == 127;
}
inline constexpr bool IsThisNetwork(uint32_t a) {
  return (a >> 24) == 0;
}
inline constexpr bool IsLinkLocal(uint32_t a) {
  return (a >> 16) == 0xa9fe;
}

}  // namespace vpc_conn::wire
