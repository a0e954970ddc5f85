// A received frame as the pipelines see it, and what becomes of it.
#pragma once

#include <cstdint>
#include <span>

#include "forward/drop_reason.h"
#include "wire/etherip.h"
#include "wire/ipv6.h"
#include "wire/virtio_net.h"

namespace vpc_conn::forward {

// Bytes that the pipelines may write in front of a received frame: virtio header and outer headers.
inline constexpr uint32_t kHeadroom = sizeof(wire::VirtioNetHeader) + wire::kOuterHeadersMost;

struct ReceivedFrame {
  // The frame, Ethernet header first; kHeadroom writable bytes lie in front of it. Owned by the port, and
  // valid until the output batch was flushed.
  uint8_t* data = nullptr;
  uint32_t length = 0;
  uint32_t wire_length = 0;  // > length: the kernel cut it off
  wire::VirtioNetHeader virtio;
  bool vlan_tagged = false;
  bool other_host = false;  // PACKET_OTHERHOST
  bool replayed = false;    // was held: received once, counted once
};

// held: waits for a neighbor; kept: waits for the first fragment of its packet, in the fragment table.
enum class Disposition : uint8_t { forwarded, punted, held, kept, dropped };

struct Verdict {
  Disposition disposition;
  DropReason reason;  // only with dropped

  static constexpr Verdict Forwarded() { return {Disposition::forwarded, DropReason::count_}; }
  static constexpr Verdict Punted() { return {Disposition::punted, DropReason::count_}; }
  static constexpr Verdict Held() { return {Disposition::held, DropReason::count_}; }
  static constexpr Verdict Kept() { return {Disposition::kept, DropReason::count_}; }
  static constexpr Verdict Drop(DropReason reason) { return {Disposition::dropped, reason}; }
};

// Rare events for the control plane. Called on the worker's thread; must neither block nor keep the span.
class EventSink {
 public:
  virtual ~EventSink() = default;
  virtual void Unresolved(uint16_t scope, uint32_t address) = 0;
  virtual void Heard(uint16_t scope, uint32_t address) = 0;
  virtual void Arp(uint16_t scope, std::span<const uint8_t> frame) = 0;
  // An ICMP error from `router` says that an outer packet of ours, `sent` bytes long, to the peer of tunnel
  // scope `scope` was too big for its next hop; `mtu` 0: it does not say what would fit.
  virtual void PathReport(uint16_t scope, uint32_t router, uint16_t mtu, uint16_t sent) = 0;
  virtual void PathReport(uint16_t scope, const wire::Ipv6Address& router, uint16_t mtu, uint16_t sent) = 0;
  // A message of the peer's gateway. False: more of them than are taken in this second.
  virtual bool Keepalive(uint16_t scope, std::span<const uint8_t> frame) = 0;
  // A packet of a far host without a proxied address was dropped.
  virtual void Unlisted(uint16_t scope, uint32_t address) = 0;
  // The same for IPv6.
  virtual void Unresolved(uint16_t scope, const wire::Ipv6Address& address) = 0;
  virtual void Heard(uint16_t scope, const wire::Ipv6Address& address) = 0;
  virtual void NeighborDiscovery(uint16_t scope, std::span<const uint8_t> frame) = 0;
};

}  // namespace vpc_conn::forward
