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
// `marker`, if there is one). Where tunnels run over IPv6, also its protocol 97, behind one extension header
// at most, ICMPv6 "packet too big" and neighbor discovery.
std::vector<sock_filter> UnderlayFilter(std::optional<uint32_t> marker, bool over_ipv6);

// Nothing: while a socket is being set up.
std::vector<sock_filter> NothingFilter();

// Which worker of a fanout group gets a frame: a hash over the addresses that stays the same for a flow, of
// EtherIP packets those inside.
enum class FanoutBy { outer, inner_over_ipv4, inner_over_ipv6 };
std::vector<sock_filter> FlowFanout(FanoutBy by);

}  // namespace vpc_conn::io
