// Edits of a parsed IPv6 packet that keep every checksum right (RFC 1624, RFC 8200 8.1). IPv6 has no header
// checksum; TCP, UDP and ICMPv6 cover the addresses.
#pragma once

#include <cstdint>
#include <optional>

#include "forward/counters.h"
#include "forward/packet6.h"
#include "forward/rewrite.h"

namespace vpc_conn::forward {

// Sets an address; the L4 checksum follows where this packet carries one. Later fragments carry none; a first
// fragment's covers all fragments and is updated here once.
void SetAddress(Packet6& packet, Side side, const wire::Ipv6Address& address);

// The same without the L4 checksum: for super-frames, whose checksums are made per segment.
void SetAddressInHeader(Packet6& packet, Side side, const wire::Ipv6Address& address);

// As for IPv4.
bool PartialChecksumInPlace(const Packet6& packet, const uint8_t* frame, uint32_t csum_start,
                            uint32_t csum_offset);

// RFC 6040 4.2, figure 4: the outer ECN field joins the inner one. nullopt: done.
std::optional<DropReason> MergeEcn(Packet6& packet, uint8_t outer_traffic_class, CounterBlock& counters);

// The address that an ICMPv6 error's quote has on `side`; nullopt: not so much is quoted.
std::optional<wire::Ipv6Address> PeekQuoted(const Packet6& packet, Side side);

// An ICMPv6 error (PeekQuoted gave an address): sets the quoted address of `side` with the quoted L4
// checksum, as far as that is quoted, then the error's own checksum. nullopt: done.
std::optional<DropReason> RewriteQuote(Packet6& error, Side side, const wire::Ipv6Address& address);

}  // namespace vpc_conn::forward
