#include "forward/decap6.h"

#include <algorithm>

#include "forward/packet.h"
#include "forward/rewrite6.h"
#include "wire/l4.h"

namespace vpc_conn::forward {

namespace {

// The source that a packet gets here, and what of an error's quote changes along.
struct Translation6 {
  wire::Ipv6Address source;
  std::optional<wire::Ipv6Address> quoted_destination;
};

std::optional<DropReason> CheckAddresses(const Packet6& packet, const ForwardingTable& table) {
  if (const auto reason = UnforwardableAddress6(packet.destination)) return reason;
  if (const auto reason = UnforwardableAddress6(packet.source)) return reason;
  // A router's error is let through: another source is written into it.
  if (table.v6().IsReserved(packet.destination) ||
      (table.v6().IsReserved(packet.source) && !IsIcmp6Error(packet))) {
    return DropReason::reserved_address;
  }
  if (packet.destination == table.contents().overlay_address6) return DropReason::to_gateway;
  // A proxied address is no local host: it would come straight back (RFC 3378 section 4).
  if (table.v6().IsProxied(packet.destination)) return DropReason::looped;
  if (packet.protocol == wire::kProtocolEtherIp && table.IsTunnelAddress(packet.destination)) {
    return DropReason::etherip_nested;
  }
  return std::nullopt;
}

DropReason NoProxiedAddress(const Peer& peer) {
  return peer.masquerade_unlisted ? DropReason::ipv6_not_masqueraded : DropReason::unlisted_source;
}

std::optional<DropReason> Translate(const Packet6& packet, const Peer& peer, const ForwardingTable& table,
                                    Translation6& translation) {
  const uint16_t peer_index = table.PeerIndex(peer);
  const auto source = table.v6().ProxiedAddressOf(peer_index, packet.source);
  if (!IsIcmp6Error(packet)) {
    if (!source) return NoProxiedAddress(peer);
    translation.source = *source;
    return std::nullopt;
  }
  // A reserved address is a router's, and none to send from.
  const bool listed = source && !table.v6().IsReserved(*source);
  const auto quoted_source = PeekQuoted(packet, Side::source);
  const auto quoted = PeekQuoted(packet, Side::destination);
  if (!quoted_source || !quoted) return listed ? DropReason::malformed_l4 : NoProxiedAddress(peer);
  // It goes to whoever sent the packet that it is about; reversed inside the quote, that packet's destination
  // is a far host and becomes what stands for it here.
  const auto proxied = table.v6().ProxiedAddressOf(peer_index, *quoted);
  if (*quoted_source != packet.destination || !proxied) {
    return listed ? DropReason::icmp_quote_unknown : NoProxiedAddress(peer);
  }
  // A far router has no proxied address: its error speaks from the gateway's own (RFC 5508 REQ-5c).
  translation.source = listed ? *source : *table.contents().overlay_address6;
  if (*proxied != *quoted) translation.quoted_destination = *proxied;
  return std::nullopt;
}

}  // namespace

Verdict DeliverFrame6(wire::Cursor& cursor, const Arrival& arrival, Context& context) {
  const ForwardingTable& table = context.table();
  const TableContents& contents = table.contents();
  const Peer& peer = *arrival.peer;
  uint8_t* ethernet = arrival.ethernet;
  if (!table.carries_ipv6()) return Verdict::Drop(DropReason::ipv6);
  const auto frame_length = static_cast<uint32_t>(wire::kEthernetHeader + cursor.left());
  Packet6 packet;
  if (const auto reason = ParsePacket6(cursor, packet)) return Verdict::Drop(*reason);
  if (IsNeighborDiscovery(packet)) {
    context.events.NeighborDiscovery(static_cast<uint16_t>(kScopeTunnel + table.PeerIndex(peer)),
                                     {ethernet, frame_length});
    return Verdict::Punted();
  }
  if (const auto reason = CheckAddresses(packet, table)) return Verdict::Drop(*reason);
  Translation6 translation;
  if (const auto reason = Translate(packet, peer, table, translation)) return Verdict::Drop(*reason);
  if (packet.total_length > contents.overlay_mtu) {
    const OuterHeader& outer = context.snapshot.outer[table.PeerIndex(peer)];
    context.icmp_errors.SendTooBig(packet, packet.total_length, contents.overlay_mtu,
                                   {arrival.source_mac, &outer, peer.inner_mtu}, contents,
                                   context.now_seconds);
    return Verdict::Drop(DropReason::too_big);
  }

  const Neighbor* neighbor = context.snapshot.neighbors6.Find(NeighborKey(kScopeOverlay, packet.destination));
  if (neighbor == nullptr) {
    context.events.Unresolved(kScopeOverlay, packet.destination);
    return Verdict::Held();
  }
  context.MarkUsed(neighbor->slot);
  if (neighbor->failed) return Verdict::Drop(DropReason::neighbor_failed);

  if (const auto reason = MergeEcn(packet, arrival.outer_tos, context.counters))
    return Verdict::Drop(*reason);
  // The quote first: its error's checksum is judged with the addresses that it was made with.
  if (translation.quoted_destination) {
    if (const auto reason = RewriteQuote(packet, Side::destination, *translation.quoted_destination)) {
      return Verdict::Drop(*reason);
    }
  }
  SetAddress(packet, Side::source, translation.source);
  if (packet.protocol == wire::kProtocolTcp && packet.HasL4Header() &&
      (packet.l4[wire::kTcpFlagsOffset] & wire::kTcpSyn) != 0) {
    const uint32_t mtu = std::min<uint32_t>(peer.inner_mtu, contents.overlay_mtu);
    if (ClampMss(packet.l4, TcpHeaderLength(packet),
                 static_cast<uint16_t>(mtu - wire::kIpv6Header - wire::kTcpHeader))) {
      context.counters.Add(Counter::mss_clamped);
    }
  }
  wire::StoreMac(ethernet, neighbor->mac);
  wire::SetSourceMac(ethernet, contents.overlay_mac);
  context.batch.AddInPlace(ethernet, wire::kEthernetHeader + packet.total_length);
  return Verdict::Forwarded();
}

}  // namespace vpc_conn::forward
