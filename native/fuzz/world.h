// The gateway that is fuzzed: what it knows.
#pragma once

#include <vector>

#include "forward/snapshot.h"

namespace vpc_conn::fuzz {

// The world of test/golden/world6.ts, with one more peer.
inline constexpr uint64_t kNextHopMac = 0x020000000102;
inline constexpr uint64_t kLocalMac = 0x02000000000a;
inline constexpr uint64_t kOverlayMac = 0x020000000005;
inline constexpr uint64_t kUnderlayMac = 0x020000000101;
inline constexpr uint32_t kGateway = 0x0a000005;
inline constexpr uint32_t kHere = 0xc6120001;
inline constexpr uint32_t kPeerB = 0xc6120002, kPeerC = 0xc6120003, kPeerD = 0xc6120004;
// A tunnel over IPv6, with addresses of test/golden/world-over-ipv6.ts.
inline constexpr forward::TunnelEnds6 kEnds6 = {{0x20010db8ffff0000, 1}, {0x20010db8ffff0000, 2}};
inline constexpr wire::Ipv6Address Address6(uint64_t host, uint64_t subnet = 0) {
  return {0x20010db800000000 | subnet << 16, host};
}
inline constexpr wire::Ipv6Address kGateway6 = Address6(5);
inline constexpr uint16_t kMtu = 1464;
inline constexpr uint16_t kMtu6 = 1444;
inline constexpr uint32_t kOverlayMtu = 1500;
inline constexpr size_t kEthernet = wire::kEthernetHeader;

inline forward::TableContents MakeTable() {
  forward::TableContents table;
  table.overlay_mac = {2, 0, 0, 0, 0, 5};
  table.overlay_address = kGateway;
  table.overlay_mtu = kOverlayMtu;
  table.underlay_mac = {2, 0, 0, 0, 1, 1};
  table.peers = {
      {.local_address = kHere, .address = kPeerB, .inner_mtu = kMtu},
      {.local_address = kHere, .address = kPeerC, .inner_mtu = kMtu, .masquerade_unlisted = true},
      {.local_address = kHere, .address = kPeerD, .inner_mtu = kMtu, .resolve_through_tunnel = true},
      {.inner_mtu = kMtu6, .ends6 = kEnds6}};
  table.proxied = {{.address = 0x0a000014, .host = 0x0a000014},
                   {.address = 0x0a000063, .host = 0x0a00000a},
                   {.address = 0x0a000200, .host = 0x0a000100, .prefix_length = 24},
                   {.address = 0x0a000028, .host = 0x0a000028, .peer = 2},
                   {.address = 0x0a000300, .host = 0x0a000000, .prefix_length = 24, .peer = 3}};
  table.reserved = {0x0a000000, 0x0a000001, 0x0a000002, 0x0a000003, 0x0a0000ff};
  table.masquerade_first_port = 40000;
  table.masquerade_last_port = 40015;  // few, so that they run out
  table.masquerade_addresses = {kGateway, 0x0a000006};
  table.masquerade_flows = 64;
  table.icmp_errors_per_second = 1000;
  table.overlay_address6 = kGateway6;
  table.proxied6 = {{.address = Address6(0x20), .host = Address6(0x20)},
                    {.address = Address6(0x99), .host = Address6(0x10)},
                    {.address = Address6(0, 2), .host = Address6(0, 1), .prefix_length = 64},
                    {.address = Address6(0x99, 2), .host = Address6(1, 3)},
                    {.address = Address6(0x40), .host = Address6(0x40), .peer = 2},
                    {.address = Address6(0, 4), .host = Address6(0), .prefix_length = 64, .peer = 3}};
  table.reserved6 = {Address6(0), Address6(1), Address6(2), Address6(3)};
  return table;
}

inline std::vector<forward::NeighborRecord> MakeNeighbors() {
  using namespace forward;
  return {{kScopeUnderlay, kPeerB, {.mac = kNextHopMac, .slot = 0}},
          {kScopeUnderlay, kPeerC, {.mac = kNextHopMac, .slot = 1}},
          {kScopeUnderlay, kPeerD, {.mac = kNextHopMac, .slot = 2}},
          {kScopeOverlay, 0x0a00000a, {.mac = kLocalMac, .slot = 3}},
          {kScopeOverlay, 0x0a00000b, {.mac = 0, .slot = 4, .failed = true}},
          {kScopeTunnel + 2, 0x0a000028, {.mac = 0x020000000d40, .slot = 5}},
          {kScopeUnderlay, 0, {.mac = kNextHopMac, .slot = 6}, kEnds6.remote},
          {kScopeOverlay, 0, {.mac = kLocalMac, .slot = 7}, Address6(0x10)},
          {kScopeOverlay, 0, {.mac = 0, .slot = 8, .failed = true}, Address6(0x11)},
          {kScopeTunnel + 2, 0, {.mac = 0x020000000d40, .slot = 9}, Address6(0x40)}};
}

inline const forward::ForwardingTable& Table() {
  static const forward::ForwardingTable table(MakeTable());
  return table;
}

}  // namespace vpc_conn::fuzz
