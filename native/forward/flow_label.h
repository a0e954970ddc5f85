// Flow labels of outer IPv6 headers: routers that share traffic among several paths look at them, and not
// inside the tunnel (RFC 6438 section 3). All packets of an inner flow have the same, so that they keep to
// one path and in order.
#pragma once

#include <cstdint>

#include "forward/packet.h"
#include "forward/packet6.h"
#include "forward/snapshot.h"

namespace vpc_conn::forward {

inline constexpr uint32_t kNoFlow = 0;

inline bool HasPorts(uint8_t protocol) {
  return protocol == wire::kProtocolTcp || protocol == wire::kProtocolUdp;
}

// 20 bits, none of them the label of a packet without flow (RFC 6437 section 2).
inline uint32_t LabelOf(uint64_t hash) {
  const auto label = static_cast<uint32_t>(hash >> 16) & 0xfffff;
  return label == kNoFlow ? 1 : label;
}

// What the outer header of `packet` needs; kNoFlow where that is IPv4. Ports stand in the first fragment
// alone: all of them go by the addresses.
inline uint32_t FlowLabel(const OuterHeader& outer, const Packet& packet) {
  if (!outer.over_ipv6()) return kNoFlow;
  const bool ports = !packet.IsFragment() && HasPorts(packet.protocol);
  const uint64_t addresses = MixHash((uint64_t{packet.source} << 32) | packet.destination);
  return LabelOf(MixHash(addresses + (ports ? wire::LoadBe32(packet.l4) : 0) + packet.protocol));
}

inline uint32_t FlowLabel(const OuterHeader& outer, const Packet6& packet) {
  if (!outer.over_ipv6()) return kNoFlow;
  const bool ports = !packet.IsFragment() && HasPorts(packet.protocol);
  const uint64_t addresses =
      MixHash(Key6{packet.source, packet.protocol}) + MixHash(Key6{packet.destination, 0});
  return LabelOf(MixHash(addresses + (ports ? wire::LoadBe32(packet.l4) : 0)));
}

}  // namespace vpc_conn::forward
