#include "io/flow_carrier.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cstddef>
#include <cstring>
#include <stdexcept>

#include "bpf/programs.h"
#include "wire/endian.h"
#include "wire/etherip.h"
#include "wire/ipv4.h"
#include "wire/l4.h"

namespace vpc_conn::io {

using forward::Counter;
using forward::DropReason;
using forward::HandoverCount;
using forward::KnownFlow;
using forward::PeerCounter;

static_assert(sizeof(KnownFlow) == sizeof(known_flow) && forward::kKnownFlows == KNOWN_FLOWS);
static_assert(offsetof(KnownFlow, generation) == offsetof(known_flow, generation));
static_assert(offsetof(KnownFlow, source) == offsetof(known_flow, source));
static_assert(offsetof(KnownFlow, destination) == offsetof(known_flow, destination));
static_assert(offsetof(KnownFlow, far) == offsetof(known_flow, far_mac));
static_assert(offsetof(KnownFlow, local) == offsetof(known_flow, local_mac));
static_assert(offsetof(KnownFlow, used_seconds) == offsetof(known_flow, used_seconds));
static_assert(sizeof(HandoverCount) == sizeof(handover) && forward::kMaxPeers == CARRY_PEERS);

namespace {

// For memory that BPF programs read and write at the same time.
template <typename T>
T Load(const T& value) {
  return std::atomic_ref(const_cast<T&>(value)).load(std::memory_order_relaxed);
}

// The self-test's frame: a TCP segment between documentation addresses (RFC 5737) as XdpStrip leaves it.
constexpr uint32_t kTestHeaders = wire::kEthernetHeader + wire::kIpv4Header + wire::kTcpHeader;
constexpr uint16_t kTestPeer = 7;
constexpr uint32_t kTestMtu = kTestHeaders;  // some bytes more than the packet has

std::vector<uint8_t> TestFrame(uint32_t marker) {
  std::vector<uint8_t> frame(kTestHeaders + 6);
  frame[0] = 2;
  frame[5] = 9;
  wire::StoreBe32(frame.data() + 6, marker);
  wire::StoreBe16(frame.data() + 10, kTestPeer);
  wire::StoreBe16(frame.data() + 12, wire::kEtherTypeIpv4);
  uint8_t* ip = frame.data() + wire::kEthernetHeader;
  ip[0] = 0x45;
  wire::StoreBe16(ip + wire::kIpv4TotalLengthOffset,
                  static_cast<uint16_t>(frame.size() - wire::kEthernetHeader));
  ip[9] = wire::kProtocolTcp;
  wire::StoreBe32(ip + wire::kIpv4SourceOffset, 0xc0000201);
  wire::StoreBe32(ip + wire::kIpv4DestinationOffset, 0xc0000202);
  uint8_t* tcp = ip + wire::kIpv4Header;
  tcp[wire::kTcpDataOffset] = 0x50;
  tcp[wire::kTcpFlagsOffset] = wire::kTcpAck;
  return frame;
}

}  // namespace

FlowCarrier::Worker::Worker(const UniqueFd& known, const UniqueFd& settings, const UniqueFd& chosen,
                            forward::KnownFlows& flows)
    : map(CreateBpfMap(bpf::kHandoversMap, "handovers")),
      counts(map, sizeof(::handover) * KNOWN_FLOWS),
      filter(LoadBpfProgram(BpfProgramType::socket_filter, "choose", bpf::kChooseCode, bpf::kChooseMaps,
                            {{"chosen_frame", chosen.get()},
                             {"carry_settings", settings.get()},
                             {"known_flows", known.get()},
                             {"handovers", map.get()}})),
      handover(flows, {static_cast<HandoverCount*>(counts.data()), KNOWN_FLOWS}) {}

FlowCarrier::FlowCarrier(const Interface& overlay, const Interface& underlay, uint32_t marker,
                         uint32_t workers)
    : known_map_(CreateBpfMap(bpf::kKnownFlowsMap, "known_flows")),
      settings_map_(CreateBpfMap(bpf::kCarrySettingsMap, "carry_settings")),
      chosen_map_(CreateBpfMap(bpf::kChosenFrameMap, "chosen_frame")),
      carried_map_(CreateBpfMap(bpf::kCarriedByPeerMap, "carried_by_peer")),
      known_memory_(known_map_, sizeof(known_flow) * KNOWN_FLOWS),
      settings_memory_(settings_map_, sizeof(carry_settings)),
      carried_memory_(carried_map_, sizeof(carried) * CARRY_PEERS),
      flows_({static_cast<KnownFlow*>(known_memory_.data()), KNOWN_FLOWS}),
      program_(LoadBpfProgram(BpfProgramType::tc, "carry", bpf::kCarryCode, bpf::kCarryMaps,
                              {{"chosen_frame", chosen_map_.get()},
                               {"carry_settings", settings_map_.get()},
                               {"known_flows", known_map_.get()},
                               {"carried_by_peer", carried_map_.get()}})) {
  for (uint32_t i = 0; i < workers; i++) {
    workers_.push_back(std::make_unique<Worker>(known_map_, settings_map_, chosen_map_, flows_));
  }
  wire::StoreBe32(reinterpret_cast<uint8_t*>(&settings().marker), marker);
  Test();
  settings().overlay_ifindex = static_cast<uint32_t>(overlay.index);
  link_ = LinkTcIngress(program_, underlay.index, underlay.name);
}

void FlowCarrier::Test() {
  const auto check = [](bool right, const char* what) {
    if (!right)
      throw std::runtime_error(std::string("the self-test of kernel decapsulation failed: ") + what);
  };
  carry_settings& set = settings();
  std::vector<uint8_t> frame = TestFrame(wire::LoadBe32(reinterpret_cast<const uint8_t*>(&set.marker)));
  const UniqueFd& filter = workers_.front()->filter;
  auto* counts = static_cast<HandoverCount*>(workers_.front()->counts.data());
  uint32_t source;
  uint32_t destination;
  std::memcpy(&source, frame.data() + wire::kEthernetHeader + wire::kIpv4SourceOffset, sizeof source);
  std::memcpy(&destination, frame.data() + wire::kEthernetHeader + wire::kIpv4DestinationOffset,
              sizeof destination);
  HandoverCount& count = counts[forward::FlowSlot(kTestPeer, source, destination)];
  // What `choose` left for `carry`, wherever it ran; taken back, so that it counts as no loss.
  const auto take_chosen = [&] {
    const std::vector<uint8_t> values = ReadPerCpu(chosen_map_, 0, sizeof(chosen));
    chosen found{};
    for (size_t at = 0; at + sizeof found <= values.size(); at += (sizeof found + 7) / 8 * 8) {
      chosen one;
      std::memcpy(&one, &values[at], sizeof one);
      if (one.headers != 0) found = one;
    }
    WritePerCpu(chosen_map_, 0, std::vector<uint8_t>(sizeof(chosen)));
    return found;
  };
  const auto taken = [&] { return RunBpf(filter, frame).action != 0; };

  constexpr uint64_t kLocalMac = 0x020000000001;
  flows_.Know({kTestPeer, source, destination, 0x020000000009, kLocalMac, 0}, 1, 1);
  set.overlay_mac[0] = 6;
  set.overlay_mtu = kTestMtu;
  check(taken() && count.given == 1, "a frame was carried before the path was open");
  set.generation = 1;
  check(taken() && count.given == 2, "a frame overtook the one before");
  count.done = 2;
  check(!taken() && count.given == 2, "a frame of a known flow was not carried");
  chosen found = take_chosen();
  std::array<uint8_t, 12> macs{2, 0, 0, 0, 0, 1, 6};
  check(found.headers == kTestHeaders && found.peer == kTestPeer &&
            std::memcmp(found.macs, macs.data(), macs.size()) == 0,
        "the flow's MACs are wrong");

  uint8_t& flags = frame[wire::kEthernetHeader + wire::kIpv4Header + wire::kTcpFlagsOffset];
  flags |= wire::kTcpSyn;
  check(taken(), "a SYN was carried");
  flags = wire::kTcpAck;
  count.done = 3;
  frame[5] ^= 1;
  check(taken(), "a frame with another source MAC was carried");
  frame[5] ^= 1;
  count.done = 4;
  set.overlay_mtu = static_cast<uint32_t>(frame.size()) - wire::kEthernetHeader - 1;
  check(taken(), "a packet too large was carried");
  count.done = 5;
  set.overlay_mtu = kTestMtu;
  frame[11] ^= 1;
  check(taken(), "a frame of another peer was carried");
  frame[11] ^= 1;
  check(take_chosen().headers == 0, "a frame was chosen and given to the worker, too");

  // No interface has index 0: the frame comes out as it would have left, and counts as not sent.
  std::array<uint8_t, sizeof(chosen)> bytes;
  std::memcpy(bytes.data(), &found, sizeof found);
  WritePerCpu(chosen_map_, 0, bytes);
  const BpfResult left = RunBpf(program_, frame);
  std::copy(macs.begin(), macs.end(), frame.begin());
  const carried& counted = by_peer()[kTestPeer];
  check(left.packet == frame && counted.frames == 1 && counted.down == 1 && counted.packets == 1,
        "the frame came out differently");
  WritePerCpu(chosen_map_, 0, std::vector<uint8_t>(sizeof(chosen)));

  std::memset(known_memory_.data(), 0, sizeof(known_flow) * KNOWN_FLOWS);
  std::memset(carried_memory_.data(), 0, sizeof(carried) * CARRY_PEERS);
  std::memset(workers_.front()->counts.data(), 0, sizeof(::handover) * KNOWN_FLOWS);
  set.generation = 0;
  check(set.lost == 0, "frames were lost");
}

void FlowCarrier::Open(const forward::TableContents& contents, uint64_t generation) {
  carry_settings& set = settings();
  std::atomic_ref<uint32_t> open(set.generation);
  // Closed while the rest changes.
  const bool same = std::memcmp(set.overlay_mac, contents.overlay_mac.data(), sizeof set.overlay_mac) == 0 &&
                    set.overlay_mtu == contents.overlay_mtu;
  if (!same) {
    open.store(0, std::memory_order_seq_cst);
    std::memcpy(set.overlay_mac, contents.overlay_mac.data(), sizeof set.overlay_mac);
    set.overlay_mtu = contents.overlay_mtu;
  }
  if (lost() != 0) return;
  open.store(forward::KnownFlows::GenerationOf(generation), std::memory_order_seq_cst);
}

uint32_t FlowCarrier::lost() const {
  return Load(settings().lost);
}

void FlowCarrier::AddCounters(std::span<uint64_t> row) const {
  const auto add = [&](Counter counter, uint64_t value) { row[static_cast<size_t>(counter)] += value; };
  const auto drop = [&](DropReason reason, uint64_t value) {
    row[forward::kPlainCounters + static_cast<size_t>(reason)] += value;
  };
  for (const carried& peer : by_peer()) {
    const uint64_t frames = Load(peer.frames);
    add(Counter::rx_frames, frames);
    // As it was on the wire.
    add(Counter::rx_bytes, Load(peer.packet_bytes) + Load(peer.packets) * wire::kOuterHeaders);
    add(Counter::rx_super_frames, Load(peer.super_frames));
    add(Counter::forwarded, frames);
    add(Counter::carried_by_kernel, frames);
    add(Counter::tx_frames, Load(peer.sent_frames));
    add(Counter::tx_bytes, Load(peer.sent_bytes));
    drop(DropReason::tx_busy, Load(peer.busy));
    drop(DropReason::interface_down, Load(peer.down));
    drop(DropReason::tx_failed, Load(peer.failed));
  }
  // Chosen, and gone before it was carried.
  const uint64_t gone = lost();
  add(Counter::rx_frames, gone);
  drop(DropReason::tx_failed, gone);
}

void FlowCarrier::AddPeerCounters(uint16_t peer_id, std::span<uint64_t> row) const {
  const carried& peer = by_peer()[peer_id];
  row[static_cast<size_t>(PeerCounter::rx_packets)] += Load(peer.packets);
  row[static_cast<size_t>(PeerCounter::rx_bytes)] += Load(peer.packet_bytes);
  uint64_t& last = row[static_cast<size_t>(PeerCounter::last_rx_seconds)];
  last = std::max<uint64_t>(last, Load(peer.seconds));
}

}  // namespace vpc_conn::io
