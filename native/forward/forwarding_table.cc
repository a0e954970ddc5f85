#include "forward/forwarding_table.h"

#include <algorithm>
#include <utility>

namespace vpc_conn::forward {

ForwardingTable::ForwardingTable(TableContents contents) : contents_(std::move(contents)) {
  const auto& c = contents_;
  by_address_.Reserve(c.proxied.size());
  by_host_.Reserve(c.proxied.size());
  for (const ProxiedEntry& entry : c.proxied) {
    const uint32_t mask = MaskOf(entry.prefix_length);
    const uint32_t address = entry.address & mask;
    const uint32_t host = entry.host & mask;
    by_address_.Put(EncapKey(address, entry.prefix_length), {host, entry.peer});
    by_host_.Put(DecapKey(entry.peer, host, entry.prefix_length), {address, entry.peer});
    const auto same = [&](const Prefix& prefix) { return prefix.length == entry.prefix_length; };
    if (std::none_of(prefixes_.begin(), prefixes_.end(), same)) {
      prefixes_.push_back({mask, entry.prefix_length});
    }
  }
  std::sort(prefixes_.begin(), prefixes_.end(),
            [](const Prefix& a, const Prefix& b) { return a.length > b.length; });

  peer_by_pair_.Reserve(c.peers.size());
  peer_by_id_.Reserve(c.peers.size());
  tunnel_addresses_.Reserve(c.peers.size() * 2);
  peer_by_ends6_.Reserve(c.peers.size());
  tunnel_addresses6_.Reserve(c.peers.size() * 2);
  for (const Peer& peer : c.peers) {
    const uint16_t i = PeerIndex(peer);
    peer_by_id_.Put(peer.id, i);
    if (peer.ends6) {
      peer_by_ends6_.Put(*peer.ends6, i);
      tunnel_addresses6_.Put({peer.ends6->local, 0}, 1);
      tunnel_addresses6_.Put({peer.ends6->remote, 0}, 1);
    } else {
      peer_by_pair_.Put((uint64_t{peer.local_address} << 32) | peer.address, i);
      tunnel_addresses_.Put(peer.local_address, 1);
      tunnel_addresses_.Put(peer.address, 1);
    }
    masquerades_ = masquerades_ || peer.masquerade_unlisted;
  }

  for (const uint32_t address : c.masquerade_addresses) {
    if (address == c.overlay_address) {
      overlay_in_pool_ = true;
    } else {
      pool_.push_back(address);
    }
  }
  has_pool_ = masquerades_ && !pool_.empty();

  reserved_.Reserve(c.reserved.size());
  for (uint32_t address : c.reserved) reserved_.Put(address, 1);
  v6_.Build(c.proxied6, c.reserved6);
}

std::optional<uint32_t> ForwardingTable::ProxiedAddressOf(uint16_t peer, uint32_t far_host) const {
  for (const Prefix& prefix : prefixes_) {
    if (const Target* to = by_host_.Find(DecapKey(peer, far_host & prefix.mask, prefix.length))) {
      const uint32_t proxied = to->address | (far_host & ~prefix.mask);
      // A longer prefix may have given this address to another host: what answers to it would go there.
      if (prefixes_.size() > 1) {
        const auto back = FarHostOf(proxied);
        if (!back || back->peer != peer || back->address != far_host) return std::nullopt;
      }
      return proxied;
    }
  }
  return std::nullopt;
}

const Peer* ForwardingTable::PeerOf(uint32_t local_address, uint32_t address) const {
  const uint16_t* index = peer_by_pair_.Find((uint64_t{local_address} << 32) | address);
  return index == nullptr ? nullptr : &contents_.peers[*index];
}

const Peer* ForwardingTable::PeerById(uint16_t id) const {
  const uint16_t* index = peer_by_id_.Find(id);
  return index == nullptr ? nullptr : &contents_.peers[*index];
}

const Peer* ForwardingTable::PeerOf(const TunnelEnds6& ends) const {
  if (ends == TunnelEnds6::Empty()) return nullptr;  // what a packet says is no key yet
  const uint16_t* index = peer_by_ends6_.Find(ends);
  return index == nullptr ? nullptr : &contents_.peers[*index];
}

}  // namespace vpc_conn::forward
