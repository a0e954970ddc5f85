// Classic BPF programs for the packet sockets: what is not for the gateway is left to the kernel before it
// costs a copy or wakes a worker.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <optional>
#include <vector>

#include "wire/ipv6.h"

namespace vpc_conn::io {

struct OverlayFilterOptions {
  uint32_t overlay_address;  // host order
  bool masquerades;
  uint16_t masquerade_first_port;
  uint16_t masquerade_last_port;
  std::optional<wire::Ipv6Address> overlay_address6{};
};

// Everything but packets to the gateway's own addresses (its SSH, DNS, ...); of those, neighbor discovery is
// taken, and when a peer masquerades the masquerade ports, later fragments and ICMP.
std::vector<sock_filter> OverlayFilter(const OverlayFilterOptions& options);

// ARP, IPv4 protocol 97, ICMP "fragmentation needed", and frames that XDP stripped (source MAC begins with
// `marker`, if there is one).
std::vector<sock_filter> UnderlayFilter(std::optional<uint32_t> marker);

// Nothing: while a socket is being set up.
std::vector<sock_filter> NothingFilter();

// Which worker of a fanout group gets a frame: a hash over the addresses that stays the same for a flow.
// `inner`: of EtherIP packets the addresses inside.
std::vector<sock_filter> FlowFanout(bool inner);

}  // namespace vpc_conn::io
