// Edits of a parsed packet that keep every checksum right (RFC 1624, RFC 768, RFC 5508).
#pragma once

#include <cstdint>
#include <optional>

#include "forward/packet.h"
#include "wire/virtio_net.h"

namespace vpc_conn::forward {

enum class Side : uint8_t { source, destination };

// Sets an address; IPv4 header checksum and the TCP or UDP checksum follow. ICMP has no pseudo-header. Later
// fragments carry no L4 checksum; a first fragment's covers all fragments and is updated here once.
void SetAddress(Packet& packet, Side side, uint32_t address);

// The same in the IPv4 header alone: for super-frames, whose L4 checksums are made per segment.
void SetAddressInHeader(Packet& packet, Side side, uint32_t address);

// Sets a TCP or UDP port. The packet has an L4 header.
void SetPort(Packet& packet, Side side, uint16_t port);

// Sets the identifier of an ICMP query or reply.
void SetIcmpId(Packet& packet, uint16_t id);

// Lowers the MSS options of a SYN or SYN-ACK to `maximum`; never raises nor adds one. True: one was lowered.
bool ClampMss(uint8_t* tcp, uint32_t header_length, uint16_t maximum);
inline bool ClampMss(Packet& packet, uint16_t maximum) {
  return ClampMss(packet.l4, TcpHeaderLength(packet), maximum);
}

// Whether a partial checksum lies where one can: in the packet's own TCP or UDP field, or behind the L4
// header (in a packet that this one carries). The sender of a frame, if it sits behind a virtio device,
// chooses these numbers; completed blindly, they overwrite lengths that were checked already.
bool PartialChecksumInPlace(const Packet& packet, const uint8_t* frame, uint32_t csum_start,
                            uint32_t csum_offset);

// Completes a partial L4 checksum (VIRTIO_NET_HDR_F_NEEDS_CSUM: the field holds the pseudo-header sum).
// `frame` is `length` bytes; csum_start and csum_offset count from its start. False: they point outside.
bool CompleteChecksum(uint8_t* frame, uint32_t length, uint32_t csum_start, uint32_t csum_offset);

// Sets the identification.
void SetId(Packet& packet, uint16_t id);

// Sets the ECN field (RFC 3168): 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
void SetEcn(Packet& packet, uint8_t ecn);

// Makes the IPv4 header checksum afresh.
void MendHeaderChecksum(Packet& packet);

// The packet that an ICMP error quotes, as far as it is quoted.
struct Quote {
  Packet packet;           // l4_length: what is there, perhaps less than a header
  bool has_ports = false;  // its first 4 L4 bytes (TCP, UDP) or id (ICMP query) can be read and edited
};
// RFC 5508 REQ-3: the ICMP checksum and the quoted header checksum must be right, quoted options are skipped,
// the quoted L4 checksum is not validated. Padding and extensions behind the quoted packet (RFC 4884) are no
// part of it.
std::optional<DropReason> ParseQuote(const Packet& error, Quote& quote);

// The port-like field of the quoted packet: TCP/UDP port of `side`, or the ICMP id.
uint16_t QuotedPort(const Quote& quote, Side side);

// Edits the quoted address (and port when given) of `side`, then makes the error's ICMP checksum right.
void RewriteQuote(Packet& error, Quote& quote, Side side, uint32_t address, std::optional<uint16_t> port);

}  // namespace vpc_conn::forward
