#include "io/socket_filter.h"

#include <linux/if_ether.h>

#include "wire/etherip.h"
#include "wire/ipv4.h"
#include "wire/l4.h"

namespace vpc_conn::io {

namespace {

constexpr uint32_t kAll = 0x40000;  // longer than any frame
constexpr uint32_t kSourceMacAt = 6;
constexpr uint32_t kEtherTypeAt = 12;
constexpr uint32_t kIp = ETH_HLEN;
constexpr uint32_t kProtocolAt = kIp + 9;
constexpr uint32_t kFragmentAt = kIp + wire::kIpv4FragmentOffset;
constexpr uint32_t kFragmentationNeeded = wire::kIcmpUnreachable << 8 | wire::kIcmpFragmentationNeeded;
constexpr uint32_t kDestinationAt = kIp + wire::kIpv4DestinationOffset;
constexpr uint32_t kNextHeaderAt = kIp + wire::kIpv6NextHeaderOffset;
constexpr uint32_t kDestination6At = kIp + wire::kIpv6DestinationOffset;
constexpr uint32_t kBehindIpv6At = kIp + wire::kIpv6Header;

sock_filter Statement(uint16_t code, uint32_t k) {
  return {code, 0, 0, k};
}
sock_filter Jump(uint16_t code, uint32_t k, uint8_t yes, uint8_t no) {
  return {code, yes, no, k};
}

}  // namespace

namespace {

// IPv4: what is for the gateway's own address is taken for masquerade ports alone, if at all.
std::vector<sock_filter> Ipv4Part(const OverlayFilterOptions& options) {
  if (!options.masquerades) {
    return {
        Statement(BPF_LD | BPF_W | BPF_ABS, kDestinationAt),
        Jump(BPF_JMP | BPF_JEQ | BPF_K, options.overlay_address, 1, 0),
        Statement(BPF_RET | BPF_K, kAll),
        Statement(BPF_RET | BPF_K, 0),
    };
  }
  return {
      /* 0 */ Statement(BPF_LD | BPF_W | BPF_ABS, kDestinationAt),
      /* 1 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, options.overlay_address, 0, 10),
      /* 2 */ Statement(BPF_LD | BPF_B | BPF_ABS, kProtocolAt),
      /* 3 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kProtocolIcmp, 8, 0),
      /* 4 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kProtocolTcp, 1, 0),
      /* 5 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kProtocolUdp, 0, 7),
      /* 6 */ Statement(BPF_LD | BPF_H | BPF_ABS, kFragmentAt),
      /* 7 */ Jump(BPF_JMP | BPF_JSET | BPF_K, wire::kFragmentOffset, 4, 0),
      /* 8 */ Statement(BPF_LDX | BPF_B | BPF_MSH, kIp),
      /* 9 */ Statement(BPF_LD | BPF_H | BPF_IND, kIp + 2),  // destination port
      /* 10 */ Jump(BPF_JMP | BPF_JGE | BPF_K, options.masquerade_first_port, 0, 2),
      /* 11 */ Jump(BPF_JMP | BPF_JGT | BPF_K, options.masquerade_last_port, 1, 0),
      /* 12 */ Statement(BPF_RET | BPF_K, kAll),
      /* 13 */ Statement(BPF_RET | BPF_K, 0),
  };
}

// Not IPv4; the EtherType is loaded. Of IPv6 to the gateway's own address, neighbor discovery alone: the
// answers to what the gateway asks come there.
std::vector<sock_filter> OtherPart(const OverlayFilterOptions& options) {
  if (!options.overlay_address6) return {Statement(BPF_RET | BPF_K, kAll)};
  const auto word = [&](uint32_t i) {
    const wire::Ipv6Address& a = *options.overlay_address6;
    return static_cast<uint32_t>((i < 2 ? a.high : a.low) >> (i % 2 == 0 ? 32 : 0));
  };
  return {
      /* 0 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IPV6, 0, 13),
      /* 1 */ Statement(BPF_LD | BPF_W | BPF_ABS, kDestination6At + 12),
      /* 2 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, word(3), 0, 11),
      /* 3 */ Statement(BPF_LD | BPF_W | BPF_ABS, kDestination6At + 8),
      /* 4 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, word(2), 0, 9),
      /* 5 */ Statement(BPF_LD | BPF_W | BPF_ABS, kDestination6At + 4),
      /* 6 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, word(1), 0, 7),
      /* 7 */ Statement(BPF_LD | BPF_W | BPF_ABS, kDestination6At),
      /* 8 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, word(0), 0, 5),
      /* 9 */ Statement(BPF_LD | BPF_B | BPF_ABS, kNextHeaderAt),
      /* 10 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kNextHeaderIcmp6, 0, 4),
      /* 11 */ Statement(BPF_LD | BPF_B | BPF_ABS, kBehindIpv6At),
      /* 12 */ Jump(BPF_JMP | BPF_JGE | BPF_K, wire::kIcmp6NeighborSolicitation, 0, 2),
      /* 13 */ Jump(BPF_JMP | BPF_JGT | BPF_K, wire::kIcmp6NeighborAdvertisement, 1, 0),
      /* 14 */ Statement(BPF_RET | BPF_K, kAll),
      /* 15 */ Statement(BPF_RET | BPF_K, 0),
  };
}

}  // namespace

std::vector<sock_filter> OverlayFilter(const OverlayFilterOptions& options) {
  const std::vector<sock_filter> ipv4 = Ipv4Part(options);
  const std::vector<sock_filter> other = OtherPart(options);
  std::vector<sock_filter> program = {
      Statement(BPF_LD | BPF_H | BPF_ABS, kEtherTypeAt),
      Jump(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, static_cast<uint8_t>(ipv4.size())),
  };
  program.insert(program.end(), ipv4.begin(), ipv4.end());
  program.insert(program.end(), other.begin(), other.end());
  return program;
}

namespace {

// IPv6 on the underlay; the EtherType has been looked at. What has an extension header before EtherIP is
// taken for the worker to judge, also fragments.
std::vector<sock_filter> Underlay6Part() {
  return {
      /* 0 */ Statement(BPF_LD | BPF_B | BPF_ABS, kNextHeaderAt),
      /* 1 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kProtocolEtherIp, 10, 0),
      /* 2 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kNextHeaderIcmp6, 5, 0),
      /* 3 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kNextHeaderFragment, 2, 0),
      /* 4 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kNextHeaderHopByHop, 1, 0),
      /* 5 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kNextHeaderDestinationOptions, 0, 7),
      /* 6 */ Statement(BPF_LD | BPF_B | BPF_ABS, kBehindIpv6At),  // its next header
      /* 7 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kProtocolEtherIp, 4, 5),
      /* 8 */ Statement(BPF_LD | BPF_B | BPF_ABS, kBehindIpv6At),  // ICMPv6 type
      /* 9 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kIcmp6PacketTooBig, 2, 0),
      /* 10 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kIcmp6NeighborSolicitation, 1, 0),
      /* 11 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kIcmp6NeighborAdvertisement, 0, 1),
      /* 12 */ Statement(BPF_RET | BPF_K, kAll),
      /* 13 */ Statement(BPF_RET | BPF_K, 0),
  };
}

}  // namespace

std::vector<sock_filter> UnderlayFilter(std::optional<uint32_t> marker, bool over_ipv6) {
  const uint8_t other = over_ipv6 ? 10 : 9;
  // No frame has a source MAC of zeros.
  std::vector<sock_filter> program = {
      /* 0 */ Statement(BPF_LD | BPF_W | BPF_ABS, kSourceMacAt),
      /* 1 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, marker.value_or(0), 11, 0),
      /* 2 */ Statement(BPF_LD | BPF_H | BPF_ABS, kEtherTypeAt),
      /* 3 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_ARP, 9, 0),
      /* 4 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IP, 0, other),
      /* 5 */ Statement(BPF_LD | BPF_B | BPF_ABS, kProtocolAt),
      /* 6 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kProtocolEtherIp, 6, 0),
      /* 7 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kProtocolIcmp, 0, 6),
      /* 8 */ Statement(BPF_LD | BPF_H | BPF_ABS, kFragmentAt),
      /* 9 */ Jump(BPF_JMP | BPF_JSET | BPF_K, wire::kFragmentOffset, 4, 0),
      /* 10 */ Statement(BPF_LDX | BPF_B | BPF_MSH, kIp),
      /* 11 */ Statement(BPF_LD | BPF_H | BPF_IND, kIp),  // ICMP type and code
      /* 12 */ Jump(BPF_JMP | BPF_JEQ | BPF_K, kFragmentationNeeded, 0, 1),
      /* 13 */ Statement(BPF_RET | BPF_K, kAll),
      /* 14 */ Statement(BPF_RET | BPF_K, 0),
  };
  if (!over_ipv6) return program;
  const std::vector<sock_filter> ipv6 = Underlay6Part();
  program.push_back(Jump(BPF_JMP | BPF_JEQ | BPF_K, ETH_P_IPV6, 0, static_cast<uint8_t>(ipv6.size() - 1)));
  program.insert(program.end(), ipv6.begin(), ipv6.end());
  return program;
}

std::vector<sock_filter> NothingFilter() {
  return {Statement(BPF_RET | BPF_K, 0)};
}

std::vector<sock_filter> FlowFanout(FanoutBy by) {
  // Relative to the network header: where the frame starts for a fanout program differs from a filter.
  const auto ip = static_cast<uint32_t>(SKF_NET_OFF);
  std::vector<sock_filter> program;
  if (by != FanoutBy::outer) {
    const bool over_ipv6 = by == FanoutBy::inner_over_ipv6;
    const uint32_t inner = ip + (over_ipv6 ? wire::kTunnelOverhead6 : wire::kTunnelOverhead);
    const uint32_t protocol = over_ipv6 ? wire::kIpv6NextHeaderOffset : wire::kIpv4ProtocolOffset;
    // Stripped frames are inner packets already: only EtherIP has the addresses further on.
    program = {
        Statement(BPF_LD | BPF_B | BPF_ABS, ip + protocol),
        Jump(BPF_JMP | BPF_JEQ | BPF_K, wire::kProtocolEtherIp, 0, 4),
        Statement(BPF_LD | BPF_W | BPF_ABS, inner + wire::kIpv4SourceOffset),
        Statement(BPF_MISC | BPF_TAX, 0),
        Statement(BPF_LD | BPF_W | BPF_ABS, inner + wire::kIpv4DestinationOffset),
        Jump(BPF_JMP | BPF_JA, 3, 0, 0),
    };
  }
  program.insert(program.end(), {
                                    Statement(BPF_LD | BPF_W | BPF_ABS, ip + wire::kIpv4SourceOffset),
                                    Statement(BPF_MISC | BPF_TAX, 0),
                                    Statement(BPF_LD | BPF_W | BPF_ABS, ip + wire::kIpv4DestinationOffset),
                                    Statement(BPF_ALU | BPF_XOR | BPF_X, 0),
                                    Statement(BPF_ALU | BPF_MUL | BPF_K, 0x9e3779b1),
                                    Statement(BPF_ALU | BPF_RSH | BPF_K, 16),
                                    Statement(BPF_RET | BPF_A, 0),
                                });
  return program;
}

}  // namespace vpc_conn::io
