#include "forward/look_ahead.h"

#include <array>

namespace vpc_conn::forward {

namespace {

struct Endpoints {
  NatProtocol protocol;
  uint32_t source;
  uint32_t destination;
  uint16_t source_port;
  uint16_t destination_port;
};

// Of a plain TCP or UDP packet whose IPv4 header begins at byte `at`.
std::optional<Endpoints> EndpointsAt(const ReceivedFrame& frame, uint32_t at) {
  if (frame.length < at + wire::kIpv4Header + wire::kUdpHeader) return std::nullopt;
  const uint8_t* ip = frame.data + at;
  const uint8_t protocol = ip[wire::kIpv4ProtocolOffset];
  if (ip[0] != 0x45 || (protocol != wire::kProtocolTcp && protocol != wire::kProtocolUdp)) {
    return std::nullopt;
  }
  const uint8_t* l4 = ip + wire::kIpv4Header;
  return Endpoints{
      protocol == wire::kProtocolTcp ? NatProtocol::tcp : NatProtocol::udp,
      wire::LoadBe32(ip + wire::kIpv4SourceOffset), wire::LoadBe32(ip + wire::kIpv4DestinationOffset),
      wire::LoadBe16(l4 + wire::kSourcePortOffset), wire::LoadBe16(l4 + wire::kDestinationPortOffset)};
}

// Where a frame from the underlay has its inner packet, and whose it is.
struct Inner {
  const Peer* peer;
  uint32_t at;
};
Inner InnerOf(const ReceivedFrame& frame, const ForwardingTable& table, uint32_t strip_marker) {
  if (frame.length < wire::kOuterHeaders + wire::kEthernetHeader) return {nullptr, 0};
  if (strip_marker != 0 && wire::LoadBe32(frame.data + 6) == strip_marker) {
    return {table.PeerById(wire::LoadBe16(frame.data + 10)), wire::kEthernetHeader};
  }
  const uint8_t* ip = frame.data + wire::kEthernetHeader;
  if (ip[0] != 0x45 || ip[wire::kIpv4ProtocolOffset] != wire::kProtocolEtherIp) return {nullptr, 0};
  return {table.PeerOf(wire::LoadBe32(ip + wire::kIpv4DestinationOffset),
                       wire::LoadBe32(ip + wire::kIpv4SourceOffset)),
          wire::kOuterHeaders + wire::kEthernetHeader};
}

}  // namespace

void LookAheadEncap(std::span<const ReceivedFrame> frames, const ForwardingTable& table,
                    const Bindings& bindings) {
  for (const ReceivedFrame& frame : frames) {
    const auto ends = EndpointsAt(frame, wire::kEthernetHeader);
    if (!ends) continue;
    if (ends->destination != table.contents().overlay_address && !table.IsPoolAddress(ends->destination)) {
      continue;
    }
    bindings.FetchFromNear(ends->protocol, {ends->destination, ends->destination_port},
                           {ends->source, ends->source_port});
  }
}

void LookAheadDecap(std::span<const ReceivedFrame> frames, const ForwardingTable& table,
                    const Bindings& bindings, uint32_t strip_marker) {
  struct Wanted {
    NatProtocol protocol;
    FarEndpoint far;
    NearEndpoint near;
  };
  std::array<Wanted, kLookAhead> wanted;
  uint32_t count = 0;
  for (const ReceivedFrame& frame : frames) {
    const Inner inner = InnerOf(frame, table, strip_marker);
    if (inner.peer == nullptr || !inner.peer->masquerade_unlisted) continue;
    const auto ends = EndpointsAt(frame, inner.at);
    if (!ends) continue;
    wanted[count] = {ends->protocol,
                     {inner.peer->id, ends->source, ends->source_port},
                     {ends->destination, ends->destination_port}};
    bindings.FetchBinding(wanted[count].protocol, wanted[count].far);
    if (++count == kLookAhead) break;
  }
  // The flow's place follows from the binding: these reads wait for the first ones, which are all under way.
  for (uint32_t i = 0; i < count; i++) {
    bindings.FetchFlow(wanted[i].protocol, wanted[i].far, wanted[i].near);
  }
}

}  // namespace vpc_conn::forward
