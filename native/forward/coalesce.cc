#include "forward/coalesce.h"

#include <cstring>

namespace vpc_conn::forward {

namespace {

constexpr uint32_t kLongestPacket = 65535;
// Word 3 of the TCP header, as loaded in host order: data offset, flags, window.
constexpr uint32_t kFlagFin = uint32_t{wire::kTcpFin} << 16;
constexpr uint32_t kFlagPsh = uint32_t{wire::kTcpPsh} << 16;
constexpr uint32_t kFlagCwr = uint32_t{wire::kTcpCwr} << 16;

bool ChecksumRight(const Packet& packet) {
  const wire::Sum pseudo = wire::PseudoHeader(packet.source, packet.destination, wire::kProtocolTcp,
                                              static_cast<uint16_t>(packet.l4_length));
  return wire::Fold(wire::AddBytes(pseudo, packet.l4, packet.l4_length)) == 0xffff;
}

// Data with ACK, perhaps PSH, FIN, ECE or CWR, in a plain packet.
bool MayJoin(const Packet& packet, uint32_t payload) {
  constexpr uint8_t kForbidden = wire::kTcpSyn | wire::kTcpRst | 0x20 /* URG */;
  const uint8_t flags = packet.l4[wire::kTcpFlagsOffset];
  return payload != 0 && packet.header_length == wire::kIpv4Header && !packet.IsFragment() &&
         (flags & wire::kTcpAck) != 0 && (flags & kForbidden) == 0;
}

}  // namespace

Coalescer::SuperFrame* Coalescer::Find(const Packet& packet) {
  for (SuperFrame& open : open_) {
    // Addresses (8 bytes) and ports (4 bytes).
    if (open.ip != nullptr &&
        std::memcmp(open.ip + wire::kIpv4SourceOffset, packet.ip + wire::kIpv4SourceOffset, 8) == 0 &&
        std::memcmp(open.tcp, packet.l4, 4) == 0) {
      return &open;
    }
  }
  return nullptr;
}

bool Coalescer::Follows(const SuperFrame& open, const Packet& packet, uint32_t payload) {
  const uint8_t* ip = packet.ip;
  const uint8_t* tcp = packet.l4;
  if (open.full || payload > open.segment_size || open.segments == OutBatch::kPieces ||
      wire::kIpv4Header + open.tcp_header + open.payload + payload > kLongestPacket) {
    return false;
  }
  if (TcpHeaderLength(packet) != open.tcp_header ||
      wire::LoadBe32(tcp + wire::kTcpSequenceOffset) != open.next_sequence) {
    return false;
  }
  // TOS (with ECN), TTL and the fragment word are what segmentation repeats. So is an identification that
  // counts up; with DF it means nothing (RFC 6864 4.1).
  if (ip[wire::kIpv4TosOffset] != open.ip[wire::kIpv4TosOffset] || ip[8] != open.ip[8] ||
      std::memcmp(ip + wire::kIpv4FragmentOffset, open.ip + wire::kIpv4FragmentOffset, 2) != 0) {
    return false;
  }
  if ((packet.fragment & wire::kDontFragment) == 0 &&
      wire::LoadBe16(ip + wire::kIpv4IdOffset) != open.next_id) {
    return false;
  }
  // Acknowledgment; then flags and window: only FIN and PSH may appear, CWR belongs to a first segment.
  if (std::memcmp(tcp + 8, open.tcp + 8, 4) != 0) return false;
  const uint32_t word = wire::LoadBe32(tcp + wire::kTcpDataOffset);
  const uint32_t first = wire::LoadBe32(open.tcp + wire::kTcpDataOffset);
  if (((word ^ first) & ~(kFlagFin | kFlagPsh | kFlagCwr)) != 0 || (word & kFlagCwr) != 0) return false;
  // Options, timestamps among them, are repeated too.
  return std::memcmp(tcp + wire::kTcpHeader, open.tcp + wire::kTcpHeader,
                     open.tcp_header - wire::kTcpHeader) == 0;
}

void Coalescer::Open(const Packet& packet, uint32_t payload, uint32_t message) {
  SuperFrame* free = nullptr;
  for (SuperFrame& open : open_) {
    if (open.ip == nullptr) free = &open;
  }
  if (free == nullptr) return;  // more flows than places: this one stays a frame of its own
  const uint8_t flags = packet.l4[wire::kTcpFlagsOffset];
  *free = {.ip = packet.ip,
           .tcp = packet.l4,
           .message = message,
           .tcp_header = TcpHeaderLength(packet),
           .segment_size = payload,
           .payload = payload,
           .segments = 1,
           .next_sequence = wire::LoadBe32(packet.l4 + wire::kTcpSequenceOffset) + payload,
           .next_id = static_cast<uint16_t>(wire::LoadBe16(packet.ip + wire::kIpv4IdOffset) + 1),
           .last_flags = 0,
           .full = (flags & (wire::kTcpFin | wire::kTcpPsh)) != 0};
}

void Coalescer::Close(const Packet& packet, OutBatch& batch) {
  if (SuperFrame* open = Find(packet)) Finish(*open, batch);
}

void Coalescer::Add(const Packet& packet, uint8_t* ethernet, bool verified, OutBatch& batch) {
  const uint32_t payload = packet.l4_length - TcpHeaderLength(packet);
  SuperFrame* open = Find(packet);
  const bool candidate = MayJoin(packet, payload) && (verified || ChecksumRight(packet));
  if (open != nullptr && candidate && Follows(*open, packet, payload)) {
    batch.AppendPiece(open->message, packet.l4 + open->tcp_header, payload);
    const uint8_t flags = packet.l4[wire::kTcpFlagsOffset] & (wire::kTcpFin | wire::kTcpPsh);
    open->last_flags |= flags;
    open->payload += payload;
    open->segments++;
    open->next_sequence += payload;
    open->next_id++;
    // The last segment may be shorter; FIN and PSH end a super-frame, because segmentation puts them last.
    open->full = flags != 0 || payload < open->segment_size;
    counters_.Add(Counter::coalesced);
    return;
  }
  if (open != nullptr) {
    // It goes out behind what is open of its flow, which must not grow any more.
    Finish(*open, batch);
  }
  const uint32_t message = batch.count();
  if (candidate) Open(packet, payload, message);
  batch.AddInPlace(ethernet, wire::kEthernetHeader + packet.total_length);
}

void Coalescer::Finish(SuperFrame& open, OutBatch& batch) {
  if (open.segments > 1) {
    const uint32_t headers = wire::kIpv4Header + open.tcp_header;
    uint8_t* field = open.ip + wire::kIpv4TotalLengthOffset;
    const uint16_t old_total = wire::LoadBe16(field);
    const auto total = static_cast<uint16_t>(headers + open.payload);
    wire::StoreBe16(field, total);
    wire::UpdateChecksumAt(open.ip + wire::kIpv4ChecksumOffset, wire::AddBe16(0, old_total),
                           wire::AddBe16(0, total));
    open.tcp[wire::kTcpFlagsOffset] |= open.last_flags;
    // Partial checksum: the pseudo-header sum, not complemented; the kernel or the NIC does the rest.
    const wire::Sum pseudo =
        wire::PseudoHeader(wire::LoadBe32(open.ip + wire::kIpv4SourceOffset),
                           wire::LoadBe32(open.ip + wire::kIpv4DestinationOffset), wire::kProtocolTcp,
                           static_cast<uint16_t>(open.tcp_header + open.payload));
    wire::StoreChecksum(open.tcp + wire::kTcpChecksumOffset, wire::Fold(pseudo));
    const bool cwr = (open.tcp[wire::kTcpFlagsOffset] & wire::kTcpCwr) != 0;
    batch.SetVirtioHeader(open.message, {.flags = wire::kVirtioNeedsChecksum,
                                         .gso_type = static_cast<uint8_t>(wire::kVirtioGsoTcp4 |
                                                                          (cwr ? wire::kVirtioGsoEcn : 0)),
                                         .hdr_len = static_cast<uint16_t>(wire::kEthernetHeader + headers),
                                         .gso_size = static_cast<uint16_t>(open.segment_size),
                                         .csum_start = wire::kEthernetHeader + wire::kIpv4Header,
                                         .csum_offset = wire::kTcpChecksumOffset});
  }
  open.ip = nullptr;
}

void Coalescer::Flush(OutBatch& batch) {
  for (SuperFrame& open : open_) {
    if (open.ip != nullptr) Finish(open, batch);
  }
  flusher_.Flush(batch);
}

}  // namespace vpc_conn::forward
