#include "io/known_encap.h"

#include <linux/bpf.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstring>
#include <stdexcept>

#include "bpf/programs.h"
#include "forward/encap.h"
#include "forward/segment.h"
#include "io/system_error.h"
#include "wire/endian.h"
#include "wire/etherip.h"

namespace vpc_conn::io {

namespace {

// A pair that is silent for so long gives its cell to another one.
constexpr uint32_t kIdleSeconds = 30;
constexpr uint32_t kTcShot = 2;  // TC_ACT_SHOT

uint32_t InMemory(uint32_t value) {
  return __builtin_bswap32(value);
}

// bpf/known_encap.bpf.c computes the same, of the addresses as they stand on the wire.
uint32_t CellOf(uint32_t source, uint32_t destination) {
  return ((InMemory(source) * 0x9e3779b1u) ^ (InMemory(destination) * 0x85ebca6bu)) >> 19;
}
static_assert(KNOWN_CELLS == 1u << (32 - 19));
static_assert(KNOWN_PEERS == forward::kMaxPeers);

bool IsKnown(const known_pair& entry) {
  return entry.version != 0 && (entry.version & 1) == 0;
}

template <typename T>
std::atomic_ref<T> Shared(T& value) {
  return std::atomic_ref<T>(value);
}

}  // namespace

KnownEncap::KnownEncap(const Interface& overlay, int underlay_ifindex)
    : pairs_map_(CreateBpfMap(bpf::kKnownPairsMap, "known_pairs")),
      settings_map_(CreateBpfMap(bpf::kKnownSettingsMap, "known_settings")),
      handoff_map_(CreateBpfMap(bpf::kKnownHandoffMap, "known_handoff")),
      counts_map_(CreateBpfMap(bpf::kKnownCountsMap, "known_counts")),
      pairs_(pairs_map_, sizeof(known_pair) * KNOWN_CELLS),
      settings_(settings_map_, sizeof(known_settings)),
      choose_(LoadBpfProgram(BpfProgramType::socket_filter, "known_choose", bpf::kKnownEncapChooseCode,
                             bpf::kKnownEncapChooseMaps,
                             {{"known_pairs", pairs_map_.get()},
                              {"known_settings", settings_map_.get()},
                              {"known_handoff", handoff_map_.get()},
                              {"known_counts", counts_map_.get()}})),
      send_(LoadBpfProgram(BpfProgramType::tc, "known_encap", bpf::kKnownEncapCode, bpf::kKnownEncapMaps,
                           {{"known_settings", settings_map_.get()},
                            {"known_handoff", handoff_map_.get()},
                            {"known_counts", counts_map_.get()}})) {
  settings().first_port = 1;
  Test();
  settings().ifindex = static_cast<uint32_t>(underlay_ifindex);
  link_ = LinkTcIngress(send_, overlay.index, overlay.name);
}

void KnownEncap::SetTable(const OverlayFilterOptions& options, const wire::Mac& overlay_mac) {
  known_settings& to = settings();
  to.overlay_address = InMemory(options.overlay_address);
  std::memcpy(&to.own_mac_high, overlay_mac.data(), 4);
  std::memcpy(&to.own_mac_low, overlay_mac.data() + 4, 2);
  to.first_port = options.masquerades ? options.masquerade_first_port : 1;
  to.last_port = options.masquerades ? options.masquerade_last_port : 0;
  to.carries_ipv6 = options.overlay_address6 ? 1 : 0;
  if (options.overlay_address6) {
    std::array<uint8_t, sizeof to.overlay_address6> bytes;
    wire::StoreIpv6(bytes.data(), *options.overlay_address6);
    std::memcpy(to.overlay_address6, bytes.data(), bytes.size());
  }
}

void KnownEncap::SetActive(bool active) {
  Shared(settings().active).store(active && lost() == 0 ? 1 : 0, std::memory_order_relaxed);
}

void KnownEncap::Suspend(uint64_t generation) {
  Shared(settings().published).store(static_cast<uint32_t>(generation), std::memory_order_seq_cst);
}

void KnownEncap::Offer(const forward::KnownPair& pair, uint32_t now_seconds) {
  const uint32_t index = CellOf(pair.source, pair.destination);
  known_pair& entry = pairs()[index];
  Cell& cell = cells_[index];
  if (IsKnown(entry)) return;  // this pair already, or one that has the cell until it is idle
  const uint32_t writing = entry.version | 1;
  Shared(entry.version).store(writing, std::memory_order_relaxed);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  entry.source = InMemory(pair.source);
  entry.destination = InMemory(pair.destination);
  entry.mtu = pair.peer->inner_mtu;
  entry.peer = pair.peer->id;
  std::memcpy(entry.header, pair.outer->bytes.data(), wire::kOuterHeaders);
  entry.header_bytes = wire::kOuterHeaders;
  entry.tos_mask = pair.outer->tos_mask;
  entry.tos_fixed = pair.outer->tos_fixed;
  if (pair.inner_mac) {
    wire::StoreMac(entry.header + wire::kOuterHeaders, *pair.inner_mac);
    entry.header_bytes += sizeof(wire::Mac);
  }
  cell = {.neighbor_slot = pair.outer->neighbor_slot, .used_seconds = now_seconds};
  Shared(entry.version).store(writing + 1, std::memory_order_release);
  known_.push_back(index);
}

void KnownEncap::Forget(uint32_t cell) {
  known_pair& entry = pairs()[cell];
  Shared(entry.version).store(entry.version | 1, std::memory_order_seq_cst);
}

void KnownEncap::Done(uint64_t taken, uint64_t lost) {
  known_settings& shared = settings();
  if (lost != lost_and_done_) {
    // Which frames were lost is not known: only when nothing is under way are they among those behind us.
    if (taken + lost == Shared(shared.given).load(std::memory_order_acquire)) {
      lost_and_done_ = lost;
      Shared(shared.shedding).store(0, std::memory_order_relaxed);
    } else {
      Shared(shared.shedding).store(1, std::memory_order_relaxed);
    }
  }
  Shared(shared.done).store(taken + lost_and_done_, std::memory_order_release);
}

const forward::OuterHeader* KnownEncap::StillTrue(const known_pair& pair, const forward::Snapshot& snapshot,
                                                  const forward::SharedState& shared, bool same_table) {
  const forward::Peer* peer = snapshot.table->PeerById(pair.peer);
  if (peer == nullptr) return nullptr;
  const forward::OuterHeader& outer = snapshot.outer[snapshot.table->PeerIndex(*peer)];
  if (!outer.resolved || std::memcmp(outer.bytes.data(), pair.header, wire::kOuterHeaders) != 0 ||
      outer.tos_mask != pair.tos_mask || outer.tos_fixed != pair.tos_fixed || peer->inner_mtu != pair.mtu) {
    return nullptr;
  }
  if (!same_table &&
      !forward::IsPlainPair(InMemory(pair.source), InMemory(pair.destination), *peer, *snapshot.table)) {
    return nullptr;
  }
  if (snapshot.any_failed) {
    const auto* source =
        snapshot.neighbors.Find(forward::NeighborKey(forward::kScopeOverlay, InMemory(pair.source)));
    if (source != nullptr && source->failed) return nullptr;  // the C++ path tells that it was heard
  }
  const auto learned = shared.learned_macs.Find(pair.peer, InMemory(pair.destination));
  const bool has_mac = pair.header_bytes != wire::kOuterHeaders;
  if (learned.has_value() != has_mac) return nullptr;
  if (has_mac && wire::MacToInteger(pair.header + wire::kOuterHeaders) != learned->mac) return nullptr;
  return &outer;
}

void KnownEncap::Review(const forward::Snapshot& snapshot, const forward::SharedState& shared,
                        uint32_t now_seconds) {
  const bool same_table = snapshot.table == table_;
  table_ = snapshot.table;
  std::erase_if(known_, [&](uint32_t index) {
    known_pair& pair = pairs()[index];
    Cell& cell = cells_[index];
    if (Shared(pair.used).exchange(0, std::memory_order_relaxed) != 0) {
      cell.used_seconds = now_seconds;
      shared.neighbor_use[cell.neighbor_slot].store(now_seconds, std::memory_order_relaxed);
    }
    if (now_seconds - cell.used_seconds < kIdleSeconds) {
      if (const forward::OuterHeader* outer = StillTrue(pair, snapshot, shared, same_table)) {
        cell.neighbor_slot = outer->neighbor_slot;
        return false;
      }
    }
    Forget(index);
    return true;
  });
  Shared(settings().reviewed).store(static_cast<uint32_t>(snapshot.generation), std::memory_order_release);
}

void KnownEncap::Test() {
  constexpr uint32_t kLength = wire::kEthernetHeader + wire::kIpv4Header + wire::kUdpHeader + 4;
  // 192.0.2.1 and .2: documentation addresses (RFC 5737).
  constexpr uint32_t kSource = 0xc0000201;
  constexpr uint32_t kDestination = 0xc0000202;
  // A test run of a filter takes the Ethernet header away first: here it takes another one.
  std::vector<uint8_t> padded(wire::kEthernetHeader + kLength);
  wire::StoreBe16(padded.data() + 12, wire::kEtherTypeIpv4);
  uint8_t* frame = padded.data() + wire::kEthernetHeader;
  frame[6] = 2;
  wire::StoreBe16(frame + 12, wire::kEtherTypeIpv4);
  uint8_t* ip = frame + wire::kEthernetHeader;
  ip[0] = 0x45;
  ip[wire::kIpv4TosOffset] = 0x2a;
  wire::StoreBe16(ip + wire::kIpv4TotalLengthOffset, kLength - wire::kEthernetHeader);
  ip[9] = wire::kProtocolUdp;
  wire::StoreBe32(ip + wire::kIpv4SourceOffset, kSource);
  wire::StoreBe32(ip + wire::kIpv4DestinationOffset, kDestination);
  wire::StoreChecksum(ip + wire::kIpv4ChecksumOffset,
                      static_cast<uint16_t>(~wire::Fold(wire::AddBytes(0, ip, wire::kIpv4Header))));
  wire::StoreBe16(ip + wire::kIpv4Header + wire::kUdpLengthOffset, wire::kUdpHeader + 4);
  const std::vector<uint8_t> plain(frame, frame + kLength);

  forward::TableContents contents;
  contents.underlay_mac = {2, 0, 0, 0, 0, 1};
  forward::Peer peer;
  peer.id = 3;
  peer.inner_mtu = 1464;
  peer.local_address = kDestination;
  peer.address = kSource;
  const forward::Neighbor next_hop{.mac = 0x020000000002};
  const forward::OuterHeader outer = forward::MakeOuterHeader(contents, peer, &next_hop);
  std::vector<uint8_t> expected(wire::kOuterHeaders);
  forward::WriteOuterHeader(expected.data(), outer, kLength, 0x2a, 0);
  expected.insert(expected.end(), plain.begin(), plain.end());
  wire::StoreMac(expected.data() + wire::kOuterHeaders, 0x020000000009);

  const auto chosen = [&] { return RunBpf(choose_, padded).action == 0; };
  SetActive(true);
  const bool stranger = chosen();
  Offer({kSource, kDestination, &peer, &outer, 0x020000000009}, 0);
  const bool behind = chosen();  // the frame before is not done yet
  Done(1, 0);
  const bool still_behind = chosen();
  Done(3, 0);
  // Both programs have to run on one processor, as they do for a real frame.
  bool sent = false;
  for (int attempt = 0; attempt < 20 && !sent; attempt++) {
    WritePerCpu(handoff_map_, 0, std::vector<uint8_t>(sizeof(known_handoff)));  // nothing is lost here
    if (!chosen()) break;
    // No interface has index 0: the frame comes out as it would have left, and counts as not sent.
    const auto result = RunBpf(send_, plain);
    sent = result.action == kTcShot && result.packet == expected && ReadCounts(peer.id).down != 0;
  }
  WritePerCpu(handoff_map_, 0, std::vector<uint8_t>(sizeof(known_handoff)));
  const bool again = RunBpf(send_, plain).action == kTcShot;
  ip[8] = 1;  // its checksum is wrong now
  const bool broken = chosen();
  if (stranger || behind || still_behind || !sent || again || broken) {
    throw std::runtime_error("the self-test of encapsulation in the kernel failed");
  }
  known_.clear();
  pairs()[CellOf(kSource, kDestination)] = {};
  cells_[CellOf(kSource, kDestination)] = {};
  ResetPerCpu(counts_map_, peer.id, sizeof(known_count));
  settings().given = 0;
  settings().done = 0;
  settings().lost = 0;
  SetActive(false);
}

known_count KnownEncap::ReadCounts(uint32_t index) const {
  known_count sum{};
  uint64_t fields[sizeof sum / sizeof(uint64_t)];
  std::array<uint64_t*, std::size(fields)> into;
  for (size_t i = 0; i < into.size(); i++) into[i] = &fields[i];
  SumPerCpu(counts_map_, index, into);
  std::memcpy(&sum, fields, sizeof sum);
  return sum;
}

uint32_t KnownEncap::lost() const {
  return Shared(settings().lost).load(std::memory_order_relaxed);
}

}  // namespace vpc_conn::io
