// The IPv6 half of the forwarding table: the same rule as for IPv4 on 128-bit keys, in tables of its own, so
// that IPv4's stay as small as they are.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "forward/flat_map.h"
#include "wire/ipv6.h"

namespace vpc_conn::forward {

// An address with what it is an address of: prefix length, peer or scope.
struct Key6 {
  wire::Ipv6Address address;
  uint32_t tag = 0;
  friend constexpr bool operator==(const Key6&, const Key6&) = default;
  static constexpr Key6 Empty() { return {{}, ~uint32_t{0}}; }
};

inline uint64_t MixHash(const Key6& key) {
  return MixHash(key.address.high + MixHash(key.address.low + MixHash(key.tag)));
}

struct ProxiedEntry6 {
  wire::Ipv6Address address;
  wire::Ipv6Address host;
  uint8_t prefix_length = 128;
  uint16_t peer = 0;  // index into peers
};

class ForwardingTable6 {
 public:
  // Replaces everything.
  void Build(std::vector<ProxiedEntry6> proxied, const std::vector<wire::Ipv6Address>& reserved);

  struct FarHost {
    uint16_t peer;  // index
    wire::Ipv6Address address;
  };
  // As ForwardingTable's.
  std::optional<FarHost> FarHostOf(const wire::Ipv6Address& destination) const;
  std::optional<wire::Ipv6Address> ProxiedAddressOf(uint16_t peer, const wire::Ipv6Address& far_host) const;
  bool IsProxied(const wire::Ipv6Address& address) const { return FarHostOf(address).has_value(); }
  bool IsReserved(const wire::Ipv6Address& address) const { return reserved_.Find({address, 0}) != nullptr; }

 private:
  static Key6 EncapKey(const wire::Ipv6Address& network, uint8_t length) { return {network, length}; }
  static Key6 DecapKey(uint16_t peer, const wire::Ipv6Address& network, uint8_t length) {
    return {network, (uint32_t{peer} << 8) | length};
  }

  std::vector<ProxiedEntry6> proxied_;
  std::vector<uint8_t> lengths_;        // prefix lengths in use, longest first
  FlatMap<uint32_t, Key6> by_address_;  // -> index into proxied_
  FlatMap<uint32_t, Key6> by_host_;
  FlatMap<uint8_t, Key6> reserved_;
};

}  // namespace vpc_conn::forward
