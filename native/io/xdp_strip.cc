#include "io/xdp_strip.h"

#include <sys/random.h>

#include <cstring>

#include "bpf/programs.h"
#include "io/system_error.h"
#include "wire/endian.h"

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
      settings_(settings_map_, sizeof(strip_settings)),
      program_(LoadBpfProgram(BpfProgramType::xdp, "strip", bpf::kStripCode, bpf::kStripMaps,
                              {{"strip_peers", peers_map_.get()},
                               {"strip_settings", settings_map_.get()},
                               {"strip_counts", counts_map_.get()}})) {
  static_cast<strip_settings*>(settings_.data())->marker = InMemory(marker_);
  link_ = LinkXdpDriver(program_, underlay.index, underlay.name);
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
