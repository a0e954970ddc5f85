// An IPv6 packet, parsed once: whoever holds one may read and write what it points to without further checks.
#pragma once

#include <cstdint>
#include <optional>

#include "forward/drop_reason.h"
#include "wire/cursor.h"
#include "wire/ipv6.h"

namespace vpc_conn::forward {

struct Packet6 {
  uint8_t* ip = nullptr;
  uint32_t header_length = 0;  // with the extension headers before the upper layer
  uint32_t total_length = 0;
  wire::Ipv6Address source;
  wire::Ipv6Address destination;
  uint16_t fragment = 0;  // offset and M flag of the fragment header; 0: none, or an atomic fragment
  uint8_t protocol = 0;   // of the upper layer, or what its fragment header says
  uint8_t* l4 = nullptr;
  uint32_t l4_length = 0;

  bool IsFragment() const { return fragment != 0; }
  // The L4 header stands in this packet (unfragmented, or the first fragment).
  bool HasL4Header() const { return (fragment & wire::kIpv6FragmentOffset) == 0; }
};

// More extension headers than any honest sender uses (RFC 8504 5.3); a longer chain is refused.
inline constexpr uint32_t kMaxExtensionHeaders = 8;

// Parses from the cursor, which afterwards is limited to the packet and stands at its upper layer. AH and ESP
// count as upper layers: nothing behind them may be changed.
std::optional<DropReason> ParsePacket6(wire::Cursor& cursor, Packet6& packet);

// The same for what an ICMPv6 error quotes: cut off anywhere behind the fixed header. False: less than that.
bool ParseQuoted6(wire::Cursor& cursor, Packet6& packet);

uint32_t TcpHeaderLength(const Packet6& packet);

// NS or NA: never forwarded, always the control plane's.
bool IsNeighborDiscovery(const Packet6& packet);

// An ICMPv6 error whose type stands in this packet.
bool IsIcmp6Error(const Packet6& packet);

// Addresses no packet may carry between hosts. nullopt: fine.
std::optional<DropReason> UnforwardableAddress6(const wire::Ipv6Address& address);

}  // namespace vpc_conn::forward
