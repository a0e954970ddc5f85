// Ethernet II header.
//
//    0               6              12      14
//   +---------------+---------------+-------+----
//   |  destination  |    source     | type  | ...
//   +---------------+---------------+-------+----
#pragma once

#include <array>
#include <cstdint>
#include <cstring>

#include "wire/endian.h"

namespace vpc_conn::wire {

using Mac = std::array<uint8_t, 6>;

inline constexpr uint32_t kEthernetHeader = 14;
inline constexpr uint16_t kEtherTypeIpv4 = 0x0800;
inline constexpr uint16_t kEtherTypeArp = 0x0806;
inline constexpr uint16_t kEtherTypeIpv6 = 0x86dd;
inline constexpr uint16_t kEtherTypeVlan = 0x8100;         // IEEE 802.1Q
inline constexpr uint16_t kEtherTypeServiceVlan = 0x88a8;  // IEEE 802.1ad
inline constexpr uint16_t kEtherTypeExperiment = 0x88b5;   // IEEE 802 local experiments: our keepalives
inline constexpr uint16_t kEtherTypeFirst = 0x0600;        // below: an IEEE 802.3 length

inline uint16_t EtherType(const uint8_t* ethernet) {
  return LoadBe16(ethernet + 12);
}
inline void SetDestinationMac(uint8_t* ethernet, const Mac& mac) {
  std::memcpy(ethernet, mac.data(), 6);
}
inline void SetSourceMac(uint8_t* ethernet, const Mac& mac) {
  std::memcpy(ethernet + 6, mac.data(), 6);
}
inline bool SourceMacIs(const uint8_t* ethernet, const Mac& mac) {
  return std::memcmp(ethernet + 6, mac.data(), 6) == 0;
}
// MACs as integers, for tables that hold them in one atomic word: 48 significant bits.
inline uint64_t MacToInteger(const uint8_t* mac) {
  return (uint64_t{LoadBe16(mac)} << 32) | LoadBe32(mac + 2);
}
inline void StoreMac(uint8_t* to, uint64_t mac) {
  StoreBe16(to, static_cast<uint16_t>(mac >> 32));
  StoreBe32(to + 2, static_cast<uint32_t>(mac));
}

}  // namespace vpc_conn::wire
