// The forwarding table: what the settings mean for a frame. Immutable once built; shared by all workers.
// Addresses are host-order integers.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "forward/flat_map.h"
#include "forward/forwarding_table6.h"
#include "wire/etherip.h"
#include "wire/ethernet.h"

namespace vpc_conn::forward {

// The ends of a tunnel over IPv6; a key of maps, too: no tunnel ends at the unspecified address.
struct TunnelEnds6 {
  wire::Ipv6Address local;
  wire::Ipv6Address remote;
  friend constexpr bool operator==(const TunnelEnds6&, const TunnelEnds6&) = default;
  static constexpr TunnelEnds6 Empty() { return {}; }
};

inline uint64_t MixHash(const TunnelEnds6& ends) {
  return MixHash(Key6{ends.remote, 0}) ^ MixHash(ends.local.low);
}

// A peer keeps its id (bindings, learned MACs and counters are kept by it) while its place in the list may
// change from table to table.
struct Peer {
  uint16_t id = 0;
  uint32_t local_address = 0;
  uint32_t address = 0;
  uint16_t inner_mtu = 0;
  bool masquerade_unlisted = false;
  bool resolve_through_tunnel = false;
  std::optional<TunnelEnds6> ends6{};  // present: these, and not the two addresses above
};

// `prefix_length` leading bits of proxied addresses here stand for far hosts of one peer, bit for bit.
struct ProxiedEntry {
  uint32_t address = 0;
  uint32_t host = 0;
  uint8_t prefix_length = 32;
  uint16_t peer = 0;  // index into peers
};

struct TableContents {
  wire::Mac overlay_mac{};
  uint32_t overlay_address = 0;
  uint32_t overlay_mtu = 0;
  wire::Mac underlay_mac{};
  std::vector<Peer> peers;
  std::vector<ProxiedEntry> proxied;
  std::vector<uint32_t> reserved;
  std::optional<uint8_t> dscp;   // of outer headers; without: copied from the inner header
  bool accept_reversed = false;  // EtherIP with its version nibble in the wrong half
  uint16_t masquerade_first_port = 0;
  uint16_t masquerade_last_port = 0;
  uint32_t icmp_errors_per_second = 0;         // that one worker sends at most
  std::vector<uint32_t> masquerade_addresses;  // the overlay address may be one
  uint32_t masquerade_flows = 0;
  // Present: IPv6 is carried between hosts.
  std::optional<wire::Ipv6Address> overlay_address6;
  std::vector<ProxiedEntry6> proxied6;
  std::vector<wire::Ipv6Address> reserved6;
};

class ForwardingTable {
 public:
  explicit ForwardingTable(TableContents contents);

  struct FarHost {
    uint16_t peer;  // index
    uint32_t address;
  };
  // Encapsulation: the far host that `destination` stands for. Longest match first.
  std::optional<FarHost> FarHostOf(uint32_t destination) const {
    for (const Prefix& prefix : prefixes_) {
      if (const Target* to = by_address_.Find(EncapKey(destination & prefix.mask, prefix.length))) {
        return FarHost{to->peer, to->address | (destination & ~prefix.mask)};
      }
    }
    return std::nullopt;
  }

  // Decapsulation: the proxied address of a far host of peer `peer` (index). Longest match first. None if a
  // longer entry has taken that address for another host.
  std::optional<uint32_t> ProxiedAddressOf(uint16_t peer, uint32_t far_host) const;

  bool IsProxied(uint32_t address) const {
    for (const Prefix& prefix : prefixes_) {
      if (by_address_.Find(EncapKey(address & prefix.mask, prefix.length)) != nullptr) return true;
    }
    return false;
  }
  bool IsReserved(uint32_t address) const { return reserved_.Find(address) != nullptr; }

  // The peer of an outer (local, remote) address pair; nullptr: unknown.
  const Peer* PeerOf(uint32_t local_address, uint32_t address) const;
  const Peer* PeerOf(const TunnelEnds6& ends) const;
  // Some peer's tunnel runs over IPv6.
  bool tunnels_over_ipv6() const { return peer_by_ends6_.size() != 0; }
  uint16_t PeerIndex(const Peer& peer) const { return static_cast<uint16_t>(&peer - contents_.peers.data()); }
  // nullptr when that peer is gone.
  const Peer* PeerById(uint16_t id) const;
  // One of the tunnel's own ends, here or there.
  bool IsTunnelAddress(uint32_t address) const { return tunnel_addresses_.Find(address) != nullptr; }
  bool IsTunnelAddress(const wire::Ipv6Address& address) const {
    return tunnel_addresses6_.Find({address, 0}) != nullptr;
  }

  bool masquerades() const { return masquerades_; }
  // An address other than the overlay's that far hosts are masqueraded behind.
  bool IsPoolAddress(uint32_t address) const {
    return has_pool_ && std::find(pool_.begin(), pool_.end(), address) != pool_.end();
  }
  // Whether packets for the overlay address itself may be for a masqueraded host.
  bool masquerades_overlay_address() const { return masquerades_ && overlay_in_pool_; }
  bool InMasqueradeRange(uint16_t port) const {
    return port >= contents_.masquerade_first_port && port <= contents_.masquerade_last_port;
  }

  bool carries_ipv6() const { return contents_.overlay_address6.has_value(); }
  const ForwardingTable6& v6() const { return v6_; }

  const TableContents& contents() const { return contents_; }
  std::span<const Peer> peers() const { return contents_.peers; }

 private:
  static uint32_t MaskOf(uint8_t prefix_length) {
    return prefix_length == 0 ? 0 : ~uint32_t{0} << (32 - prefix_length);
  }
  static uint64_t EncapKey(uint32_t network, uint8_t length) { return (uint64_t{network} << 8) | length; }
  static uint64_t DecapKey(uint16_t peer, uint32_t network, uint8_t length) {
    return (uint64_t{peer} << 40) | (uint64_t{network} << 8) | length;
  }

  struct Prefix {
    uint32_t mask;
    uint8_t length;
  };
  // Where a prefix leads: the bits of `mask`; the others stay.
  struct Target {
    uint32_t address;
    uint16_t peer;
  };

  TableContents contents_;
  std::vector<Prefix> prefixes_;  // lengths in use, longest first
  FlatMap<Target> by_address_;    // -> far hosts
  FlatMap<Target> by_host_;       // -> proxied addresses
  FlatMap<uint16_t> peer_by_pair_;
  FlatMap<uint16_t> peer_by_id_;
  FlatMap<uint8_t> reserved_;
  FlatMap<uint8_t> tunnel_addresses_;
  FlatMap<uint16_t, TunnelEnds6> peer_by_ends6_;
  FlatMap<uint8_t, Key6> tunnel_addresses6_;
  std::vector<uint32_t> pool_;  // without the overlay address
  bool masquerades_ = false;
  bool has_pool_ = false;
  bool overlay_in_pool_ = false;
  ForwardingTable6 v6_;
};

}  // namespace vpc_conn::forward
