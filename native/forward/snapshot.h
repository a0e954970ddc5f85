// What the workers read: the forwarding table, the neighbors, and per peer the finished outer header.
// Immutable; replaced whole (runtime/snapshot_board.h).
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "forward/forwarding_table.h"

namespace vpc_conn::forward {

// Where an address is a neighbor (src/native/addon.ts has the same numbers).
inline constexpr uint16_t kScopeOverlay = 0;
inline constexpr uint16_t kScopeUnderlay = 1;
inline constexpr uint16_t kScopeTunnel = 2;  // + peer index

inline constexpr uint32_t kNeighborSlots = 16384;

struct Neighbor {
  uint64_t mac = 0;  // 48 bits
  uint16_t slot = 0;
  bool failed = false;
};

struct NeighborRecord {
  uint16_t scope;
  uint32_t address;
  Neighbor neighbor;
  std::optional<wire::Ipv6Address> address6{};  // present: this, and not `address`
};

inline uint64_t NeighborKey(uint16_t scope, uint32_t address) {
  return (uint64_t{scope} << 32) | address;
}

inline Key6 NeighborKey(uint16_t scope, const wire::Ipv6Address& address) {
  return {address, scope};
}

// Outer Ethernet, IP and EtherIP header of a peer; its length field, TOS and flow label are still zero.
struct OuterHeader {
  std::array<uint8_t, wire::kOuterHeadersMost> bytes{};
  uint32_t length = wire::kOuterHeaders;
  uint16_t neighbor_slot = 0;
  bool resolved = false;
  bool failed = false;
  // Outer TOS: these bits of the inner one, and these besides.
  uint8_t tos_mask = 0xff;
  uint8_t tos_fixed = 0;

  bool over_ipv6() const { return length == wire::kOuterHeaders6; }
};

// `next_hop`: how the peer is reached; nullptr: not known yet.
OuterHeader MakeOuterHeader(const TableContents& contents, const Peer& peer, const Neighbor* next_hop);

struct Snapshot {
  uint64_t generation = 0;
  std::shared_ptr<const ForwardingTable> table;
  FlatMap<Neighbor> neighbors;
  FlatMap<Neighbor, Key6> neighbors6;
  bool any_failed = false;
  std::vector<OuterHeader> outer;  // by peer index
};

// Finishes a snapshot: indexes the records and builds the outer headers.
std::unique_ptr<Snapshot> BuildSnapshot(uint64_t generation, std::shared_ptr<const ForwardingTable> table,
                                        const std::vector<NeighborRecord>& records);

}  // namespace vpc_conn::forward
