// EtherIP (RFC 3378 section 3): 16 bits in front of the Ethernet frame, IP protocol 97.
//
//    0       4                      15
//   +-------+------------------------+
//   |   3   |    reserved, zero      |
//   +-------+------------------------+
#pragma once

#include <cstdint>

#include "wire/ethernet.h"
#include "wire/ipv4.h"
#include "wire/ipv6.h"

namespace vpc_conn::wire {

inline constexpr uint32_t kEtherIpHeader = 2;
inline constexpr uint8_t kEtherIpVersion = 3;
inline constexpr uint16_t kEtherIpFirstWord = 0x3000;
// The nibbles exchanged, as FreeBSD 6.1 to 7.2 sent them.
inline constexpr uint16_t kEtherIpReversedWord = 0x0300;

// Behind an inner Ethernet header of type kEtherTypeExperiment: a message between gateways. All else about
// it is for the control plane (src/peering/message.ts).
inline constexpr uint32_t kKeepaliveMagic = 0x76706363;  // "vpcc"

// What stands in front of the inner Ethernet frame: outer Ethernet, outer IPv4 or IPv6, EtherIP.
inline constexpr uint32_t kOuterHeaders = kEthernetHeader + kIpv4Header + kEtherIpHeader;
inline constexpr uint32_t kOuterHeaders6 = kEthernetHeader + kIpv6Header + kEtherIpHeader;
inline constexpr uint32_t kOuterHeadersMost = kOuterHeaders6;
// What a tunnel takes from the underlay's MTU: IP, EtherIP, and 14 of the inner Ethernet header.
inline constexpr uint32_t kTunnelOverhead = kIpv4Header + kEtherIpHeader + kEthernetHeader;
inline constexpr uint32_t kTunnelOverhead6 = kIpv6Header + kEtherIpHeader + kEthernetHeader;
static_assert(kOuterHeaders == 36 && kTunnelOverhead == 36);
static_assert(kOuterHeaders6 == 56 && kTunnelOverhead6 == 56);

}  // namespace vpc_conn::wire
