#include "forward/forwarding_table.h"

#include <algorithm>
#include <utility>

namespace vpc_conn::forward {

ForwardingTable::ForwardingTable(TableContents contents) : contents_(std::move(contents)) {
  const auto& c = contents_;
  by_address_.Reserve(c.proxied.size());
  by_host_.Reserve(c.proxied.size());
  for (uint32_t i = 0; i < c.proxied.size(); i++) {
    const ProxiedEntry& entry = c.proxied[i];
    const uint32_t mask = MaskOf(entry.prefix_length);
    by_address_.Put(EncapKey(entry.address & mask, entry.prefix_length), i);
    by_host_.Put(DecapKey(entry.peer, entry.host & mask, entry.prefix_length), i);
    if (std::find(lengths_.begin(), lengths_.end(), entry.prefix_length) == lengths_.end()) {
      lengths_.push_back(entry.prefix_length);
    }
  }
  std::sort(lengths_.rbegin(), lengths_.rend());

  peer_by_pair_.Reserve(c.peers.size());
  peer_by_id_.Reserve(c.peers.size());
  tunnel_addresses_.Reserve(c.peers.size() * 2);
  for (const Peer& peer : c.peers) {
    const uint16_t i = PeerIndex(peer);
    peer_by_pair_.Put((uint64_t{peer.local_address} << 32) | peer.address, i);
    peer_by_id_.Put(peer.id, i);
    tunnel_addresses_.Put(peer.local_address, 1);
    tunnel_addresses_.Put(peer.address, 1);
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

std::optional<ForwardingTable::FarHost> ForwardingTable::FarHostOf(uint32_t destination) const {
  for (uint8_t length : lengths_) {
    const uint32_t mask = MaskOf(length);
    if (const uint32_t* index = by_address_.Find(EncapKey(destination & mask, length))) {
      const ProxiedEntry& entry = contents_.proxied[*index];
      return FarHost{entry.peer, (entry.host & mask) | (destination & ~mask)};
    }
  }
  return std::nullopt;
}

std::optional<uint32_t> ForwardingTable::ProxiedAddressOf(uint16_t peer, uint32_t far_host) const {
  for (uint8_t length : lengths_) {
    const uint32_t mask = MaskOf(length);
    if (const uint32_t* index = by_host_.Find(DecapKey(peer, far_host & mask, length))) {
      const ProxiedEntry& entry = contents_.proxied[*index];
      const uint32_t proxied = (entry.address & mask) | (far_host & ~mask);
      // A longer prefix may have given this address to another host: what answers to it would go there.
      if (lengths_.size() > 1) {
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

}  // namespace vpc_conn::forward
