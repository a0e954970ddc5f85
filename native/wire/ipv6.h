// IPv6 header and extension headers (RFC 8200).
//
//    0                   1                   2                   3
//   +-------+---------------+---------------------------------------+
//   |version| traffic class |              flow label               |
//   +-------+---------------+-------+---------------+---------------+
//   |        payload length         |  next header  |   hop limit   |
//   +-------------------------------+---------------+---------------+
//   |                      source (16 bytes)                        |
//   |                    destination (16 bytes)                     |
#pragma once

#include <cstdint>

#include "wire/checksum.h"
#include "wire/endian.h"

namespace vpc_conn::wire {

// An address as two host-order integers: compared, masked and hashed without loops.
struct Ipv6Address {
  uint64_t high = 0;
  uint64_t low = 0;
  friend constexpr bool operator==(const Ipv6Address&, const Ipv6Address&) = default;
};

inline constexpr uint32_t kIpv6Header = 40;
inline constexpr uint32_t kIpv6MinimumMtu = 1280;
inline constexpr uint32_t kIpv6PayloadLengthOffset = 4;
inline constexpr uint32_t kIpv6NextHeaderOffset = 6;
inline constexpr uint32_t kIpv6HopLimitOffset = 7;
inline constexpr uint32_t kIpv6SourceOffset = 8;
inline constexpr uint32_t kIpv6DestinationOffset = 24;

inline constexpr uint8_t kNextHeaderHopByHop = 0;
inline constexpr uint8_t kNextHeaderRouting = 43;
inline constexpr uint8_t kNextHeaderFragment = 44;
inline constexpr uint8_t kNextHeaderIcmp6 = 58;
inline constexpr uint8_t kNextHeaderDestinationOptions = 60;
inline constexpr uint8_t kNextHeaderMobility = 135;

// Every extension header but the fragment header: next header, length in 8 bytes beyond the first 8.
inline constexpr uint32_t kExtensionUnit = 8;
// Fragment header: next header, reserved, offset (13 bits) and M flag, identification.
inline constexpr uint16_t kIpv6FragmentOffset = 0xfff8;
inline constexpr uint16_t kIpv6MoreFragments = 0x0001;

// ICMPv6 (RFC 4443): type, code, checksum(2), body; errors quote a packet from byte 8 on.
inline constexpr uint32_t kIcmp6Header = 4;
inline constexpr uint32_t kIcmp6ErrorHeader = 8;
inline constexpr uint32_t kIcmp6ChecksumOffset = 2;
inline constexpr uint32_t kIcmp6IdOffset = 4;
inline constexpr uint8_t kIcmp6PacketTooBig = 2;
inline constexpr uint8_t kIcmp6NeighborSolicitation = 135;
inline constexpr uint8_t kIcmp6NeighborAdvertisement = 136;

inline constexpr bool Icmp6IsError(uint8_t type) {
  return type < 128;
}
inline constexpr bool Icmp6IsNeighborDiscovery(uint8_t type) {
  return type == kIcmp6NeighborSolicitation || type == kIcmp6NeighborAdvertisement;
}

inline uint64_t LoadBe64(const uint8_t* p) {
  return (uint64_t{LoadBe32(p)} << 32) | LoadBe32(p + 4);
}
inline void StoreBe64(uint8_t* p, uint64_t v) {
  StoreBe32(p, static_cast<uint32_t>(v >> 32));
  StoreBe32(p + 4, static_cast<uint32_t>(v));
}
inline Ipv6Address LoadIpv6(const uint8_t* p) {
  return {LoadBe64(p), LoadBe64(p + 8)};
}
inline void StoreIpv6(uint8_t* p, const Ipv6Address& address) {
  StoreBe64(p, address.high);
  StoreBe64(p + 8, address.low);
}
inline Sum AddIpv6(Sum sum, const Ipv6Address& address) {
  sum = AddBe32(AddBe32(sum, static_cast<uint32_t>(address.high >> 32)), static_cast<uint32_t>(address.high));
  return AddBe32(AddBe32(sum, static_cast<uint32_t>(address.low >> 32)), static_cast<uint32_t>(address.low));
}
// RFC 8200 8.1: as IPv4's, with 32 bits of length.
inline Sum PseudoHeader6(const Ipv6Address& source, const Ipv6Address& destination, uint8_t protocol,
                         uint32_t length) {
  return AddBe16(AddBe32(AddIpv6(AddIpv6(0, source), destination), length), protocol);
}

inline uint8_t TrafficClass(const uint8_t* ip) {
  return static_cast<uint8_t>(LoadBe16(ip) >> 4);
}
inline void SetTrafficClass(uint8_t* ip, uint8_t traffic_class) {
  StoreBe16(ip, static_cast<uint16_t>((LoadBe16(ip) & 0xf00f) | (traffic_class << 4)));
}

inline constexpr Ipv6Address Ipv6Mask(uint8_t prefix_length) {
  const auto ones = [](unsigned bits) { return bits == 0 ? 0 : ~uint64_t{0} << (64 - bits); };
  return prefix_length <= 64 ? Ipv6Address{ones(prefix_length), 0}
                             : Ipv6Address{~uint64_t{0}, ones(prefix_length - 64u)};
}
inline constexpr Ipv6Address operator&(const Ipv6Address& a, const Ipv6Address& b) {
  return {a.high & b.high, a.low & b.low};
}
inline constexpr Ipv6Address operator|(const Ipv6Address& a, const Ipv6Address& b) {
  return {a.high | b.high, a.low | b.low};
}
inline constexpr Ipv6Address operator~(const Ipv6Address& a) {
  return {~a.high, ~a.low};
}

// The traffic class stays as it is.
inline void SetFlowLabel(uint8_t* ip, uint32_t label) {
  StoreBe32(ip, (LoadBe32(ip) & 0xfff00000) | label);
}

inline constexpr bool IsMulticast(const Ipv6Address& a) {
  return (a.high >> 56) == 0xff;
}
inline constexpr bool IsLinkLocal(const Ipv6Address& a) {
  return (a.high >> 54) == 0xfe80u >> 6;
}
// fd00:ec2::/32: instance metadata, DNS and time, served to every instance at its own link.
inline constexpr bool IsInstanceService(const Ipv6Address& a) {
  return (a.high >> 32) == 0xfd000ec2;
}
// ::/96 (unspecified, loopback, IPv4-compatible) and ::ffff:0:0/96 (IPv4-mapped): never on a wire.
inline constexpr bool IsNoHost(const Ipv6Address& a) {
  return a.high == 0 && ((a.low >> 32) == 0 || (a.low >> 32) == 0xffff);
}

}  // namespace vpc_conn::wire
