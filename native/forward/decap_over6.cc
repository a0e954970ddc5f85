#include "forward/decap_over6.h"

#include <algorithm>

#include "forward/decap.h"
#include "forward/packet.h"
#include "forward/packet6.h"

namespace vpc_conn::forward {

namespace {

// An ICMPv6 error about an outer packet of ours that was too big for a router on the way (RFC 8201). Believed
// only if it quotes what we send: RFC 8899 section 4.6. How small is too small is the control plane's matter.
Verdict HearPathReport(const Packet6& packet, Context& context) {
  const ForwardingTable& table = context.table();
  if (packet.IsFragment() || packet.l4[0] != wire::kIcmp6PacketTooBig) {
    return Verdict::Drop(DropReason::to_gateway);
  }
  const wire::Sum pseudo =
      wire::PseudoHeader6(packet.source, packet.destination, wire::kNextHeaderIcmp6, packet.l4_length);
  if (wire::Fold(wire::AddBytes(pseudo, packet.l4, packet.l4_length)) != 0xffff) {
    return Verdict::Drop(DropReason::bad_icmp_checksum);
  }
  wire::Cursor cursor({packet.l4, packet.l4_length});
  const uint8_t* icmp = cursor.Take(wire::kIcmp6ErrorHeader);
  const uint8_t* ip = cursor.Take(wire::kIpv6Header);
  const uint8_t* etherip = cursor.Take(wire::kEtherIpHeader);
  // What snapshot.cc makes: no extension headers, protocol 97.
  if (etherip == nullptr || (ip[0] >> 4) != 6 || ip[wire::kIpv6NextHeaderOffset] != wire::kProtocolEtherIp ||
      wire::LoadBe16(etherip) != wire::kEtherIpFirstWord) {
    return Verdict::Drop(DropReason::icmp_quote_unknown);
  }
  const TunnelEnds6 ends{wire::LoadIpv6(ip + wire::kIpv6SourceOffset),
                         wire::LoadIpv6(ip + wire::kIpv6DestinationOffset)};
  const Peer* peer = table.PeerOf(ends);
  if (peer == nullptr || packet.destination != ends.local) {
    return Verdict::Drop(DropReason::icmp_quote_unknown);
  }
  constexpr uint32_t kMost = 0xffff;
  const uint32_t sent = wire::kIpv6Header + wire::LoadBe16(ip + wire::kIpv6PayloadLengthOffset);
  context.events.PathReport(static_cast<uint16_t>(kScopeTunnel + table.PeerIndex(*peer)), packet.source,
                            static_cast<uint16_t>(std::min(kMost, wire::LoadBe32(icmp + 4))),
                            static_cast<uint16_t>(std::min(kMost, sent)));
  return Verdict::Punted();
}

}  // namespace

Verdict DecapsulateOver6(ReceivedFrame& frame, wire::Cursor& cursor, const uint8_t* outer_ethernet,
                         Context& context) {
  const ForwardingTable& table = context.table();
  if (frame.other_host) return Verdict::Drop(DropReason::other_host);
  Packet6 outer;
  // Hop-by-hop and destination options are skipped: what they ask for is not for the end of a tunnel to do.
  if (ParsePacket6(cursor, outer)) return Verdict::Drop(DropReason::outer_malformed);
  if (IsNeighborDiscovery(outer)) {
    context.events.NeighborDiscovery(kScopeUnderlay, {frame.data, frame.length});
    return Verdict::Punted();
  }
  if (const auto reason = UnforwardableMac(outer_ethernet)) return Verdict::Drop(*reason);
  if (outer.protocol != wire::kProtocolEtherIp) {
    if (outer.protocol == wire::kNextHeaderIcmp6) return HearPathReport(outer, context);
    return Verdict::Drop(DropReason::to_gateway);
  }
  const Peer* peer = table.PeerOf({outer.destination, outer.source});
  if (peer == nullptr) return Verdict::Drop(DropReason::unknown_peer);
  // By choice not reassembled, as over IPv4.
  if (outer.IsFragment()) return Verdict::Drop(DropReason::outer_fragment);
  return Unwrap(frame, cursor, *peer, wire::kEthernetHeader + outer.total_length,
                wire::TrafficClass(outer.ip), context);
}

}  // namespace vpc_conn::forward
