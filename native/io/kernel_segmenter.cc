#include "io/kernel_segmenter.h"

#include <poll.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <memory>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "bpf/programs.h"
#include "forward/segment.h"
#include "io/system_error.h"
#include "wire/etherip.h"

namespace vpc_conn::io {

KernelSegmenter::KernelSegmenter(int underlay_ifindex, forward::CounterBlock& counters)
    : tap_("vpcc%d"),
      map_(CreateBpfMap(bpf::kEncapSlotsMap, "encap_slots")),
      slots_(map_, sizeof(encap_slot)),
      program_(LoadBpfProgram(BpfProgramType::tc, "encapsulate", bpf::kEncapsulateCode, bpf::kEncapsulateMaps,
                              {{"encap_slots", map_.get()}})),
      link_(LinkTcIngress(program_, tap_.ifindex(), tap_.name())),
      counters_(counters) {
  slot().ifindex = static_cast<uint32_t>(underlay_ifindex);
}

static_assert(OUTER_BYTES == wire::kOuterHeaders && OUTER_BYTES6 == wire::kOuterHeaders6);

bool KernelSegmenter::Send(std::span<const uint8_t> outer, const uint8_t* head, uint32_t head_length,
                           const uint8_t* payload, uint32_t payload_length, uint32_t segment_size) {
  if (broken()) return false;
  const uint8_t flags = head[wire::kEthernetHeader + wire::kIpv4Header + wire::kTcpFlagsOffset];
  const wire::VirtioNetHeader virtio{
      .flags = wire::kVirtioNeedsChecksum,
      .gso_type = static_cast<uint8_t>(wire::kVirtioGsoTcp4 |
                                       ((flags & wire::kTcpCwr) != 0 ? wire::kVirtioGsoEcn : 0)),
      .hdr_len = static_cast<uint16_t>(head_length),
      .gso_size = static_cast<uint16_t>(segment_size),
      .csum_start = wire::kEthernetHeader + wire::kIpv4Header,
      .csum_offset = wire::kTcpChecksumOffset};
  encap_slot& next = slot();
  std::memcpy(next.header, outer.data(), outer.size());
  next.header_bytes = static_cast<uint32_t>(outer.size());
  next.length = head_length + payload_length;
  const uint32_t sent = next.sent;
  // The program reads the slot while write() runs, on this processor.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  const iovec pieces[3] = {{const_cast<wire::VirtioNetHeader*>(&virtio), sizeof virtio},
                           {const_cast<uint8_t*>(head), head_length},
                           {const_cast<uint8_t*>(payload), payload_length}};
  if (writev(tap_.fd(), pieces, 3) < 0) {
    if (errno != EAGAIN && errno != ENOBUFS && errno != ENOMEM) broken_ = true;
    return false;
  }
  if (std::atomic_ref<uint32_t>(next.sent).load(std::memory_order_relaxed) == sent) {
    // The tap took it and nobody was there: these frames are lost, the next ones are segmented in user space.
    broken_ = true;
    counters_.Drop(forward::DropReason::tx_failed);
    return true;
  }
  const uint32_t segments = payload_length / segment_size;
  counters_.Add(forward::Counter::tx_frames, segments);
  counters_.Add(forward::Counter::tx_bytes,
                uint64_t{segments} * (outer.size() + head_length) + payload_length);
  counters_.Add(forward::Counter::tx_super_frames);
  return true;
}

namespace {

constexpr uint32_t kProbeSegment = 1000;
constexpr uint32_t kProbeSegments = 5;

// Collects what user-space segmentation makes of the same packet.
class Collector : public forward::Flusher {
 public:
  void Flush(forward::OutBatch& batch) override {
    for (uint32_t i = 0; i < batch.count(); i++) {
      std::vector<uint8_t> frame;
      for (uint32_t p = 0; p < batch.piece_count(i); p++) {
        const auto* start = static_cast<const uint8_t*>(batch.pieces(i)[p].base);
        frame.insert(frame.end(), start, start + batch.pieces(i)[p].length);
      }
      frame.erase(frame.begin(), frame.begin() + sizeof(wire::VirtioNetHeader));
      frames.push_back(std::move(frame));
    }
    batch.Clear();
  }
  std::vector<std::vector<uint8_t>> frames;
};

std::vector<uint8_t> ProbeFrame() {
  constexpr uint32_t kHeaders = wire::kIpv4Header + wire::kTcpHeader;
  std::vector<uint8_t> frame(wire::kEthernetHeader + kHeaders + kProbeSegment * kProbeSegments);
  std::iota(frame.begin(), frame.end(), uint8_t{1});
  uint8_t* ip = frame.data() + wire::kEthernetHeader;
  wire::StoreBe16(frame.data() + 12, wire::kEtherTypeIpv4);
  std::memset(ip, 0, kHeaders);
  ip[0] = 0x45;
  wire::StoreBe16(ip + wire::kIpv4TotalLengthOffset,
                  static_cast<uint16_t>(frame.size() - wire::kEthernetHeader));
  wire::StoreBe16(ip + wire::kIpv4IdOffset, 0xfffe);
  wire::StoreBe16(ip + wire::kIpv4FragmentOffset, wire::kDontFragment);
  ip[8] = 64;
  ip[9] = wire::kProtocolTcp;
  wire::StoreBe32(ip + wire::kIpv4SourceOffset, 0xc0000201);  // 192.0.2.1, documentation
  wire::StoreBe32(ip + wire::kIpv4DestinationOffset, 0xc0000202);
  uint8_t* tcp = ip + wire::kIpv4Header;
  wire::StoreBe16(tcp, 1024);
  wire::StoreBe16(tcp + 2, 2048);
  wire::StoreBe32(tcp + wire::kTcpSequenceOffset, 0xfffffa00);
  tcp[wire::kTcpDataOffset] = 0x50;
  tcp[wire::kTcpFlagsOffset] = wire::kTcpAck | wire::kTcpPsh | wire::kTcpFin;
  return frame;
}

forward::OuterHeader ProbeHeader(bool over_ipv6) {
  forward::TableContents contents;
  contents.underlay_mac = {2};  // locally administered, unicast
  const forward::Neighbor next_hop{.mac = 0x020000000002};
  forward::Peer peer{.local_address = 0xc6120001, .address = 0xc6120002};
  if (over_ipv6) peer.ends6 = {{0x20010db800000000, 1}, {0x20010db800000000, 2}};
  return forward::MakeOuterHeader(contents, peer, &next_hop);
}

}  // namespace

void KernelSegmenter::Probe() {
  Tap target("vpcp%d");
  const auto counters = std::make_unique<forward::CounterBlock>();
  KernelSegmenter segmenter(target.ifindex(), *counters);
  std::vector<uint8_t> frame = ProbeFrame();
  wire::Cursor cursor({frame.data() + wire::kEthernetHeader, frame.size() - wire::kEthernetHeader});
  forward::Packet packet;
  if (forward::ParsePacket(cursor, packet)) throw std::logic_error("the probe's own frame is malformed");

  for (const bool over_ipv6 : {false, true}) {
    const forward::OuterHeader outer = ProbeHeader(over_ipv6);
    Collector expected;
    forward::OutBatch batch(expected);
    forward::SendSuperFrame(packet, {&outer, frame.data()}, kProbeSegment, &segmenter, batch);
    batch.Flush();
    if (!expected.frames.empty()) throw std::runtime_error("the kernel did not take the test super-frame");
    forward::SendSuperFrame(packet, {&outer, frame.data()}, kProbeSegment, nullptr, batch);
    batch.Flush();

    constexpr int kWaitMilliseconds = 500;
    for (size_t i = 0; i < expected.frames.size();) {
      pollfd readable{target.fd(), POLLIN, 0};
      if (poll(&readable, 1, kWaitMilliseconds) != 1) {
        throw std::runtime_error("only " + std::to_string(i) + " of " +
                                 std::to_string(expected.frames.size()) +
                                 " segments of the test super-frame came out");
      }
      std::array<uint8_t, 65536 + 64> got;
      const ssize_t length = read(target.fd(), got.data(), got.size());
      if (length <= static_cast<ssize_t>(sizeof(wire::VirtioNetHeader))) continue;
      const uint8_t* start = got.data() + sizeof(wire::VirtioNetHeader);
      const size_t bytes = static_cast<size_t>(length) - sizeof(wire::VirtioNetHeader);
      if (bytes != expected.frames[i].size() || std::memcmp(start, expected.frames[i].data(), bytes) != 0) {
        throw std::runtime_error("segment " + std::to_string(i) +
                                 " of the test super-frame came out differently");
      }
      i++;
    }
  }
}

}  // namespace vpc_conn::io
