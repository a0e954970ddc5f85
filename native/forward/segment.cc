#include "forward/segment.h"

#include <algorithm>
#include <cstring>

#include "forward/fragment.h"

namespace vpc_conn::forward {

namespace {

// Where the inner Ethernet header of a segment starts in the batch's head, and what follows.
struct Head {
  uint8_t* ip;
  uint8_t* l4;
};

// Bytes in front of the inner frame.
uint32_t OuterBytes(const Encapsulation& encapsulation) {
  return encapsulation.outer == nullptr ? 0 : encapsulation.outer->length;
}

Head CopyHeaders(uint8_t* head, const Packet& packet, const Encapsulation& encapsulation,
                 uint32_t l4_header) {
  uint8_t* ethernet = head + OuterBytes(encapsulation);
  std::memcpy(ethernet, encapsulation.inner_ethernet, wire::kEthernetHeader);
  uint8_t* ip = ethernet + wire::kEthernetHeader;
  // The IPv4 and L4 headers are contiguous in the packet.
  std::memcpy(ip, packet.ip, packet.header_length + l4_header);
  return {ip, ip + packet.header_length};
}

void FinishIpv4Header(uint8_t* ip, uint32_t header_length, uint32_t total_length, uint16_t id) {
  wire::StoreBe16(ip + wire::kIpv4TotalLengthOffset, static_cast<uint16_t>(total_length));
  wire::StoreBe16(ip + wire::kIpv4IdOffset, id);
  wire::StoreChecksum(ip + wire::kIpv4ChecksumOffset, 0);
  const uint16_t sum = wire::Fold(wire::AddBytes(0, ip, header_length));
  wire::StoreChecksum(ip + wire::kIpv4ChecksumOffset, static_cast<uint16_t>(~sum));
}

}  // namespace

void WriteOuterHeader(uint8_t* at, const OuterHeader& outer, uint32_t inner_length, uint8_t inner_tos,
                      uint32_t flow_label) {
  const auto tos = static_cast<uint8_t>((inner_tos & outer.tos_mask) | outer.tos_fixed);
  if (outer.over_ipv6()) [[unlikely]] {
    std::memcpy(at, outer.bytes.data(), wire::kOuterHeaders6);
    uint8_t* ip = at + wire::kEthernetHeader;
    wire::SetTrafficClass(ip, tos);
    wire::SetFlowLabel(ip, flow_label);
    wire::StoreBe16(ip + wire::kIpv6PayloadLengthOffset,
                    static_cast<uint16_t>(wire::kEtherIpHeader + inner_length));
    return;
  }
  std::memcpy(at, outer.bytes.data(), wire::kOuterHeaders);
  uint8_t* ip = at + wire::kEthernetHeader;
  const auto total = static_cast<uint16_t>(wire::kIpv4Header + wire::kEtherIpHeader + inner_length);
  ip[wire::kIpv4TosOffset] = tos;
  wire::StoreBe16(ip + wire::kIpv4TotalLengthOffset, total);
  wire::UpdateChecksumAt(ip + wire::kIpv4ChecksumOffset, 0, wire::AddBe16(wire::AddBe16(0, total), tos));
}

uint32_t SegmentTcp(const Packet& packet, const Encapsulation& encapsulation, uint32_t segment_size,
                    uint32_t from, OutBatch& batch) {
  const uint32_t tcp_header = TcpHeaderLength(packet);
  const uint8_t* payload = packet.l4 + tcp_header;
  const uint32_t payload_length = packet.l4_length - tcp_header;
  const uint32_t headers = packet.header_length + tcp_header;
  const uint32_t sequence = wire::LoadBe32(packet.l4 + wire::kTcpSequenceOffset);
  const uint8_t flags = packet.l4[wire::kTcpFlagsOffset];
  const uint8_t tos = packet.ip[wire::kIpv4TosOffset];
  auto id = static_cast<uint16_t>(wire::LoadBe16(packet.ip + wire::kIpv4IdOffset) + from / segment_size);
  uint32_t count = 0;

  uint32_t offset = from;
  do {  // a packet that is called a super-frame and has no payload is one segment, too
    const uint32_t length = std::min(segment_size, payload_length - offset);
    const bool first = offset == 0;
    const bool last = offset + length == payload_length;
    uint8_t* head = batch.Head();
    const Head inner = CopyHeaders(head, packet, encapsulation, tcp_header);
    FinishIpv4Header(inner.ip, packet.header_length, headers + length, id++);

    wire::StoreBe32(inner.l4 + wire::kTcpSequenceOffset, sequence + offset);
    uint8_t segment_flags = flags;
    if (!first) segment_flags &= static_cast<uint8_t>(~wire::kTcpCwr);
    if (!last) segment_flags &= static_cast<uint8_t>(~(wire::kTcpFin | wire::kTcpPsh));
    inner.l4[wire::kTcpFlagsOffset] = segment_flags;
    wire::StoreChecksum(inner.l4 + wire::kTcpChecksumOffset, 0);
    wire::Sum sum = wire::PseudoHeader(packet.source, packet.destination, wire::kProtocolTcp,
                                       static_cast<uint16_t>(tcp_header + length));
    sum = wire::AddBytes(wire::AddBytes(sum, inner.l4, tcp_header), payload + offset, length);
    wire::StoreChecksum(inner.l4 + wire::kTcpChecksumOffset, static_cast<uint16_t>(~wire::Fold(sum)));

    WriteOuterHeader(head, *encapsulation.outer, wire::kEthernetHeader + headers + length, tos,
                     encapsulation.flow_label);
    batch.AddSegment(encapsulation.outer->length + wire::kEthernetHeader + headers, payload + offset, length);
    count++;
    offset += segment_size;
  } while (offset < payload_length);
  return count;
}

uint32_t SendSuperFrame(const Packet& packet, const Encapsulation& encapsulation, uint32_t segment_size,
                        SuperFrameSender* sender, OutBatch& batch) {
  const uint32_t tcp_header = TcpHeaderLength(packet);
  const uint8_t* payload = packet.l4 + tcp_header;
  const uint32_t payload_length = packet.l4_length - tcp_header;
  const uint32_t whole = payload_length / segment_size * segment_size;
  // One segment alone gains nothing; IP options would have to be repeated, which GSO does not do for us here.
  if (sender == nullptr || whole < 2 * segment_size || packet.header_length != wire::kIpv4Header) {
    return SegmentTcp(packet, encapsulation, segment_size, 0, batch);
  }
  batch.Flush();
  uint8_t outer[wire::kOuterHeadersMost];
  const uint32_t outer_length = encapsulation.outer->length;
  const uint32_t headers = packet.header_length + tcp_header;
  WriteOuterHeader(outer, *encapsulation.outer, wire::kEthernetHeader + headers + segment_size,
                   packet.ip[wire::kIpv4TosOffset], encapsulation.flow_label);
  uint8_t* head = batch.Head();
  const Head inner = CopyHeaders(head, packet, encapsulation, tcp_header);
  FinishIpv4Header(inner.ip, packet.header_length, headers + whole,
                   wire::LoadBe16(packet.ip + wire::kIpv4IdOffset));
  if (whole != payload_length) {
    inner.l4[wire::kTcpFlagsOffset] &= static_cast<uint8_t>(~(wire::kTcpFin | wire::kTcpPsh));
  }
  const wire::Sum pseudo = wire::PseudoHeader(packet.source, packet.destination, wire::kProtocolTcp,
                                              static_cast<uint16_t>(tcp_header + whole));
  wire::StoreChecksum(inner.l4 + wire::kTcpChecksumOffset, wire::Fold(pseudo));
  const uint8_t* ethernet = head + outer_length;
  if (!sender->Send({outer, outer_length}, ethernet, wire::kEthernetHeader + headers, payload, whole,
                    segment_size)) {
    return SegmentTcp(packet, encapsulation, segment_size, 0, batch);
  }
  const uint32_t segments = whole / segment_size;
  if (whole == payload_length) return segments;
  return segments + SegmentTcp(packet, encapsulation, segment_size, whole, batch);
}

Sent SegmentUdp(const Packet& packet, const Encapsulation& encapsulation, uint32_t segment_size, uint32_t mtu,
                OutBatch& batch) {
  const uint8_t* payload = packet.l4 + wire::kUdpHeader;
  const uint32_t payload_length = packet.l4_length - wire::kUdpHeader;
  const uint32_t headers = packet.header_length + wire::kUdpHeader;
  const uint8_t tos = packet.ip[wire::kIpv4TosOffset];
  uint16_t id = wire::LoadBe16(packet.ip + wire::kIpv4IdOffset);
  Sent sent;

  uint32_t offset = 0;
  do {
    const uint32_t length = std::min(segment_size, payload_length - offset);
    const auto udp_length = static_cast<uint16_t>(wire::kUdpHeader + length);
    uint8_t* head = batch.Head();
    const Head inner = CopyHeaders(head, packet, encapsulation, wire::kUdpHeader);
    FinishIpv4Header(inner.ip, packet.header_length, headers + length, id++);

    wire::StoreBe16(inner.l4 + wire::kUdpLengthOffset, udp_length);
    wire::StoreChecksum(inner.l4 + wire::kUdpChecksumOffset, 0);
    wire::Sum sum = wire::PseudoHeader(packet.source, packet.destination, wire::kProtocolUdp, udp_length);
    sum = wire::AddBytes(wire::AddBytes(sum, inner.l4, wire::kUdpHeader), payload + offset, length);
    auto checksum = static_cast<uint16_t>(~wire::Fold(sum));
    if (checksum == 0) checksum = 0xffff;  // RFC 768
    wire::StoreChecksum(inner.l4 + wire::kUdpChecksumOffset, checksum);

    if (headers + length > mtu) {
      // The scratch that these headers stand in becomes the first fragment's.
      uint8_t copy[wire::kIpv4HeaderMax + wire::kUdpHeader];
      std::memcpy(copy, inner.ip, headers);
      const Sent cut = SendFragments({.ip = copy,
                                      .header_length = packet.header_length,
                                      .fragment = packet.fragment,
                                      .head = copy + packet.header_length,
                                      .head_length = wire::kUdpHeader,
                                      .payload = payload + offset,
                                      .payload_length = length},
                                     mtu, encapsulation, batch);
      sent.packets += cut.packets;
      sent.bytes += cut.bytes;
    } else {
      if (encapsulation.outer != nullptr) {
        WriteOuterHeader(head, *encapsulation.outer, wire::kEthernetHeader + headers + length, tos,
                         encapsulation.flow_label);
      }
      batch.AddSegment(OuterBytes(encapsulation) + wire::kEthernetHeader + headers, payload + offset, length);
      sent.packets++;
      sent.bytes += wire::kEthernetHeader + headers + length;
    }
    offset += segment_size;
  } while (offset < payload_length);
  return sent;
}

}  // namespace vpc_conn::forward
