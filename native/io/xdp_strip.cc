#include "io/xdp_strip.h"

#include <linux/bpf.h>
#include <sys/random.h>

#include <cstring>
#include <stdexcept>

#include "bpf/programs.h"
#include "io/system_error.h"
#include "wire/checksum.h"
#include "wire/endian.h"
#include "wire/etherip.h"
#include "wire/l4.h"

namespace vpc_conn::io {

namespace {

// Locally administered, unicast, and not to be guessed by whoever sends on the underlay.
uint32_t RandomMarker() {
  uint32_t marker = 0;
  if (getrandom(&marker, sizeof marker, 0) != sizeof marker) throw SystemError(errno, "getrandom");
  return (marker & 0x00ffffff) | 0x02000000;
}

uint32_t InMemory(uint32_t value) {
  return __builtin_bswap32(value);
}

}  // namespace

XdpStrip::XdpStrip(const Interface& underlay)
    : marker_(RandomMarker()),
      peers_map_(CreateBpfMap(bpf::kStripPeersMap, "strip_peers")),
      settings_map_(CreateBpfMap(bpf::kStripSettingsMap, "strip_settings")),
      counts_map_(CreateBpfMap(bpf::kStripCountsMap, "strip_counts")),
      settings_(settings_map_, sizeof(strip_settings)) {
  static_cast<strip_settings*>(settings_.data())->marker = InMemory(marker_);
  try {
    Attach(BpfProgramType::xdp_frags, underlay);
  } catch (const SystemError&) {
    // A kernel or a driver that knows no packets in pieces.
    Attach(BpfProgramType::xdp, underlay);
  }
}

void XdpStrip::Attach(BpfProgramType type, const Interface& underlay) {
  std::span<const uint64_t> code = bpf::kStripCode;
  std::span<const bpf::MapUse> uses = bpf::kStripMaps;
  if (type == BpfProgramType::xdp_frags) {
    code = bpf::kStripFragsCode;
    uses = bpf::kStripFragsMaps;
  }
  program_ = LoadBpfProgram(type, "strip", code, uses,
                            {{"strip_peers", peers_map_.get()},
                             {"strip_settings", settings_map_.get()},
                             {"strip_counts", counts_map_.get()}});
  Test();
  link_ = LinkXdpDriver(program_, underlay.index, underlay.name);
}

void XdpStrip::Test() {
  constexpr uint32_t kInnerLength = wire::kEthernetHeader + wire::kIpv4Header + wire::kTcpHeader + 6;
  constexpr uint8_t kCapable = 2;  // ECT(0)
  constexpr uint8_t kCongested = 3;
  std::vector<uint8_t> packet(wire::kOuterHeaders + kInnerLength);
  const auto ipv4 = [](std::vector<uint8_t>& bytes, uint32_t at, uint8_t ecn, uint8_t protocol,
                       uint32_t source, uint32_t destination) {
    uint8_t* ip = bytes.data() + at;
    ip[0] = 0x45;
    ip[wire::kIpv4TosOffset] = ecn;
    wire::StoreBe16(ip + wire::kIpv4TotalLengthOffset, static_cast<uint16_t>(bytes.size() - at));
    wire::StoreChecksum(ip + wire::kIpv4ChecksumOffset, 0);
    ip[9] = protocol;
    wire::StoreBe32(ip + wire::kIpv4SourceOffset, source);
    wire::StoreBe32(ip + wire::kIpv4DestinationOffset, destination);
    const uint16_t sum = wire::Fold(wire::AddBytes(0, ip, wire::kIpv4Header));
    wire::StoreChecksum(ip + wire::kIpv4ChecksumOffset, static_cast<uint16_t>(~sum));
  };
  // 192.0.2.1 and .2: documentation addresses (RFC 5737).
  const strip_pair pair{InMemory(0xc0000201), InMemory(0xc0000202)};
  const uint32_t id = 7;
  wire::StoreBe16(packet.data() + 12, wire::kEtherTypeIpv4);
  ipv4(packet, wire::kEthernetHeader, kCongested, wire::kProtocolEtherIp, 0xc0000201, 0xc0000202);
  wire::StoreBe16(packet.data() + wire::kOuterHeaders - wire::kEtherIpHeader, wire::kEtherIpFirstWord);
  // The own MAC is not known yet, so it is zeros: the packet is for it, and from another.
  packet[6] = 2;
  uint8_t* inner = packet.data() + wire::kOuterHeaders;
  inner[6] = 2;
  inner[11] = 9;
  wire::StoreBe16(inner + 12, wire::kEtherTypeIpv4);
  ipv4(packet, wire::kOuterHeaders + wire::kEthernetHeader, kCapable, wire::kProtocolTcp, 0xc0000203,
       0xc0000204);

  std::vector<uint8_t> expected(packet.begin() + wire::kOuterHeaders, packet.end());
  std::memcpy(expected.data(), inner + 6, 6);
  wire::StoreBe32(expected.data() + 6, marker_);
  wire::StoreBe16(expected.data() + 10, static_cast<uint16_t>(id));
  ipv4(expected, wire::kEthernetHeader, kCongested, wire::kProtocolTcp, 0xc0000203, 0xc0000204);

  UpdateBpfMap(peers_map_, &pair, &id);
  const auto known = RunBpf(program_, packet);
  DeleteFromBpfMap(peers_map_, &pair);
  const auto unknown = RunBpf(program_, packet);
  const auto forged = RunBpf(program_, expected);
  const uint64_t before = ReadCounts().spoofed;
  if (known.action != XDP_PASS || known.packet != expected || unknown.action != XDP_PASS ||
      unknown.packet != packet || forged.action != XDP_DROP || before != 1) {
    throw std::runtime_error("the self-test of the XDP program failed: it does not strip as it should");
  }
  ResetPerCpu(counts_map_, STRIP_STRIPPED);
  ResetPerCpu(counts_map_, STRIP_SPOOFED);
}

void XdpStrip::SetPeers(std::span<const forward::Peer> peers, const wire::Mac& underlay_mac) {
  auto* settings = static_cast<strip_settings*>(settings_.data());
  std::memcpy(&settings->own_mac_high, underlay_mac.data(), 4);
  std::memcpy(&settings->own_mac_low, underlay_mac.data() + 4, 2);
  std::vector<strip_pair> pairs;
  for (const forward::Peer& peer : peers) {
    // As a packet from the peer has them.
    const strip_pair pair{InMemory(peer.address), InMemory(peer.local_address)};
    const uint32_t id = peer.id;
    UpdateBpfMap(peers_map_, &pair, &id);
    pairs.push_back(pair);
  }
  for (const strip_pair& old : pairs_) {
    bool stays = false;
    for (const strip_pair& pair : pairs) stays |= std::memcmp(&pair, &old, sizeof old) == 0;
    if (!stays) DeleteFromBpfMap(peers_map_, &old);
  }
  pairs_ = std::move(pairs);
}

XdpStrip::Counts XdpStrip::ReadCounts() const {
  return {SumPerCpu(counts_map_, STRIP_STRIPPED), SumPerCpu(counts_map_, STRIP_SPOOFED)};
}

}  // namespace vpc_conn::io
