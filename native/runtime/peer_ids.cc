#include "runtime/peer_ids.h"

#include <algorithm>

#include "forward/counters.h"

namespace vpc_conn::runtime {

std::optional<std::vector<uint16_t>> PeerIds::Assign(std::span<forward::Peer> peers) {
  if (peers.size() > forward::kMaxPeers) return std::nullopt;
  const auto pair_of = [](const forward::Peer& peer) -> Ends {
    if (!peer.ends6) return {0, peer.local_address, 0, peer.address};
    const auto& [local, remote] = *peer.ends6;
    return {local.high, local.low, remote.high, remote.low};
  };
  std::vector<uint16_t> gone;
  std::erase_if(ids_, [&](const auto& known) {
    const bool stays = std::any_of(peers.begin(), peers.end(),
                                   [&](const auto& peer) { return pair_of(peer) == known.first; });
    if (!stays) gone.push_back(known.second);
    return !stays;
  });
  std::vector<bool> taken(forward::kMaxPeers, false);
  for (const auto& [pair, id] : ids_) taken[id] = true;
  for (forward::Peer& peer : peers) {
    const auto known = ids_.find(pair_of(peer));
    if (known != ids_.end()) {
      peer.id = known->second;
      continue;
    }
    while (taken[next_ % forward::kMaxPeers]) next_++;
    peer.id = static_cast<uint16_t>(next_ % forward::kMaxPeers);
    taken[peer.id] = true;
    next_++;
    ids_.emplace(pair_of(peer), peer.id);
  }
  return gone;
}

}  // namespace vpc_conn::runtime
