// The Internet checksum: full (RFC 1071) and incremental (RFC 1624).
//
// Sums are kept in the machine's byte order: the one's complement sum is independent of it as long as the
// same order is used throughout (RFC 1071 2(B)). Only Load/Store of a checksum field see the wire.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "wire/endian.h"

namespace vpc_conn::wire {

// A running one's complement sum, not folded yet.
using Sum = uint64_t;

inline uint16_t Fold(Sum sum) {
  sum = (sum & 0xffffffff) + (sum >> 32);
  sum = (sum & 0xffff) + ((sum >> 16) & 0xffff) + (sum >> 32);
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<uint16_t>(sum);
}

// Adds `length` bytes; an odd last byte is padded with zero (RFC 1071 4.1). Only the last piece of a sum may
// be odd. 32-bit lanes into 64-bit sums: no carry chain, so that the compiler turns the loop into SIMD.
inline Sum AddBytes(Sum sum, const uint8_t* p, size_t length) {
  uint64_t lanes[8] = {0, 0, 0, 0, 0, 0, 0, 0};
  while (length >= 32) {
    uint32_t words[8];
    std::memcpy(words, p, 32);
    for (int i = 0; i < 8; i++) lanes[i] += words[i];
    p += 32;
    length -= 32;
  }
  for (uint64_t lane : lanes) sum += (lane & 0xffffffff) + (lane >> 32);
  while (length >= 4) {
    uint32_t word;
    std::memcpy(&word, p, 4);
    sum += word;
    p += 4;
    length -= 4;
  }
  if (length >= 2) {
    uint16_t word;
    std::memcpy(&word, p, 2);
    sum += word;
    p += 2;
    length -= 2;
  }
  if (length != 0) sum += *p;
  return sum;
}

// Adds a value given in host order as it would stand on the wire.
inline Sum AddBe16(Sum sum, uint16_t value) {
  return sum + __builtin_bswap16(value);
}
inline Sum AddBe32(Sum sum, uint32_t value) {
  return sum + __builtin_bswap32(value);
}

// TCP and UDP pseudo-header (RFC 9293 3.1, RFC 768).
inline Sum PseudoHeader(uint32_t source, uint32_t destination, uint8_t protocol, uint16_t length) {
  Sum sum = AddBe32(AddBe32(0, source), destination);
  return AddBe16(AddBe16(sum, protocol), length);
}

inline uint16_t LoadChecksum(const uint8_t* p) {
  uint16_t v;
  std::memcpy(&v, p, 2);
  return v;
}
inline void StoreChecksum(uint8_t* p, uint16_t v) {
  std::memcpy(p, &v, 2);
}

// RFC 1624 eqn 3: HC' = ~(~HC + ~m + m'). `removed` and `added` are sums of the old and new words.
inline uint16_t UpdateChecksum(uint16_t checksum, Sum removed, Sum added) {
  Sum sum = static_cast<uint16_t>(~checksum);
  sum += static_cast<uint16_t>(~Fold(removed));
  sum += Fold(added);
  return static_cast<uint16_t>(~Fold(sum));
}

inline void UpdateChecksumAt(uint8_t* field, Sum removed, Sum added) {
  StoreChecksum(field, UpdateChecksum(LoadChecksum(field), removed, added));
}

// A header checksum is right when the sum over the header, its field included, is 0xffff (RFC 1071 1(3)).
// Word by word: headers are too short for what AddBytes prepares. `header_length`: of a parsed header.
inline bool Ipv4HeaderChecksumRight(const uint8_t* ip, uint32_t header_length) {
  const auto word = [ip](uint32_t at) {
    uint32_t value;
    std::memcpy(&value, ip + at, sizeof value);
    return Sum{value};
  };
  Sum sum = word(0) + word(4) + word(8) + word(12) + word(16);
  for (uint32_t at = 20; at < header_length; at += 4) sum += word(at);
  return Fold(sum) == 0xffff;
}

}  // namespace vpc_conn::wire
