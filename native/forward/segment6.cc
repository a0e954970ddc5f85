#include "forward/segment6.h"

#include <algorithm>
#include <cstring>

#include "wire/l4.h"

namespace vpc_conn::forward {

namespace {

// One segment in the making: the packet's headers, copied to where they are sent from.
struct Head {
  uint8_t* start;
  uint8_t* l4;
};

Head CopyHeaders(const Packet6& packet, const Encapsulation& encapsulation, uint32_t l4_header,
                 uint32_t l4_length, OutBatch& batch) {
  uint8_t* start = batch.Head();
  uint8_t* ethernet = start + encapsulation.outer->length;
  std::memcpy(ethernet, encapsulation.inner_ethernet, wire::kEthernetHeader);
  uint8_t* ip = ethernet + wire::kEthernetHeader;
  std::memcpy(ip, packet.ip, packet.header_length + l4_header);
  const uint32_t payload_length = packet.header_length - wire::kIpv6Header + l4_length;
  wire::StoreBe16(ip + wire::kIpv6PayloadLengthOffset, static_cast<uint16_t>(payload_length));
  return {start, ip + packet.header_length};
}

void Seal(const Packet6& packet, const Encapsulation& encapsulation, const Head& head,
          uint32_t checksum_offset, uint32_t l4_header, const uint8_t* payload, uint32_t length,
          OutBatch& batch) {
  uint8_t* field = head.l4 + checksum_offset;
  wire::StoreChecksum(field, 0);
  wire::Sum sum = wire::PseudoHeader6(packet.source, packet.destination, packet.protocol, l4_header + length);
  sum = wire::AddBytes(wire::AddBytes(sum, head.l4, l4_header), payload, length);
  auto checksum = static_cast<uint16_t>(~wire::Fold(sum));
  if (checksum == 0 && packet.protocol == wire::kProtocolUdp) checksum = 0xffff;  // RFC 8200 8.1
  wire::StoreChecksum(field, checksum);
  const uint32_t inner_headers = wire::kEthernetHeader + packet.header_length + l4_header;
  WriteOuterHeader(head.start, *encapsulation.outer, inner_headers + length, wire::TrafficClass(packet.ip),
                   encapsulation.flow_label);
  batch.AddSegment(encapsulation.outer->length + inner_headers, payload, length);
}

}  // namespace

uint32_t SegmentTcp(const Packet6& packet, const Encapsulation& encapsulation, uint32_t segment_size,
                    OutBatch& batch) {
  const uint32_t tcp_header = TcpHeaderLength(packet);
  const uint8_t* payload = packet.l4 + tcp_header;
  const uint32_t payload_length = packet.l4_length - tcp_header;
  const uint32_t sequence = wire::LoadBe32(packet.l4 + wire::kTcpSequenceOffset);
  uint32_t count = 0;
  uint32_t offset = 0;
  do {
    const uint32_t length = std::min(segment_size, payload_length - offset);
    const Head head = CopyHeaders(packet, encapsulation, tcp_header, tcp_header + length, batch);
    wire::StoreBe32(head.l4 + wire::kTcpSequenceOffset, sequence + offset);
    uint8_t& flags = head.l4[wire::kTcpFlagsOffset];
    if (offset != 0) flags &= static_cast<uint8_t>(~wire::kTcpCwr);
    if (offset + length != payload_length) flags &= static_cast<uint8_t>(~(wire::kTcpFin | wire::kTcpPsh));
    Seal(packet, encapsulation, head, wire::kTcpChecksumOffset, tcp_header, payload + offset, length, batch);
    count++;
    offset += segment_size;
  } while (offset < payload_length);
  return count;
}

uint32_t SegmentUdp(const Packet6& packet, const Encapsulation& encapsulation, uint32_t segment_size,
                    OutBatch& batch) {
  const uint8_t* payload = packet.l4 + wire::kUdpHeader;
  const uint32_t payload_length = packet.l4_length - wire::kUdpHeader;
  uint32_t count = 0;
  uint32_t offset = 0;
  do {
    const uint32_t length = std::min(segment_size, payload_length - offset);
    const uint32_t udp_length = wire::kUdpHeader + length;
    const Head head = CopyHeaders(packet, encapsulation, wire::kUdpHeader, udp_length, batch);
    wire::StoreBe16(head.l4 + wire::kUdpLengthOffset, static_cast<uint16_t>(udp_length));
    Seal(packet, encapsulation, head, wire::kUdpChecksumOffset, wire::kUdpHeader, payload + offset, length,
         batch);
    count++;
    offset += segment_size;
  } while (offset < payload_length);
  return count;
}

}  // namespace vpc_conn::forward
