// IPv6 packets as fuzzers make and judge them: a reference that shares nothing with wire/ and forward/.
#pragma once

#include <algorithm>
#include <cstdint>
#include <optional>
#include <span>

#include "packets.h"

namespace vpc_conn::fuzz {

struct UpperLayer6 {
  size_t at;
  uint8_t protocol;
  size_t end;  // of the packet
  size_t ChecksumAt() const { return at + (protocol == 6 ? 16 : protocol == 17 ? 6 : 2); }
};

// TCP, UDP or ICMPv6, behind extension headers perhaps, with its header; none: anything else, also a
// fragment.
inline std::optional<UpperLayer6> FindUpperLayer6(std::span<const uint8_t> ip) {
  if (ip.size() < 40 || ip[0] >> 4 != 6) return std::nullopt;
  const size_t end = 40u + test::Get16(ip, 4);
  if (end > ip.size()) return std::nullopt;
  uint8_t next = ip[6];
  size_t at = 40;
  while (next == 0 || next == 43 || next == 60) {
    if (at + 8 > end) return std::nullopt;
    next = ip[at];
    at += (ip[at + 1] + 1u) * 8;
  }
  const size_t header = next == 6 ? 20 : next == 17 ? 8 : next == 58 ? 4 : 0;
  if (header == 0 || at + header > end) return std::nullopt;
  return UpperLayer6{at, next, end};
}

// RFC 8200 section 8.1.
inline uint16_t PseudoSum6(std::span<const uint8_t> ip, const UpperLayer6& upper) {
  test::Bytes pseudo(40);
  std::copy(ip.begin() + 8, ip.begin() + 40, pseudo.begin());
  test::Put32(pseudo, 32, static_cast<uint32_t>(upper.end - upper.at));
  pseudo[39] = upper.protocol;
  return test::ReferenceSum(pseudo);
}

inline uint16_t Sum6(std::span<const uint8_t> ip, const UpperLayer6& upper) {
  return test::ReferenceSum(ip.subspan(upper.at, upper.end - upper.at), PseudoSum6(ip, upper));
}

// Whether the checksum is the one that the sender computed, or none (RFC 6936).
inline bool Right6(std::span<const uint8_t> ip) {
  const auto upper = FindUpperLayer6(ip);
  if (!upper) return false;
  if (upper->protocol == 17) {
    // Bytes behind the datagram are in no sum.
    if (test::Get16(ip, upper->at + 4) != upper->end - upper->at) return false;
    if (test::Get16(ip, upper->ChecksumAt()) == 0) return true;
  }
  return Sum6(ip, *upper) == 0xffff;
}

inline void StoreSum6(std::span<uint8_t> ip, const UpperLayer6& upper, uint16_t sum) {
  ip[upper.ChecksumAt()] = static_cast<uint8_t>(sum >> 8);
  ip[upper.ChecksumAt() + 1] = static_cast<uint8_t>(sum);
}

inline void Seal6(std::span<uint8_t> ip) {
  const auto upper = FindUpperLayer6(ip);
  if (!upper) return;
  StoreSum6(ip, *upper, 0);
  const auto sum = static_cast<uint16_t>(~Sum6(ip, *upper));
  StoreSum6(ip, *upper, sum == 0 && upper->protocol == 17 ? uint16_t{0xffff} : sum);
}

// A partial checksum as a sender leaves it.
inline void MakePartial6(std::span<uint8_t> ip) {
  const auto upper = FindUpperLayer6(ip);
  if (upper) StoreSum6(ip, *upper, PseudoSum6(ip, *upper));
}

}  // namespace vpc_conn::fuzz
