#include "forward/encap6.h"

#include <algorithm>

#include "forward/flow_label.h"
#include "forward/packet.h"
#include "forward/rewrite6.h"
#include "forward/segment6.h"
#include "wire/l4.h"

namespace vpc_conn::forward {

namespace {

// Where a packet goes, and what of it must change.
struct Route6 {
  uint16_t peer = 0;
  wire::Ipv6Address far_host;
  std::optional<wire::Ipv6Address> quoted_source;  // of an ICMPv6 error's quote, where it changes
};

std::optional<DropReason> CheckSource(const Packet6& packet, const ForwardingTable& table) {
  const wire::Ipv6Address& source = packet.source;
  if (const auto reason = UnforwardableAddress6(source)) return reason;
  // As for IPv4: a router's errors pass, and the far gateway puts its own address in the place of such a
  // source.
  if (table.v6().IsReserved(source) && !IsIcmp6Error(packet)) return DropReason::reserved_address;
  // Only the gateway itself may send from these: carrying such a packet would loop (RFC 3378 section 4).
  if (source == table.contents().overlay_address6 || table.v6().IsProxied(source)) return DropReason::looped;
  return std::nullopt;
}

std::optional<DropReason> RouteTo(const Packet6& packet, const ForwardingTable& table, Route6& route) {
  const wire::Ipv6Address& destination = packet.destination;
  if (destination == table.contents().overlay_address6) return DropReason::to_gateway;
  if (table.v6().IsReserved(destination)) return DropReason::reserved_address;
  const auto far = table.v6().FarHostOf(destination);
  if (!far) return DropReason::not_proxied;
  route.peer = far->peer;
  route.far_host = far->address;
  if (IsIcmp6Error(packet)) {
    // It goes to the sender of the packet that it is about (RFC 5508 REQ-4c has the same for IPv4).
    const auto quoted = PeekQuoted(packet, Side::source);
    if (!quoted) return DropReason::malformed_l4;
    if (*quoted != destination) return DropReason::icmp_quote_unknown;
    // Reversed inside the quote: that packet came from the far host.
    if (far->address != destination) route.quoted_source = far->address;
  }
  return CheckSource(packet, table);
}

// The payload of a segment; 0: no super-frame. nullopt: fine.
std::optional<DropReason> CheckSize(const ReceivedFrame& frame, const Packet6& packet, uint32_t inner_mtu,
                                    uint32_t& segment_size) {
  const uint8_t gso = frame.virtio.gso_type & static_cast<uint8_t>(~wire::kVirtioGsoEcn);
  segment_size = 0;
  if (gso == wire::kVirtioGsoNone) {
    if (packet.total_length > inner_mtu) return DropReason::too_big;
    return std::nullopt;
  }
  const bool tcp = gso == wire::kVirtioGsoTcp6 && packet.protocol == wire::kProtocolTcp;
  const bool udp = gso == wire::kVirtioGsoUdpL4 && packet.protocol == wire::kProtocolUdp;
  if ((!tcp && !udp) || frame.virtio.gso_size == 0 || packet.IsFragment() ||
      packet.header_length > kMaxSegmentedHeader6) {
    return DropReason::unsupported_gso;
  }
  const uint32_t headers = packet.header_length + (tcp ? TcpHeaderLength(packet) : wire::kUdpHeader);
  const uint32_t datagram = std::min(headers + frame.virtio.gso_size, packet.total_length);
  if (inner_mtu <= headers || (udp && datagram > inner_mtu)) return DropReason::too_big;
  // A TCP segment may always be cut smaller; hosts that learned no smaller MSS in time still get through.
  segment_size = std::min<uint32_t>(frame.virtio.gso_size, inner_mtu - headers);
  return std::nullopt;
}

// Drops a packet whose parts of `total_length` bytes the tunnel does not take, and tells its sender.
Verdict TooBig(const Packet6& packet, uint32_t total_length, const uint8_t* ethernet, const Peer& peer,
               Context& context) {
  const TableContents& contents = context.table().contents();
  context.icmp_errors.SendTooBig(packet, total_length, peer.inner_mtu,
                                 {wire::MacToInteger(ethernet + 6), nullptr, contents.overlay_mtu}, contents,
                                 context.now_seconds);
  return Verdict::Drop(DropReason::too_big);
}

// Towards a peer for which we ask through the tunnel the inner destination MAC must be the far host's.
std::optional<Verdict> ChooseInnerMac(const Route6& route, Context& context, std::optional<uint64_t>& mac) {
  if (!context.table().peers()[route.peer].resolve_through_tunnel) return std::nullopt;
  const auto scope = static_cast<uint16_t>(kScopeTunnel + route.peer);
  const Neighbor* neighbor = context.snapshot.neighbors6.Find(NeighborKey(scope, route.far_host));
  if (neighbor == nullptr) {
    context.events.Unresolved(scope, route.far_host);
    return Verdict::Held();
  }
  context.MarkUsed(neighbor->slot);
  if (neighbor->failed) return Verdict::Drop(DropReason::neighbor_failed);
  mac = neighbor->mac;
  return std::nullopt;
}

}  // namespace

Verdict Encapsulate6(ReceivedFrame& frame, wire::Cursor& cursor, uint8_t* ethernet, Context& context) {
  const ForwardingTable& table = context.table();
  if (!table.carries_ipv6()) return Verdict::Drop(DropReason::ipv6);
  if (frame.other_host) return Verdict::Drop(DropReason::other_host);
  Packet6 packet;
  if (const auto reason = ParsePacket6(cursor, packet)) return Verdict::Drop(*reason);
  if (IsNeighborDiscovery(packet)) {
    context.events.NeighborDiscovery(kScopeOverlay, {frame.data, frame.length});
    return Verdict::Punted();
  }
  if (const auto reason = UnforwardableMac(ethernet)) return Verdict::Drop(*reason);
  if (context.snapshot.any_failed) {
    const Neighbor* source = context.snapshot.neighbors6.Find(NeighborKey(kScopeOverlay, packet.source));
    if (source != nullptr && source->failed) context.events.Heard(kScopeOverlay, packet.source);
  }
  if (const auto reason = UnforwardableAddress6(packet.destination)) return Verdict::Drop(*reason);

  Route6 route;
  if (const auto reason = RouteTo(packet, table, route)) return Verdict::Drop(*reason);
  if (packet.protocol == wire::kProtocolEtherIp && table.IsTunnelAddress(route.far_host)) {
    return Verdict::Drop(DropReason::etherip_nested);
  }
  const Peer& peer = table.peers()[route.peer];
  const bool super_frame = frame.virtio.gso_type != wire::kVirtioGsoNone;
  if (super_frame && !frame.replayed) context.counters.Add(Counter::rx_super_frames);
  uint32_t segment_size = 0;
  if (const auto reason = CheckSize(frame, packet, peer.inner_mtu, segment_size)) {
    if (*reason != DropReason::too_big) return Verdict::Drop(*reason);
    // Of an aggregate each datagram: TCP is cut smaller instead.
    const uint32_t part =
        super_frame ? packet.header_length + wire::kUdpHeader + frame.virtio.gso_size : packet.total_length;
    return TooBig(packet, std::min(part, packet.total_length), ethernet, peer, context);
  }

  const OuterHeader& outer = context.snapshot.outer[route.peer];
  if (!outer.resolved) {
    if (outer.failed) return Verdict::Drop(DropReason::neighbor_failed);
    context.AskForNextHop(peer);
    return Verdict::Held();
  }
  std::optional<uint64_t> inner_mac;
  if (const auto verdict = ChooseInnerMac(route, context, inner_mac)) return *verdict;

  // From here on the frame goes out, and may be changed.
  context.MarkUsed(outer.neighbor_slot);
  const uint32_t inner_length = wire::kEthernetHeader + packet.total_length;
  if (!super_frame && (frame.virtio.flags & wire::kVirtioNeedsChecksum) != 0) {
    if (packet.protocol == wire::kProtocolSctp) return Verdict::Drop(DropReason::unsupported_gso);  // CRC32c
    if (!PartialChecksumInPlace(packet, frame.data, frame.virtio.csum_start, frame.virtio.csum_offset) ||
        !CompleteChecksum(frame.data, inner_length, frame.virtio.csum_start, frame.virtio.csum_offset)) {
      return Verdict::Drop(DropReason::malformed_l4);
    }
  }
  if (inner_mac) wire::StoreMac(ethernet, *inner_mac);

  if (super_frame) {
    SetAddressInHeader(packet, Side::destination, route.far_host);
    const Encapsulation encapsulation{&outer, ethernet, FlowLabel(outer, packet)};
    const bool tcp = packet.protocol == wire::kProtocolTcp;
    const uint32_t segments = tcp ? SegmentTcp(packet, encapsulation, segment_size, context.batch)
                                  : SegmentUdp(packet, encapsulation, segment_size, context.batch);
    // Every segment carries the headers again.
    const uint32_t headers =
        wire::kEthernetHeader + packet.header_length + (tcp ? TcpHeaderLength(packet) : wire::kUdpHeader);
    context.counters.AddPeer(peer.id, PeerCounter::tx_packets, segments);
    context.counters.AddPeer(peer.id, PeerCounter::tx_bytes,
                             inner_length + uint64_t{std::max(segments, 1u) - 1} * headers);
    return Verdict::Forwarded();
  }
  // The quote first: its error's checksum is judged with the addresses that it was made with.
  if (route.quoted_source) {
    if (const auto reason = RewriteQuote(packet, Side::source, *route.quoted_source)) {
      return Verdict::Drop(*reason);
    }
  }
  SetAddress(packet, Side::destination, route.far_host);
  if (packet.protocol == wire::kProtocolTcp && packet.HasL4Header() &&
      (packet.l4[wire::kTcpFlagsOffset] & wire::kTcpSyn) != 0 &&
      ClampMss(packet.l4, TcpHeaderLength(packet),
               static_cast<uint16_t>(peer.inner_mtu - wire::kIpv6Header - wire::kTcpHeader))) {
    context.counters.Add(Counter::mss_clamped);
  }
  uint8_t* start = ethernet - outer.length;
  WriteOuterHeader(start, outer, inner_length, wire::TrafficClass(packet.ip), FlowLabel(outer, packet));
  context.batch.AddInPlace(start, outer.length + inner_length);
  context.counters.AddPeer(peer.id, PeerCounter::tx_packets, 1);
  context.counters.AddPeer(peer.id, PeerCounter::tx_bytes, inner_length);
  return Verdict::Forwarded();
}

}  // namespace vpc_conn::forward
