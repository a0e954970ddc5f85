// Offsets in TCP (RFC 9293), UDP (RFC 768) and ICMP (RFC 792) headers that a gateway reads or edits.
//
//   TCP: source port, destination port, sequence(4), acknowledgment(4), data offset + flags(2), window,
//        checksum(16), urgent pointer, options
//   UDP: source port, destination port, length(4), checksum(6)
//   ICMP: type, code, checksum(2), identifier(4), sequence(6); errors quote an IP packet from byte 8 on
#pragma once

#include <cstdint>

namespace vpc_conn::wire {

inline constexpr uint32_t kTcpHeader = 20;
inline constexpr uint32_t kTcpHeaderMax = 60;
inline constexpr uint32_t kTcpSequenceOffset = 4;
inline constexpr uint32_t kTcpDataOffset = 12;
inline constexpr uint32_t kTcpFlagsOffset = 13;
inline constexpr uint32_t kTcpChecksumOffset = 16;
inline constexpr uint8_t kTcpFin = 0x01;
inline constexpr uint8_t kTcpSyn = 0x02;
inline constexpr uint8_t kTcpRst = 0x04;
inline constexpr uint8_t kTcpPsh = 0x08;
inline constexpr uint8_t kTcpAck = 0x10;
inline constexpr uint8_t kTcpCwr = 0x80;
inline constexpr uint8_t kTcpOptionEnd = 0;
inline constexpr uint8_t kTcpOptionNop = 1;
inline constexpr uint8_t kTcpOptionMss = 2;

inline constexpr uint32_t kUdpHeader = 8;
inline constexpr uint32_t kUdpLengthOffset = 4;
inline constexpr uint32_t kUdpChecksumOffset = 6;

inline constexpr uint32_t kIcmpHeader = 8;
inline constexpr uint32_t kIcmpChecksumOffset = 2;
inline constexpr uint32_t kIcmpRestOffset = 4;
inline constexpr uint32_t kIcmpIdOffset = 4;
inline constexpr uint8_t kIcmpEchoReply = 0;
inline constexpr uint8_t kIcmpUnreachable = 3;
inline constexpr uint8_t kIcmpSourceQuench = 4;
inline constexpr uint8_t kIcmpRedirect = 5;
inline constexpr uint8_t kIcmpEcho = 8;
inline constexpr uint8_t kIcmpTimeExceeded = 11;
inline constexpr uint8_t kIcmpParameterProblem = 12;
inline constexpr uint8_t kIcmpTimestamp = 13;
inline constexpr uint8_t kIcmpTimestampReply = 14;
inline constexpr uint8_t kIcmpLastQuery = 18;  // address mask reply; above are errors and experiments
inline constexpr uint8_t kIcmpFragmentationNeeded = 4;  // code of unreachable
inline constexpr uint32_t kIcmpNextHopMtuOffset = 6;    // RFC 1191 section 4

// Source and destination port lie at the same place in TCP and UDP.
inline constexpr uint32_t kSourcePortOffset = 0;
inline constexpr uint32_t kDestinationPortOffset = 2;

// ICMP errors quote the packet they are about (RFC 792; RFC 1812 4.3.2.3).
inline constexpr bool IcmpIsError(uint8_t type) {
  return type == kIcmpUnreachable || type == kIcmpSourceQuench || type == kIcmpRedirect ||
         type == kIcmpTimeExceeded || type == kIcmpParameterProblem;
}
// Queries whose identifier plays the part of a port (RFC 5508 3.1).
inline constexpr bool IcmpIsQuery(uint8_t type) {
  return type == kIcmpEcho || type == kIcmpTimestamp;
}
inline constexpr bool IcmpIsQueryReply(uint8_t type) {
  return type == kIcmpEchoReply || type == kIcmpTimestampReply;
}

}  // namespace vpc_conn::wire
