#include "forward/encap.h"

#include <algorithm>
#include <cstring>

#include "forward/encap6.h"
#include "forward/flow_label.h"
#include "forward/fragment.h"
#include "forward/fragment_wait.h"
#include "forward/rewrite.h"
#include "forward/segment.h"

namespace vpc_conn::forward {

namespace {

// Where a packet goes, and what of it must change.
struct Route {
  uint16_t peer = 0;
  uint32_t far_host = 0;
  bool masqueraded = false;
  bool later_fragment = false;              // with masqueraded: the table of fragments knows the rest
  NatProtocol protocol = NatProtocol::tcp;  // with masqueraded
  Mapping mapping{};                        // what it came to
  NearEndpoint near{};
  uint16_t far_port = 0;
  bool quoted = false;  // an ICMP error: the quote's source changes along
  uint32_t quoted_source = 0;
};

std::optional<DropReason> CheckSource(uint32_t source, bool icmp_error, const ForwardingTable& table) {
  if (const auto reason = UnforwardableDestination(source)) return reason;
  // A subnet's router has one of the reserved addresses; path MTU discovery needs its errors. The far gateway
  // puts its own address in the place of such a source.
  if (table.IsReserved(source) && !icmp_error) return DropReason::reserved_address;
  // Only the gateway itself may send from these: carrying such a packet would loop (RFC 3378 section 4).
  if (source == table.contents().overlay_address || table.IsProxied(source) || table.IsPoolAddress(source)) {
    return DropReason::looped;
  }
  return std::nullopt;
}

// An ICMP error goes to the sender of the packet that it is about: the quoted source is its destination
// (RFC 5508 REQ-4c), or it is about nothing that this gateway has carried.
std::optional<DropReason> CheckQuotedSource(const Packet& error) {
  if (error.l4[0] == wire::kIcmpRedirect) return DropReason::icmp_redirect;
  if (error.l4_length < wire::kIcmpHeader + wire::kIpv4Header) return DropReason::malformed_l4;
  const uint32_t source = wire::LoadBe32(error.l4 + wire::kIcmpHeader + wire::kIpv4SourceOffset);
  if (source != error.destination) return DropReason::icmp_quote_unknown;
  return std::nullopt;
}

std::optional<DropReason> RouteProxied(const Packet& packet, const ForwardingTable::FarHost& far,
                                       Route& route) {
  route.peer = far.peer;
  route.far_host = far.address;
  if (IsIcmpError(packet)) {
    if (const auto reason = CheckQuotedSource(packet)) return reason;
    // Reversed inside quotes: the packet that the error is about came from the far host.
    route.quoted = far.address != packet.destination;
    route.quoted_source = far.address;
  }
  return std::nullopt;
}

// A packet for a masquerade address. What is for no masquerade port of the overlay address is the kernel's.
std::optional<DropReason> RouteMasqueraded(const Packet& packet, Context& context, Route& route) {
  const ForwardingTable& table = context.table();
  const bool own = packet.destination == table.contents().overlay_address;
  if (own && !table.masquerades_overlay_address()) return DropReason::to_gateway;
  const DropReason not_masqueraded = own ? DropReason::to_gateway : DropReason::no_binding;
  if (!packet.HasL4Header()) {
    route.masqueraded = true;
    route.later_fragment = true;
    return std::nullopt;
  }
  NatProtocol protocol = NatProtocol::tcp;
  uint16_t port = 0;
  uint16_t near_port = 0;
  if (packet.protocol == wire::kProtocolTcp || packet.protocol == wire::kProtocolUdp) {
    protocol = packet.protocol == wire::kProtocolTcp ? NatProtocol::tcp : NatProtocol::udp;
    port = wire::LoadBe16(packet.l4 + wire::kDestinationPortOffset);
    near_port = wire::LoadBe16(packet.l4 + wire::kSourcePortOffset);
  } else if (packet.protocol == wire::kProtocolIcmp && wire::IcmpIsQueryReply(packet.l4[0])) {
    protocol = NatProtocol::icmp;
    port = wire::LoadBe16(packet.l4 + wire::kIcmpIdOffset);
  } else if (IsIcmpError(packet)) {
    Quote quote;
    if (CheckQuotedSource(packet)) return not_masqueraded;
    if (packet.IsFragment()) return DropReason::fragment_without_ports;
    if (const auto reason = ParseQuote(packet, quote)) return reason;
    if (!quote.has_ports) return DropReason::icmp_quote_unknown;
    protocol = quote.packet.protocol == wire::kProtocolTcp   ? NatProtocol::tcp
               : quote.packet.protocol == wire::kProtocolUdp ? NatProtocol::udp
                                                             : NatProtocol::icmp;
    port = QuotedPort(quote, Side::source);
    route.quoted = true;
  } else {
    return not_masqueraded;
  }
  if (!table.InMasqueradeRange(port)) return not_masqueraded;
  route.mapping = {packet.destination, port};
  route.near = {packet.source, near_port};
  const auto far = context.shared.bindings.FarOf(protocol, route.mapping);
  const Peer* peer = far ? table.PeerById(far->peer_id) : nullptr;
  if (peer == nullptr) return DropReason::no_binding;
  route.peer = table.PeerIndex(*peer);
  route.far_host = far->address;
  route.masqueraded = true;
  route.protocol = protocol;
  route.far_port = far->port;
  route.quoted_source = far->address;
  return std::nullopt;
}

// The first fragment of a packet to a masquerade port tells the others where to go. nullopt: `route` is
// whole.
std::optional<Verdict> FollowFragments(const Packet& packet, const ReceivedFrame& frame, Context& context,
                                       Route& route) {
  const ForwardingTable& table = context.table();
  const auto key = FragmentKey::Of(packet, 0xffff);
  if (!route.later_fragment) {
    const FragmentFate fate{route.far_host, table.peers()[route.peer].id, 0};
    context.fragments.Remember(key, fate, context.now_seconds);
    return KeepFirstInOrder(key, frame, context);
  }
  const FragmentFate* fate = context.fragments.Find(key, context.now_seconds);
  if (fate == nullptr) return KeepFragment(key, frame, context);
  const Peer* peer = table.PeerById(fate->peer_id);
  if (peer == nullptr) return Verdict::Drop(DropReason::no_binding);
  route.peer = table.PeerIndex(*peer);
  route.far_host = fate->address;
  return std::nullopt;
}

// RFC 5508 REQ-6: an error about a query neither refreshes nor ends a mapping.
void TouchFlow(const Packet& packet, const Route& route, Context& context) {
  if (!route.masqueraded || route.quoted || route.later_fragment) return;
  const uint8_t flags = route.protocol == NatProtocol::tcp ? packet.l4[wire::kTcpFlagsOffset] : uint8_t{0};
  context.shared.bindings.FromNear(route.protocol, route.mapping, route.near, flags, context.now_seconds);
}

std::optional<DropReason> Rewrite(Packet& packet, const Route& route, bool super_frame) {
  if (route.quoted) {
    if (packet.IsFragment()) return DropReason::fragment_without_ports;
    Quote quote;
    if (const auto reason = ParseQuote(packet, quote)) return reason;
    const auto port = route.masqueraded ? std::optional(route.far_port) : std::nullopt;
    RewriteQuote(packet, quote, Side::source, route.quoted_source, port);
  }
  if (super_frame) {
    SetAddressInHeader(packet, Side::destination, route.far_host);
    if (route.masqueraded) wire::StoreBe16(packet.l4 + wire::kDestinationPortOffset, route.far_port);
    return std::nullopt;
  }
  SetAddress(packet, Side::destination, route.far_host);
  if (route.masqueraded && !route.quoted && !route.later_fragment) {
    if (route.protocol == NatProtocol::icmp) {
      SetIcmpId(packet, route.far_port);
    } else {
      SetPort(packet, Side::destination, route.far_port);
    }
  }
  return std::nullopt;
}

// The inner destination MAC. Our own far gateway does not read it; the original tool delivers with it.
// nullopt: it must be resolved through the tunnel first.
struct InnerMac {
  bool known;
  uint64_t mac;
};
std::optional<Verdict> ChooseInnerMac(const Route& route, Context& context, InnerMac& inner) {
  const Peer& peer = context.table().peers()[route.peer];
  inner = {false, 0};
  const auto learned = context.shared.learned_macs.Find(peer.id, route.far_host);
  const bool fresh = learned && context.now_seconds - learned->seconds < LearnedMacs::kFreshSeconds;
  if (learned && (fresh || !peer.resolve_through_tunnel || route.masqueraded)) {
    inner = {true, learned->mac};
    return std::nullopt;
  }
  if (!peer.resolve_through_tunnel || route.masqueraded) return std::nullopt;
  const auto scope = static_cast<uint16_t>(kScopeTunnel + route.peer);
  const Neighbor* neighbor = context.snapshot.neighbors.Find(NeighborKey(scope, route.far_host));
  if (neighbor == nullptr) {
    context.events.Unresolved(scope, route.far_host);
    return Verdict::Held();
  }
  context.MarkUsed(neighbor->slot);
  if (neighbor->failed) return Verdict::Drop(DropReason::neighbor_failed);
  inner = {true, neighbor->mac};
  return std::nullopt;
}

// Too big for the tunnel, and not to be cut: the sender is told (RFC 1191, RFC 4787 REQ-13).
Verdict TooBig(const Packet& packet, uint32_t total_length, const uint8_t* ethernet, const Peer& peer,
               Context& context) {
  const TableContents& contents = context.table().contents();
  context.icmp_errors.Send(TooBigError(peer.inner_mtu), packet, total_length,
                           {wire::MacToInteger(ethernet + 6), nullptr, contents.overlay_mtu}, contents,
                           context.now_seconds);
  return Verdict::Drop(DropReason::too_big);
}

// Packets to which nothing but MACs changed need no new decision: the kernel may carry the next ones.
void OfferPair(Context& context, const Packet& packet, const Route& route, const OuterHeader& outer,
               const InnerMac& inner_mac) {
  const Peer& peer = context.table().peers()[route.peer];
  if (route.masqueraded || route.quoted || peer.resolve_through_tunnel) return;
  if (route.far_host != packet.destination) return;
  if (!inner_mac.known) return;  // it will be with the first answer
  if (context.snapshot.any_failed) {
    const Neighbor* source = context.snapshot.neighbors.Find(NeighborKey(kScopeOverlay, packet.source));
    if (source != nullptr && source->failed) return;
  }
  context.known_pairs->Offer({packet.source, packet.destination, &peer, &outer, inner_mac.mac},
                             context.now_seconds);
}

void CountSent(Context& context, const Peer& peer, uint32_t packets, uint64_t inner_bytes) {
  context.counters.AddPeer(peer.id, PeerCounter::tx_packets, packets);
  context.counters.AddPeer(peer.id, PeerCounter::tx_bytes, inner_bytes);
}

}  // namespace

bool IsPlainPair(uint32_t source, uint32_t destination, const Peer& peer, const ForwardingTable& table) {
  if (peer.resolve_through_tunnel || UnforwardableDestination(destination)) return false;
  if (destination == table.contents().overlay_address || table.IsReserved(destination)) return false;
  const auto far = table.FarHostOf(destination);
  if (!far || far->address != destination || &table.peers()[far->peer] != &peer) return false;
  return !CheckSource(source, false, table);
}

Verdict Encapsulate(ReceivedFrame& frame, Context& context) {
  const ForwardingTable& table = context.table();
  const TableContents& contents = table.contents();
  if (frame.wire_length != frame.length) return Verdict::Drop(DropReason::truncated);
  if (frame.vlan_tagged) return Verdict::Drop(DropReason::vlan_tagged);
  wire::Cursor cursor({frame.data, frame.length});
  uint8_t* ethernet = cursor.Take(wire::kEthernetHeader);
  if (ethernet == nullptr) return Verdict::Drop(DropReason::malformed_ethernet);
  if (wire::SourceMacIs(ethernet, contents.overlay_mac)) return Verdict::Drop(DropReason::own_frame);

  const uint16_t type = wire::EtherType(ethernet);
  if (type != wire::kEtherTypeIpv4) {
    if (type == wire::kEtherTypeArp) {
      context.events.Arp(kScopeOverlay, {frame.data, frame.length});
      return Verdict::Punted();
    }
    if (type == wire::kEtherTypeVlan || type == wire::kEtherTypeServiceVlan) {
      return Verdict::Drop(DropReason::vlan_tagged);
    }
    if (type == wire::kEtherTypeIpv6) return Encapsulate6(frame, cursor, ethernet, context);
    if (type < wire::kEtherTypeFirst) return Verdict::Drop(DropReason::not_ethernet_ii);
    return Verdict::Drop(DropReason::unknown_ethertype);
  }
  if (frame.other_host) return Verdict::Drop(DropReason::other_host);
  if (const auto reason = UnforwardableMac(ethernet)) return Verdict::Drop(*reason);

  Packet packet;
  if (const auto reason = ParsePacket(cursor, packet)) return Verdict::Drop(*reason);
  if (!wire::Ipv4HeaderChecksumRight(packet.ip, packet.header_length)) {
    return Verdict::Drop(DropReason::bad_ipv4_checksum);
  }
  if (context.snapshot.any_failed) {
    const Neighbor* source = context.snapshot.neighbors.Find(NeighborKey(kScopeOverlay, packet.source));
    if (source != nullptr && source->failed) context.events.Heard(kScopeOverlay, packet.source);
  }
  if (const auto reason = UnforwardableDestination(packet.destination)) return Verdict::Drop(*reason);

  Route route;
  if (packet.destination == contents.overlay_address) {
    if (const auto reason = RouteMasqueraded(packet, context, route)) return Verdict::Drop(*reason);
  } else if (table.IsReserved(packet.destination)) {
    return Verdict::Drop(DropReason::reserved_address);
  } else if (const auto far = table.FarHostOf(packet.destination)) {
    if (const auto reason = RouteProxied(packet, *far, route)) return Verdict::Drop(*reason);
  } else if (table.IsPoolAddress(packet.destination)) {
    if (const auto reason = RouteMasqueraded(packet, context, route)) return Verdict::Drop(*reason);
  } else {
    return Verdict::Drop(DropReason::not_proxied);
  }
  if (const auto reason = CheckSource(packet.source, IsIcmpError(packet), table))
    return Verdict::Drop(*reason);
  if (route.masqueraded && packet.IsFragment()) {
    if (const auto verdict = FollowFragments(packet, frame, context, route)) return *verdict;
  }
  if (packet.protocol == wire::kProtocolEtherIp && table.IsTunnelAddress(route.far_host)) {
    return Verdict::Drop(DropReason::etherip_nested);
  }

  const Peer& peer = table.peers()[route.peer];
  const uint32_t inner_mtu = peer.inner_mtu;
  const uint8_t gso = frame.virtio.gso_type & static_cast<uint8_t>(~wire::kVirtioGsoEcn);
  const bool super_frame = gso != wire::kVirtioGsoNone;
  uint32_t segment_size = 0;
  bool cut = false;
  if (super_frame) {
    if (!frame.replayed) context.counters.Add(Counter::rx_super_frames);
    segment_size = frame.virtio.gso_size;
    if (segment_size == 0 || packet.IsFragment()) return Verdict::Drop(DropReason::unsupported_gso);
    if (gso == wire::kVirtioGsoTcp4 && packet.protocol == wire::kProtocolTcp) {
      // A TCP segment may always be cut smaller; hosts that learned no smaller MSS in time still get through.
      const uint32_t headers = packet.header_length + TcpHeaderLength(packet);
      if (inner_mtu <= headers) return Verdict::Drop(DropReason::too_big);
      segment_size = std::min(segment_size, inner_mtu - headers);
    } else if (gso == wire::kVirtioGsoUdpL4 && packet.protocol == wire::kProtocolUdp) {
      const uint32_t datagram =
          std::min(packet.header_length + wire::kUdpHeader + segment_size, packet.total_length);
      if (datagram > inner_mtu && packet.DontFragment()) {
        return TooBig(packet, datagram, ethernet, peer, context);
      }
    } else {
      return Verdict::Drop(DropReason::unsupported_gso);
    }
  } else if (packet.total_length > inner_mtu) {
    if (packet.DontFragment()) return TooBig(packet, packet.total_length, ethernet, peer, context);
    cut = true;
  }

  const OuterHeader& outer = context.snapshot.outer[route.peer];
  if (!outer.resolved) {
    if (outer.failed) return Verdict::Drop(DropReason::neighbor_failed);
    context.AskForNextHop(peer);
    return Verdict::Held();
  }
  InnerMac inner_mac;
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
  TouchFlow(packet, route, context);
  if (context.known_pairs != nullptr && !outer.over_ipv6())
    OfferPair(context, packet, route, outer, inner_mac);
  if (const auto reason = Rewrite(packet, route, super_frame)) return Verdict::Drop(*reason);
  if (inner_mac.known) wire::StoreMac(ethernet, inner_mac.mac);

  const uint32_t flow_label = FlowLabel(outer, packet);
  if (super_frame) {
    const Encapsulation encapsulation{&outer, ethernet, flow_label};
    if (gso == wire::kVirtioGsoUdpL4) {
      const Sent sent = SegmentUdp(packet, encapsulation, segment_size, inner_mtu, context.batch);
      CountSent(context, peer, sent.packets, sent.bytes);
      return Verdict::Forwarded();
    }
    const uint32_t segments =
        SendSuperFrame(packet, encapsulation, segment_size, context.super_frames, context.batch);
    // Every segment carries the headers again.
    const uint32_t headers = wire::kEthernetHeader + packet.header_length + TcpHeaderLength(packet);
    CountSent(context, peer, segments, inner_length + uint64_t{std::max(segments, 1u) - 1} * headers);
    return Verdict::Forwarded();
  }
  if (packet.protocol == wire::kProtocolTcp && packet.HasL4Header() &&
      (packet.l4[wire::kTcpFlagsOffset] & wire::kTcpSyn) != 0 &&
      ClampMss(packet, static_cast<uint16_t>(inner_mtu - wire::kIpv4Header - wire::kTcpHeader))) {
    context.counters.Add(Counter::mss_clamped);
  }
  if (cut) {
    const Sent sent =
        SendFragments(AsFragmentable(packet), inner_mtu, {&outer, ethernet, flow_label}, context.batch);
    context.counters.Add(Counter::fragmented);
    CountSent(context, peer, sent.packets, sent.bytes);
    return Verdict::Forwarded();
  }
  uint8_t* start = ethernet - outer.length;
  WriteOuterHeader(start, outer, inner_length, packet.ip[wire::kIpv4TosOffset], flow_label);
  context.batch.AddInPlace(start, outer.length + inner_length);
  CountSent(context, peer, 1, inner_length);
  return Verdict::Forwarded();
}

}  // namespace vpc_conn::forward
