#include "forward/decap.h"

#include <algorithm>
#include <cstring>

#include "forward/arrival.h"
#include "forward/decap6.h"
#include "forward/decap_over6.h"
#include "forward/fragment.h"
#include "forward/fragment_wait.h"
#include "forward/rewrite.h"

namespace vpc_conn::forward {

namespace {

// The source that a packet gets here, and what of it must change.
struct Translation {
  uint32_t source = 0;
  std::optional<uint16_t> port;  // masqueraded
  bool later_fragment = false;   // masqueraded: the table of fragments knows the rest
  std::optional<uint16_t> id;    // masqueraded fragments: the identification that they get
  NatProtocol protocol = NatProtocol::tcp;
  bool quoted = false;  // an ICMP error: the quote's destination changes along
  uint32_t quoted_destination = 0;
};

// An ICMP error from the far side is about a packet of a local host: reversed inside the quote, its
// destination is a far host and becomes what stands for it here. The error may come from a far router, which
// has no proxied address: it then speaks from the gateway's own (RFC 5508 REQ-5c).
std::optional<DropReason> TranslateIcmpError(const Packet& packet, const Peer& peer, Context& context,
                                             Translation& translation) {
  const ForwardingTable& table = context.table();
  const uint16_t peer_index = table.PeerIndex(peer);
  if (packet.l4[0] == wire::kIcmpRedirect) return DropReason::icmp_redirect;
  const auto source = table.ProxiedAddressOf(peer_index, packet.source);
  // A reserved address is a router's, and none to send from.
  const bool listed = source && !table.IsReserved(*source);
  if (packet.l4_length < wire::kIcmpHeader + wire::kIpv4Header) {
    return listed ? DropReason::malformed_l4 : DropReason::unlisted_source;
  }
  const uint8_t* quoted_ip = packet.l4 + wire::kIcmpHeader;
  const uint32_t quoted = wire::LoadBe32(quoted_ip + wire::kIpv4DestinationOffset);
  // It goes to whoever sent the packet that it is about, or it is about none (RFC 5508 REQ-4).
  if (wire::LoadBe32(quoted_ip + wire::kIpv4SourceOffset) != packet.destination) {
    return listed || peer.masquerade_unlisted ? DropReason::icmp_quote_unknown : DropReason::unlisted_source;
  }
  if (const auto proxied = table.ProxiedAddressOf(peer_index, quoted)) {
    translation.source = listed ? *source : table.contents().overlay_address;
    translation.quoted_destination = *proxied;
    translation.quoted = *proxied != quoted || translation.source != packet.source;
    return std::nullopt;
  }
  if (!peer.masquerade_unlisted) {
    return listed ? DropReason::icmp_quote_unknown : DropReason::unlisted_source;
  }
  if (packet.IsFragment()) return DropReason::fragment_without_ports;
  Quote quote;
  if (const auto reason = ParseQuote(packet, quote)) return reason;
  if (!quote.has_ports) return DropReason::icmp_quote_unknown;
  translation.protocol = quote.packet.protocol == wire::kProtocolTcp   ? NatProtocol::tcp
                         : quote.packet.protocol == wire::kProtocolUdp ? NatProtocol::udp
                                                                       : NatProtocol::icmp;
  const auto mapping = context.shared.bindings.MappingOf(
      translation.protocol, {peer.id, quoted, QuotedPort(quote, Side::destination)});
  if (!mapping) return DropReason::icmp_quote_unknown;
  translation.port = mapping->port;
  translation.source = mapping->address;
  translation.quoted = true;
  translation.quoted_destination = mapping->address;
  return std::nullopt;
}

std::optional<DropReason> Masquerade(const Packet& packet, const Peer& peer, Context& context,
                                     Translation& translation) {
  if (!packet.HasL4Header()) {
    translation.later_fragment = true;
    return std::nullopt;
  }
  uint16_t port = 0;
  uint16_t near_port = 0;
  uint8_t tcp_flags = 0;
  if (packet.protocol == wire::kProtocolTcp || packet.protocol == wire::kProtocolUdp) {
    translation.protocol = packet.protocol == wire::kProtocolTcp ? NatProtocol::tcp : NatProtocol::udp;
    port = wire::LoadBe16(packet.l4 + wire::kSourcePortOffset);
    near_port = wire::LoadBe16(packet.l4 + wire::kDestinationPortOffset);
    if (packet.protocol == wire::kProtocolTcp) tcp_flags = packet.l4[wire::kTcpFlagsOffset];
  } else if (packet.protocol == wire::kProtocolIcmp && wire::IcmpIsQuery(packet.l4[0])) {
    translation.protocol = NatProtocol::icmp;
    port = wire::LoadBe16(packet.l4 + wire::kIcmpIdOffset);
  } else if (packet.protocol == wire::kProtocolIcmp) {
    return DropReason::no_binding;  // a reply to a query that nobody here can have sent
  } else {
    return DropReason::unsupported_protocol;
  }
  const auto [outcome, mapping] =
      context.shared.bindings.FromFar(translation.protocol, {peer.id, packet.source, port},
                                      {packet.destination, near_port}, tcp_flags, context.now_seconds);
  if (outcome == Bindings::Outcome::flows_full) return DropReason::flows_full;
  if (outcome == Bindings::Outcome::bindings_full) return DropReason::bindings_full;
  translation.port = mapping.port;
  translation.source = mapping.address;
  return std::nullopt;
}

std::optional<DropReason> Translate(const Packet& packet, const Peer& peer, Context& context,
                                    Translation& translation) {
  if (IsIcmpError(packet)) return TranslateIcmpError(packet, peer, context, translation);
  const ForwardingTable& table = context.table();
  if (const auto proxied = table.ProxiedAddressOf(table.PeerIndex(peer), packet.source)) {
    translation.source = *proxied;
    return std::nullopt;
  }
  if (!peer.masquerade_unlisted) return DropReason::unlisted_source;
  return Masquerade(packet, peer, context, translation);
}

// The first fragment of a masqueraded packet tells the others their source. nullopt: `translation` is whole.
std::optional<Verdict> FollowFragments(const Packet& packet, const Peer& peer, const ReceivedFrame& frame,
                                       Context& context, Translation& translation) {
  const auto key = FragmentKey::Of(packet, peer.id);
  const FragmentFate* known = context.fragments.Find(key, context.now_seconds);
  if (translation.later_fragment) {
    if (known == nullptr) return KeepFragment(key, frame, context);
    translation.source = known->address;
    translation.id = known->id;
    return std::nullopt;
  }
  // A frame that comes again, from waiting for a neighbor perhaps, keeps what it was given.
  const uint16_t id = known != nullptr && known->address == translation.source
                          ? known->id
                          : context.shared.next_fragment_id.fetch_add(1, std::memory_order_relaxed);
  translation.id = id;
  context.fragments.Remember(key, {translation.source, peer.id, id}, context.now_seconds);
  return KeepFirstInOrder(key, frame, context);
}

// A super-frame's L4 checksum is partial: it is made afresh after the addresses are final, that of UDP with
// each datagram.
void RewriteSuperFrame(Packet& packet, const Translation& translation) {
  SetAddressInHeader(packet, Side::source, translation.source);
  if (translation.port) wire::StoreBe16(packet.l4 + wire::kSourcePortOffset, *translation.port);
  if (packet.protocol == wire::kProtocolUdp) return;
  const wire::Sum pseudo = wire::PseudoHeader(packet.source, packet.destination, wire::kProtocolTcp,
                                              static_cast<uint16_t>(packet.l4_length));
  wire::StoreChecksum(packet.l4 + wire::kTcpChecksumOffset, wire::Fold(pseudo));
}

std::optional<DropReason> Rewrite(Packet& packet, const Translation& translation) {
  if (translation.quoted) {
    if (packet.IsFragment()) return DropReason::fragment_without_ports;
    Quote quote;
    if (const auto reason = ParseQuote(packet, quote)) return reason;
    RewriteQuote(packet, quote, Side::destination, translation.quoted_destination, translation.port);
  }
  SetAddress(packet, Side::source, translation.source);
  if (translation.id) SetId(packet, *translation.id);
  if (translation.port && !translation.quoted) {
    if (translation.protocol == NatProtocol::icmp) {
      SetIcmpId(packet, *translation.port);
    } else {
      SetPort(packet, Side::source, *translation.port);
    }
  }
  return std::nullopt;
}

std::optional<DropReason> CheckAddresses(const Packet& packet, const ForwardingTable& table) {
  // A router's error is let through: another source is written into it.
  if (const auto reason = CheckDelivery(packet.source, packet.destination, table, IsIcmpError(packet))) {
    return reason;
  }
  if (packet.protocol == wire::kProtocolEtherIp && table.IsTunnelAddress(packet.destination)) {
    return DropReason::etherip_nested;
  }
  return std::nullopt;
}

// RFC 6040 section 4.2, figure 4: the outer ECN field joins the inner one. The outer DSCP is not looked at
// (RFC 2983, pipe model).
std::optional<DropReason> MergeEcn(Packet& packet, uint8_t outer_tos, CounterBlock& counters) {
  const uint8_t outer = outer_tos & 3;
  const uint8_t inner = packet.ip[wire::kIpv4TosOffset] & 3;
  if (outer == inner) return std::nullopt;
  if (outer == 3 && inner == 0) return DropReason::ecn_not_ect_ce;
  // The cells marked (!) and (!!!): no encapsulator and no router makes them.
  if (inner == 0 || (inner == 1 && outer == 2) || (inner == 3 && outer == 1)) {
    counters.Add(Counter::ecn_unexpected);
  }
  if (outer == 3 && inner != 3) {
    SetEcn(packet, 3);
  } else if (outer == 1 && inner == 2) {
    SetEcn(packet, 1);
  }
  return std::nullopt;
}

// Packets like this one need no look of their own. SYNs do: their MSS may have to be lowered.
bool IsPlain(const Packet& packet) {
  if (packet.IsFragment()) return false;
  if (packet.protocol == wire::kProtocolTcp) return (packet.l4[wire::kTcpFlagsOffset] & wire::kTcpSyn) == 0;
  if (packet.protocol == wire::kProtocolUdp) return true;
  return packet.protocol == wire::kProtocolIcmp &&
         (packet.l4[0] == wire::kIcmpEchoReply || packet.l4[0] == wire::kIcmpEcho);
}

// The kernel may do for the next frames of a flow what was done for this one: nothing but new MACs.
void MakeKnown(const Packet& packet, const Neighbor& neighbor, const Arrival& arrival, Context& context) {
  KnownFlows::Flow flow{.peer_id = arrival.peer->id,
                        .source = 0,
                        .destination = 0,
                        .far_mac = arrival.source_mac,
                        .local_mac = neighbor.mac,
                        .neighbor_slot = neighbor.slot};
  std::memcpy(&flow.source, packet.ip + wire::kIpv4SourceOffset, sizeof flow.source);
  std::memcpy(&flow.destination, packet.ip + wire::kIpv4DestinationOffset, sizeof flow.destination);
  context.handover->flows().Know(flow, context.snapshot.generation, context.now_seconds);
}

bool IsUdpSuperFrame(const Packet& packet, const wire::VirtioNetHeader& virtio) {
  return virtio.gso_type == wire::kVirtioGsoUdpL4 && packet.protocol == wire::kProtocolUdp;
}

// The longest packet that leaves for one that came; TCP super-frames have been made to fit.
uint32_t LongestPacket(const Packet& packet, const wire::VirtioNetHeader& virtio) {
  if (virtio.gso_type == wire::kVirtioGsoNone) return packet.total_length;
  if (!IsUdpSuperFrame(packet, virtio)) return 0;
  return std::min<uint32_t>(packet.header_length + wire::kUdpHeader + virtio.gso_size, packet.total_length);
}

// nullopt: no super-frame, or one that can be delivered.
std::optional<DropReason> FitSuperFrame(const Packet& packet, wire::VirtioNetHeader& virtio, uint32_t mtu) {
  if (virtio.gso_type == wire::kVirtioGsoNone) return std::nullopt;
  if (packet.IsFragment() || virtio.gso_size == 0) return DropReason::unsupported_gso;
  // Only where somebody switched rx-udp-gro-forwarding on.
  if (IsUdpSuperFrame(packet, virtio)) return std::nullopt;
  if ((virtio.gso_type & ~wire::kVirtioGsoEcn) != wire::kVirtioGsoTcp4 ||
      packet.protocol != wire::kProtocolTcp) {
    return DropReason::unsupported_gso;
  }
  // A TCP segment may always be cut smaller.
  const uint32_t headers = packet.header_length + TcpHeaderLength(packet);
  if (mtu <= headers) return DropReason::too_big;
  virtio.gso_size = static_cast<uint16_t>(std::min<uint32_t>(virtio.gso_size, mtu - headers));
  return std::nullopt;
}

// Larger than the overlay carries, and not to be cut: the far host is told, through the tunnel (RFC 1191,
// RFC 4787 REQ-13).
Verdict TooBig(const Packet& packet, uint32_t total_length, const Arrival& arrival, Context& context) {
  const ForwardingTable& table = context.table();
  const OuterHeader& outer = context.snapshot.outer[table.PeerIndex(*arrival.peer)];
  context.icmp_errors.Send(TooBigError(table.contents().overlay_mtu), packet, total_length,
                           {arrival.source_mac, &outer, arrival.peer->inner_mtu}, table.contents(),
                           context.now_seconds);
  return Verdict::Drop(DropReason::too_big);
}

void SendToOverlay(const Packet& packet, const Arrival& arrival, Context& context) {
  const uint32_t length = wire::kEthernetHeader + packet.total_length;
  if (packet.protocol != wire::kProtocolTcp || !packet.HasL4Header()) {
    context.batch.AddInPlace(arrival.ethernet, length);
    return;
  }
  if (arrival.virtio.gso_type == wire::kVirtioGsoNone) {
    context.coalescer.Add(packet, arrival.ethernet, arrival.verified, context.batch);
    return;
  }
  context.coalescer.Close(packet, context.batch);
  const auto l4_at = static_cast<uint16_t>(wire::kEthernetHeader + packet.header_length);
  context.batch.AddSuperFrame(arrival.ethernet, length,
                              {.flags = wire::kVirtioNeedsChecksum,
                               .gso_type = arrival.virtio.gso_type,
                               .hdr_len = static_cast<uint16_t>(l4_at + TcpHeaderLength(packet)),
                               .gso_size = arrival.virtio.gso_size,
                               .csum_start = l4_at,
                               .csum_offset = wire::kTcpChecksumOffset});
}

// May lower the segment size of a super-frame in `arrival`.
Verdict DeliverFrame(wire::Cursor& cursor, Arrival& arrival, Context& context) {
  const ForwardingTable& table = context.table();
  const TableContents& contents = table.contents();
  const Peer& peer = *arrival.peer;
  uint8_t* ethernet = arrival.ethernet;
  Packet packet;
  if (const auto reason = ParsePacket(cursor, packet)) return Verdict::Drop(*reason);
  if (!wire::Ipv4HeaderChecksumRight(packet.ip, packet.header_length)) {
    // The original tool's receiver rewrites an address and leaves the checksum as it was.
    if (!peer.resolve_through_tunnel) return Verdict::Drop(DropReason::bad_ipv4_checksum);
    MendHeaderChecksum(packet);
    context.counters.Add(Counter::checksums_mended);
  }
  if (const auto reason = CheckAddresses(packet, table)) return Verdict::Drop(*reason);
  if (const auto reason = FitSuperFrame(packet, arrival.virtio, contents.overlay_mtu)) {
    return Verdict::Drop(*reason);
  }

  Translation translation;
  if (const auto reason = Translate(packet, peer, context, translation)) {
    if (*reason == DropReason::unlisted_source) {
      context.events.Unlisted(static_cast<uint16_t>(kScopeTunnel + table.PeerIndex(peer)), packet.source);
    }
    return Verdict::Drop(*reason);
  }
  if (packet.IsFragment() && (translation.port || translation.later_fragment)) {
    if (const auto verdict = FollowFragments(packet, peer, arrival.frame, context, translation)) {
      return *verdict;
    }
  }
  const uint32_t longest = LongestPacket(packet, arrival.virtio);
  const bool too_big = longest > contents.overlay_mtu;
  if (too_big && packet.DontFragment()) return TooBig(packet, longest, arrival, context);
  context.shared.learned_macs.Learn(peer.id, packet.source, arrival.source_mac, context.now_seconds);

  const Neighbor* neighbor = context.snapshot.neighbors.Find(NeighborKey(kScopeOverlay, packet.destination));
  if (neighbor == nullptr) {
    context.events.Unresolved(kScopeOverlay, packet.destination);
    return Verdict::Held();
  }
  context.MarkUsed(neighbor->slot);
  if (neighbor->failed) return Verdict::Drop(DropReason::neighbor_failed);

  // The original tool's MACs have to be learned.
  const bool plain = context.handover != nullptr && arrival.stripped && !translation.port &&
                     translation.source == packet.source && !peer.resolve_through_tunnel && IsPlain(packet);
  if (const auto reason = MergeEcn(packet, arrival.outer_tos, context.counters))
    return Verdict::Drop(*reason);
  if (arrival.virtio.gso_type != wire::kVirtioGsoNone) {
    RewriteSuperFrame(packet, translation);
  } else if (const auto reason = Rewrite(packet, translation)) {
    return Verdict::Drop(*reason);
  }
  if (packet.protocol == wire::kProtocolTcp && packet.HasL4Header() &&
      (packet.l4[wire::kTcpFlagsOffset] & wire::kTcpSyn) != 0) {
    const uint32_t mtu = std::min<uint32_t>(peer.inner_mtu, contents.overlay_mtu);
    if (ClampMss(packet, static_cast<uint16_t>(mtu - wire::kIpv4Header - wire::kTcpHeader))) {
      context.counters.Add(Counter::mss_clamped);
    }
  }
  if (plain) MakeKnown(packet, *neighbor, arrival, context);
  wire::StoreMac(ethernet, neighbor->mac);
  wire::SetSourceMac(ethernet, contents.overlay_mac);
  if (IsUdpSuperFrame(packet, arrival.virtio)) {
    SegmentUdp(packet, {nullptr, ethernet}, arrival.virtio.gso_size, contents.overlay_mtu, context.batch);
    return Verdict::Forwarded();
  }
  if (too_big) {
    context.coalescer.Close(packet, context.batch);
    SendFragments(AsFragmentable(packet), contents.overlay_mtu, {nullptr, ethernet}, context.batch);
    context.counters.Add(Counter::fragmented);
    return Verdict::Forwarded();
  }
  SendToOverlay(packet, arrival, context);
  return Verdict::Forwarded();
}

// Others may use the same EtherType for experiments of their own.
bool IsKeepalive(const wire::Cursor& cursor) {
  return cursor.left() >= sizeof wire::kKeepaliveMagic &&
         wire::LoadBe32(cursor.position()) == wire::kKeepaliveMagic;
}

void CountReceived(const ReceivedFrame& frame, const Peer& peer, uint32_t packets, uint64_t bytes,
                   Context& context) {
  if (frame.replayed) return;
  context.counters.AddPeer(peer.id, PeerCounter::rx_packets, packets);
  context.counters.AddPeer(peer.id, PeerCounter::rx_bytes, bytes);
  context.counters.SetPeer(peer.id, PeerCounter::last_rx_seconds, context.now_seconds);
}

// Bytes of the headers that every packet had of those that the kernel merged. The virtio header's hdr_len
// says something else: how much of the first packet lay in one piece.
uint32_t MergedHeaders(const ReceivedFrame& frame) {
  constexpr uint32_t kL4At = wire::kEthernetHeader + wire::kIpv4Header;  // with options it is not stripped
  if (frame.length < kL4At + wire::kTcpHeader) return frame.length;
  const uint32_t l4_header = frame.virtio.gso_type == wire::kVirtioGsoUdpL4
                                 ? wire::kUdpHeader
                                 : (frame.data[kL4At + wire::kTcpDataOffset] >> 4) * 4u;
  return std::min(frame.length, kL4At + l4_header);
}

// A frame whose outer headers the XDP program took off (bpf/strip.bpf.c): the peer's id stands behind the
// marker in the source MAC, the inner source MAC in the destination MAC; the kernel may have merged several.
Verdict DecapsulateStripped(ReceivedFrame& frame, wire::Cursor& cursor, uint8_t* ethernet, Context& context) {
  const Peer* peer = context.table().PeerById(wire::LoadBe16(ethernet + 10));
  if (peer == nullptr) return Verdict::Drop(DropReason::unknown_peer);
  const bool merged = frame.virtio.gso_type != wire::kVirtioGsoNone && frame.virtio.gso_size != 0;
  const uint32_t headers = merged ? MergedHeaders(frame) : frame.length;
  const uint32_t payload = frame.length - headers;
  const uint32_t packets =
      merged ? std::max(1u, (payload + frame.virtio.gso_size - 1) / frame.virtio.gso_size) : 1;
  const uint64_t bytes = uint64_t{packets} * headers + payload;
  CountReceived(frame, *peer, packets, bytes, context);
  if (!frame.replayed) {
    // As it was on the wire: every packet had all its headers.
    context.counters.Add(Counter::rx_bytes, bytes - frame.length + uint64_t{packets} * wire::kOuterHeaders);
  }
  if (frame.virtio.gso_type != wire::kVirtioGsoNone && !frame.replayed)
    context.counters.Add(Counter::rx_super_frames);
  if (frame.virtio.gso_type == wire::kVirtioGsoNone &&
      (frame.virtio.flags & wire::kVirtioNeedsChecksum) != 0) {
    if (!CompleteChecksum(frame.data, frame.length, frame.virtio.csum_start, frame.virtio.csum_offset)) {
      return Verdict::Drop(DropReason::malformed_l4);
    }
    frame.virtio.flags = wire::kVirtioDataValid;
  }
  // The program merged the ECN fields.
  const uint8_t tos = cursor.left() > wire::kIpv4TosOffset ? cursor.position()[wire::kIpv4TosOffset] : 0;
  const bool verified = (frame.virtio.flags & wire::kVirtioDataValid) != 0;
  Arrival arrival{peer, ethernet, wire::MacToInteger(ethernet), tos, verified, frame.virtio, frame, true};
  return DeliverFrame(cursor, arrival, context);
}

// An ICMP error about an outer packet of ours that was too big for a router on the way (RFC 1191). Believed
// only if it quotes what we send: RFC 8899 section 4.6. How small is too small is the control plane's matter.
Verdict HearPathReport(const Packet& packet, Context& context) {
  const ForwardingTable& table = context.table();
  if (packet.IsFragment() || packet.l4[0] != wire::kIcmpUnreachable ||
      packet.l4[1] != wire::kIcmpFragmentationNeeded) {
    return Verdict::Drop(DropReason::to_gateway);
  }
  if (wire::Fold(wire::AddBytes(0, packet.l4, packet.l4_length)) != 0xffff) {
    return Verdict::Drop(DropReason::bad_icmp_checksum);
  }
  wire::Cursor cursor({packet.l4 + wire::kIcmpHeader, packet.l4_length - wire::kIcmpHeader});
  const uint8_t* ip = cursor.Take(wire::kIpv4Header);
  const uint8_t* etherip = cursor.Take(wire::kEtherIpHeader);
  // What snapshot.cc and WriteOuterHeader make: no options, DF, identification 0, protocol 97.
  if (etherip == nullptr || ip[0] != 0x45 || ip[wire::kIpv4ProtocolOffset] != wire::kProtocolEtherIp ||
      wire::LoadBe16(ip + wire::kIpv4IdOffset) != 0 ||
      wire::LoadBe16(ip + wire::kIpv4FragmentOffset) != wire::kDontFragment ||
      wire::LoadBe16(etherip) != wire::kEtherIpFirstWord) {
    return Verdict::Drop(DropReason::icmp_quote_unknown);
  }
  const uint32_t quoted_source = wire::LoadBe32(ip + wire::kIpv4SourceOffset);
  const Peer* peer = table.PeerOf(quoted_source, wire::LoadBe32(ip + wire::kIpv4DestinationOffset));
  if (peer == nullptr || packet.destination != quoted_source) {
    return Verdict::Drop(DropReason::icmp_quote_unknown);
  }
  context.events.PathReport(static_cast<uint16_t>(kScopeTunnel + table.PeerIndex(*peer)), packet.source,
                            wire::LoadBe16(packet.l4 + wire::kIcmpNextHopMtuOffset),
                            wire::LoadBe16(ip + wire::kIpv4TotalLengthOffset));
  return Verdict::Punted();
}

bool IsStripped(const uint8_t* ethernet, const Context& context) {
  return context.strip_marker != 0 && wire::LoadBe32(ethernet + 6) == context.strip_marker;
}

// The kernel counted what it gave us of each flow: we count it, too, whatever becomes of it.
void TakeOver(const ReceivedFrame& frame, Context& context) {
  constexpr uint32_t kHeaders = wire::kEthernetHeader + wire::kIpv4Header;
  if (frame.replayed || frame.length < kHeaders || !IsStripped(frame.data, context)) return;
  uint32_t source;
  uint32_t destination;
  std::memcpy(&source, frame.data + wire::kEthernetHeader + wire::kIpv4SourceOffset, sizeof source);
  std::memcpy(&destination, frame.data + wire::kEthernetHeader + wire::kIpv4DestinationOffset,
              sizeof destination);
  context.handover->Take(FlowSlot(wire::LoadBe16(frame.data + 10), source, destination));
}

}  // namespace

std::optional<DropReason> CheckDelivery(uint32_t source, uint32_t destination, const ForwardingTable& table,
                                        bool reserved_source) {
  if (const auto reason = UnforwardableDestination(destination)) return reason;
  if (const auto reason = UnforwardableDestination(source)) return reason;
  if (table.IsReserved(destination) || (table.IsReserved(source) && !reserved_source)) {
    return DropReason::reserved_address;
  }
  if (destination == table.contents().overlay_address || table.IsPoolAddress(destination)) {
    return DropReason::to_gateway;
  }
  // A proxied address is no local host: it would come straight back (RFC 3378 section 4).
  if (table.IsProxied(destination)) return DropReason::looped;
  return std::nullopt;
}

Verdict Decapsulate(ReceivedFrame& frame, Context& context) {
  const ForwardingTable& table = context.table();
  if (context.handover != nullptr) TakeOver(frame, context);
  if (frame.wire_length != frame.length) return Verdict::Drop(DropReason::truncated);
  if (frame.vlan_tagged) return Verdict::Drop(DropReason::vlan_tagged);
  wire::Cursor cursor({frame.data, frame.length});
  uint8_t* outer_ethernet = cursor.Take(wire::kEthernetHeader);
  if (outer_ethernet == nullptr) return Verdict::Drop(DropReason::malformed_ethernet);
  if (IsStripped(outer_ethernet, context)) {
    return DecapsulateStripped(frame, cursor, outer_ethernet, context);
  }
  if (wire::SourceMacIs(outer_ethernet, table.contents().underlay_mac)) {
    return Verdict::Drop(DropReason::own_frame);
  }
  const uint16_t outer_type = wire::EtherType(outer_ethernet);
  if (outer_type == wire::kEtherTypeArp) {
    context.events.Arp(kScopeUnderlay, {frame.data, frame.length});
    return Verdict::Punted();
  }
  if (outer_type != wire::kEtherTypeIpv4) {
    if (outer_type == wire::kEtherTypeIpv6 && table.tunnels_over_ipv6()) {
      return DecapsulateOver6(frame, cursor, outer_ethernet, context);
    }
    return Verdict::Drop(DropReason::unknown_ethertype);
  }
  if (frame.other_host) return Verdict::Drop(DropReason::other_host);
  if (const auto reason = UnforwardableMac(outer_ethernet)) return Verdict::Drop(*reason);

  Packet outer;
  if (ParsePacket(cursor, outer)) return Verdict::Drop(DropReason::outer_malformed);
  if (!wire::Ipv4HeaderChecksumRight(outer.ip, outer.header_length)) {
    return Verdict::Drop(DropReason::outer_checksum);
  }
  if (outer.protocol != wire::kProtocolEtherIp) {
    if (outer.protocol == wire::kProtocolIcmp) return HearPathReport(outer, context);
    return Verdict::Drop(DropReason::to_gateway);
  }
  const Peer* peer = table.PeerOf(outer.destination, outer.source);
  if (peer == nullptr) return Verdict::Drop(DropReason::unknown_peer);
  // By choice not reassembled: ARCHITECTURE.md, "Decisions worth knowing".
  if (outer.IsFragment()) return Verdict::Drop(DropReason::outer_fragment);
  return Unwrap(frame, cursor, *peer, wire::kEthernetHeader + outer.total_length,
                outer.ip[wire::kIpv4TosOffset], context);
}

Verdict Unwrap(ReceivedFrame& frame, wire::Cursor& cursor, const Peer& peer, uint32_t end, uint8_t outer_tos,
               Context& context) {
  const ForwardingTable& table = context.table();
  // An aggregate of EtherIP packets is nothing that a NIC or the kernel makes today.
  if (frame.virtio.gso_type != wire::kVirtioGsoNone) return Verdict::Drop(DropReason::unsupported_gso);
  if ((frame.virtio.flags & wire::kVirtioNeedsChecksum) != 0 &&
      !CompleteChecksum(frame.data, end, frame.virtio.csum_start, frame.virtio.csum_offset)) {
    return Verdict::Drop(DropReason::malformed_l4);
  }
  // Completed here, so known to be right; also if the frame is held and comes again. What a NIC says of such
  // a packet can only mean the outer headers.
  const bool completed = (frame.virtio.flags & wire::kVirtioNeedsChecksum) != 0;
  frame.virtio.flags = completed ? wire::kVirtioDataValid : 0;

  const uint8_t* etherip = cursor.Take(wire::kEtherIpHeader);
  if (etherip == nullptr) return Verdict::Drop(DropReason::inner_truncated);
  const uint16_t word = wire::LoadBe16(etherip);
  if (word != wire::kEtherIpFirstWord) {
    if (!table.contents().accept_reversed || word != wire::kEtherIpReversedWord) {
      const bool version_right = (word >> 12) == wire::kEtherIpVersion;
      return Verdict::Drop(version_right ? DropReason::etherip_reserved : DropReason::etherip_version);
    }
    if (!frame.replayed) context.counters.Add(Counter::etherip_reversed);
  }
  const auto inner_length = static_cast<uint32_t>(cursor.left());
  uint8_t* ethernet = cursor.Take(wire::kEthernetHeader);
  if (ethernet == nullptr) return Verdict::Drop(DropReason::inner_truncated);

  CountReceived(frame, peer, 1, inner_length, context);

  Arrival arrival{&peer,
                  ethernet,
                  wire::MacToInteger(ethernet + 6),
                  outer_tos,
                  (frame.virtio.flags & wire::kVirtioDataValid) != 0,
                  wire::VirtioNetHeader{},
                  frame};
  switch (const uint16_t type = wire::EtherType(ethernet)) {
    case wire::kEtherTypeIpv4:
      return DeliverFrame(cursor, arrival, context);
    case wire::kEtherTypeArp:
      context.events.Arp(static_cast<uint16_t>(kScopeTunnel + table.PeerIndex(peer)),
                         {ethernet, inner_length});
      return Verdict::Punted();
    case wire::kEtherTypeVlan:
    case wire::kEtherTypeServiceVlan:
      return Verdict::Drop(DropReason::vlan_tagged);
    case wire::kEtherTypeIpv6:
      return DeliverFrame6(cursor, arrival, context);
    case wire::kEtherTypeExperiment:
      if (!IsKeepalive(cursor)) return Verdict::Drop(DropReason::unknown_ethertype);
      if (!context.events.Keepalive(static_cast<uint16_t>(kScopeTunnel + table.PeerIndex(peer)),
                                    {ethernet, inner_length})) {
        return Verdict::Drop(DropReason::keepalive_excess);
      }
      return Verdict::Punted();
    default:
      return Verdict::Drop(type < wire::kEtherTypeFirst ? DropReason::not_ethernet_ii
                                                        : DropReason::unknown_ethertype);
  }
}

}  // namespace vpc_conn::forward
