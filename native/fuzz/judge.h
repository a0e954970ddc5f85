// What may ever be sent: holds frames that came out of the pipelines against it.
#pragma once

#include <span>
#include <vector>

#include "packets.h"
#include "packets6.h"
#include "require.h"
#include "runtime/memory_pipeline.h"
#include "world.h"

namespace vpc_conn::fuzz {

using test::Bytes;

inline bool IsIpv6(std::span<const uint8_t> ip) {
  return !ip.empty() && ip[0] >> 4 == 6;
}

inline bool Forbidden(uint32_t address) {
  return forward::UnforwardableDestination(address).has_value();
}

// Whether an IPv4 packet is there, whole, with its L4 header, so that it can be sealed or judged.
inline bool Whole(std::span<const uint8_t> ip) {
  if (ip.size() < 20 || ip[0] >> 4 != 4 || test::HeaderLengthOf(ip) < 20) return false;
  const uint32_t total = test::Get16(ip, 2);
  const uint32_t header = test::HeaderLengthOf(ip);
  return total <= ip.size() && total >= header && forward::L4HeaderLength(ip[9]) != 0 &&
         total - header >= forward::L4HeaderLength(ip[9]) && (test::Get16(ip, 6) & 0x3fff) == 0;
}

inline void SealHeader(std::span<uint8_t> ip) {
  if (ip.size() < 20 || test::HeaderLengthOf(ip) < 20 || test::HeaderLengthOf(ip) > ip.size()) return;
  ip[10] = ip[11] = 0;
  const auto sum = static_cast<uint16_t>(~test::ReferenceSum(ip.first(test::HeaderLengthOf(ip))));
  ip[10] = static_cast<uint8_t>(sum >> 8);
  ip[11] = static_cast<uint8_t>(sum);
}

// Whether all checksums are those that the sender computed, or none.
inline bool Right(std::span<const uint8_t> ip) {
  if (IsIpv6(ip)) return Right6(ip);
  if (!Whole(ip) || !test::HeaderSumRight(ip)) return false;
  const auto whole = ip.first(test::Get16(ip, 2));
  const uint32_t header = test::HeaderLengthOf(ip);
  // Bytes behind the datagram are in no sum.
  if (ip[9] == wire::kProtocolUdp && test::Get16(ip, header + 4) != whole.size() - header) return false;
  return test::L4SumRight(whole);
}

inline bool IsFragment(std::span<const uint8_t> ip) {
  return !IsIpv6(ip) && (test::Get16(ip, 6) & 0x3fff) != 0;
}

// The inner (or delivered) packet: exact in length, its header's checksum right. Fragments of what was cut
// are judged together.
inline void CheckPacket(std::span<const uint8_t> ip, uint32_t mtu, bool was_right) {
  REQUIRE_THAT(ip.size() <= mtu);
  if (IsIpv6(ip)) {
    REQUIRE_THAT(ip.size() >= 40);
    REQUIRE_THAT(test::Get16(ip, 4) == ip.size() - 40);
  } else {
    REQUIRE_THAT(ip.size() >= 20);
    REQUIRE_THAT(ip[0] >> 4 == 4);
    REQUIRE_THAT(test::HeaderLengthOf(ip) >= 20);
    REQUIRE_THAT(test::Get16(ip, 2) == ip.size());
    REQUIRE_THAT(test::HeaderLengthOf(ip) <= ip.size());
    REQUIRE_THAT(test::HeaderSumRight(ip));
  }
  if (was_right && !IsFragment(ip)) REQUIRE_THAT(Right(ip));
}

// In order, without gaps and overlaps: together the packet that was right before it was cut (RFC 791 3.2).
inline void CheckFragments(std::span<const Bytes> fragments) {
  Bytes whole;
  for (const Bytes& fragment : fragments) {
    const uint32_t header = test::HeaderLengthOf(fragment);
    const uint16_t field = test::Get16(fragment, 6);
    const bool last = &fragment == &fragments.back();
    REQUIRE_THAT(((field & wire::kMoreFragments) == 0) == last);
    REQUIRE_THAT((field & wire::kDontFragment) == 0);
    REQUIRE_THAT(last || (fragment.size() - header) % 8 == 0);
    const size_t at = whole.empty() ? 0 : whole.size() - test::HeaderLengthOf(whole);
    REQUIRE_THAT((field & wire::kFragmentOffset) * size_t{8} == at);
    whole.insert(whole.end(), fragment.begin() + (whole.empty() ? 0 : header), fragment.end());
  }
  test::Put16(whole, 2, static_cast<uint32_t>(whole.size()));
  test::Put16(whole, 6, 0);
  SealHeader(whole);
  REQUIRE_THAT(Right(whole));
}

// Each returns the outer TOS.
inline uint8_t CheckOuter(const Bytes& frame) {
  const auto outer = std::span<const uint8_t>(frame).subspan(kEthernet, 20);
  REQUIRE_THAT(outer[0] == 0x45);
  REQUIRE_THAT(test::Get16(outer, 2) == frame.size() - kEthernet);
  REQUIRE_THAT(test::Get16(outer, 6) == wire::kDontFragment);
  REQUIRE_THAT(outer[8] == 64 && outer[9] == wire::kProtocolEtherIp);
  REQUIRE_THAT(test::Get32(outer, 12) == kHere);
  const uint32_t peer = test::Get32(outer, 16);
  REQUIRE_THAT(peer == kPeerB || peer == kPeerC || peer == kPeerD);
  REQUIRE_THAT(test::HeaderSumRight(outer));
  return outer[1];
}

inline uint8_t CheckOuter6(const Bytes& frame) {
  const auto outer = std::span<const uint8_t>(frame).subspan(kEthernet, 40);
  REQUIRE_THAT(outer[0] >> 4 == 6);
  REQUIRE_THAT(test::Get16(outer, 4) == frame.size() - kEthernet - 40);
  REQUIRE_THAT(outer[6] == wire::kProtocolEtherIp && outer[7] == 64);
  REQUIRE_THAT(wire::LoadIpv6(&outer[8]) == kEnds6.local);
  REQUIRE_THAT(wire::LoadIpv6(&outer[24]) == kEnds6.remote);
  return static_cast<uint8_t>(test::Get16(outer, 0) >> 4);
}

inline bool IsOver6(const Bytes& frame) {
  return test::Get16(frame, 12) == wire::kEtherTypeIpv6;
}

inline bool IsTunnelled(const Bytes& frame) {
  REQUIRE_THAT(frame.size() >= kEthernet);
  return wire::MacToInteger(frame.data() + 6) == kUnderlayMac;
}

inline size_t OuterHeaders(const Bytes& frame) {
  if (!IsTunnelled(frame)) return 0;
  return IsOver6(frame) ? wire::kOuterHeaders6 : wire::kOuterHeaders;
}

// The packet that hosts see, of a frame that was sent; the Ethernet header before it says what it is.
inline std::span<const uint8_t> PacketOf(const Bytes& frame) {
  const size_t at = OuterHeaders(frame) + kEthernet;
  REQUIRE_THAT(frame.size() >= at + 20);
  const auto ip = std::span<const uint8_t>(frame).subspan(at);
  REQUIRE_THAT(test::Get16(frame, at - 2) == (IsIpv6(ip) ? wire::kEtherTypeIpv6 : wire::kEtherTypeIpv4));
  return ip;
}

inline uint8_t TosOf(std::span<const uint8_t> ip) {
  return IsIpv6(ip) ? static_cast<uint8_t>(test::Get16(ip, 0) >> 4) : ip[1];
}

// All headers before the inner packet. Returns the tunnel's MTU.
inline uint32_t CheckTunnel(const Bytes& frame) {
  const bool over6 = IsOver6(frame);
  const auto ip = PacketOf(frame);
  REQUIRE_THAT(wire::MacToInteger(frame.data()) == kNextHopMac);
  REQUIRE_THAT(over6 || test::Get16(frame, 12) == wire::kEtherTypeIpv4);
  REQUIRE_THAT(TosOf(ip) == (over6 ? CheckOuter6(frame) : CheckOuter(frame)));
  REQUIRE_THAT(test::Get16(frame, OuterHeaders(frame) - 2) == wire::kEtherIpFirstWord);
  return over6 ? kMtu6 : kMtu;
}

inline void CheckTunnelled(const Bytes& frame, bool was_right) {
  const uint32_t mtu = CheckTunnel(frame);
  const auto ip = PacketOf(frame);
  CheckPacket(ip, mtu, was_right);
  if (IsIpv6(ip)) {
    const auto source = wire::LoadIpv6(&ip[8]);
    REQUIRE_THAT(!forward::UnforwardableAddress6(source));
    REQUIRE_THAT(!Table().v6().IsProxied(source) && source != kGateway6);
    return;
  }
  const uint32_t source = test::Get32(ip, 12);
  // A router's ICMP error passes; the far gateway writes another source into it.
  const bool error = ip[9] == wire::kProtocolIcmp && (test::Get16(ip, 6) & wire::kFragmentOffset) == 0 &&
                     wire::IcmpIsError(ip[test::HeaderLengthOf(ip)]);
  REQUIRE_THAT(!Forbidden(source) && (error || !Table().IsReserved(source)));
  REQUIRE_THAT(!Table().IsProxied(source) && source != kGateway && !Table().IsPoolAddress(source));
  REQUIRE_THAT(!(ip[9] == wire::kProtocolEtherIp && Table().IsTunnelAddress(test::Get32(ip, 16))));
}

inline void CheckDelivered(const Bytes& frame, bool was_right) {
  REQUIRE_THAT(wire::MacToInteger(frame.data()) == kLocalMac);
  REQUIRE_THAT(wire::MacToInteger(frame.data() + 6) == kOverlayMac);
  const auto ip = PacketOf(frame);
  CheckPacket(ip, kOverlayMtu, was_right);
  // Only from what the VPC accepts from us, only to what is none of ours.
  if (IsIpv6(ip)) {
    const auto source = wire::LoadIpv6(&ip[8]);
    const auto destination = wire::LoadIpv6(&ip[24]);
    REQUIRE_THAT(Table().v6().IsProxied(source) || source == kGateway6);
    REQUIRE_THAT(!forward::UnforwardableAddress6(destination) && !Table().v6().IsReserved(destination));
    REQUIRE_THAT(!Table().v6().IsProxied(destination) && destination != kGateway6);
    return;
  }
  const uint32_t source = test::Get32(ip, 12);
  const uint32_t destination = test::Get32(ip, 16);
  REQUIRE_THAT(Table().IsProxied(source) || source == kGateway || Table().IsPoolAddress(source));
  REQUIRE_THAT(!Forbidden(destination) && !Table().IsReserved(destination));
  REQUIRE_THAT(!Table().IsProxied(destination) && destination != kGateway);
  REQUIRE_THAT(!Table().IsPoolAddress(destination));
  REQUIRE_THAT(!(ip[9] == wire::kProtocolEtherIp && Table().IsTunnelAddress(destination)));
}

// RFC 1191, RFC 1812 4.3.2: about a packet that was too big for `mtu` and not to be cut, to its sender.
inline void CheckTooBig4(std::span<const uint8_t> ip, uint32_t mtu) {
  REQUIRE_THAT(ip.size() <= 576 && ip.size() >= 20 + 8 + 28);
  REQUIRE_THAT(test::Get32(ip, 12) == kGateway && ip[9] == wire::kProtocolIcmp);
  REQUIRE_THAT(test::Get16(ip, 6) == wire::kDontFragment);
  REQUIRE_THAT(ip[20] == 3 && ip[21] == 4);
  REQUIRE_THAT(test::Get16(ip, 26) == mtu);
  const auto quote = ip.subspan(28);
  REQUIRE_THAT(test::Get32(quote, 12) == test::Get32(ip, 16));
  REQUIRE_THAT(test::Get16(quote, 2) > mtu);
  REQUIRE_THAT((test::Get16(quote, 6) & (wire::kDontFragment | wire::kFragmentOffset)) ==
               wire::kDontFragment);
  REQUIRE_THAT(test::HeaderSumRight(quote));
  if (quote[9] == wire::kProtocolIcmp) REQUIRE_THAT(!wire::IcmpIsError(quote[test::HeaderLengthOf(quote)]));
}

// RFC 4443 section 3.2.
inline void CheckTooBig6(std::span<const uint8_t> ip, uint32_t mtu) {
  REQUIRE_THAT(ip.size() == 1280);
  REQUIRE_THAT(wire::LoadIpv6(&ip[8]) == kGateway6 && ip[6] == 58);
  REQUIRE_THAT(ip[40] == 2 && ip[41] == 0 && test::Get32(ip, 44) == mtu);
  const auto quote = ip.subspan(48);
  REQUIRE_THAT(wire::LoadIpv6(&quote[8]) == wire::LoadIpv6(&ip[24]));
  REQUIRE_THAT(40u + test::Get16(quote, 4) > mtu);
  if (quote[6] == 58) REQUIRE_THAT(!wire::Icmp6IsError(quote[40]));
}

// An ICMP error of the gateway's own, out of where the packet that it is about came in.
inline void CheckReply(forward::Direction direction, const Bytes& frame) {
  const auto ip = PacketOf(frame);
  const bool tunnelled = direction == forward::Direction::decap;
  REQUIRE_THAT(IsTunnelled(frame) == tunnelled);
  CheckPacket(ip, tunnelled ? CheckTunnel(frame) : kOverlayMtu, true);
  const uint8_t* ethernet = frame.data() + OuterHeaders(frame);
  REQUIRE_THAT((ethernet[0] & 1) == 0);
  REQUIRE_THAT(wire::MacToInteger(ethernet + 6) == kOverlayMac);
  // Towards a local host it is the MTU of the tunnel that the packet would have taken.
  const uint32_t told = IsIpv6(ip) ? test::Get32(ip, 44) : test::Get16(ip, 26);
  REQUIRE_THAT(tunnelled ? told == kOverlayMtu : told == kMtu || told == kMtu6);
  if (IsIpv6(ip)) {
    CheckTooBig6(ip, told);
  } else {
    CheckTooBig4(ip, told);
  }
}

inline size_t LargestFrame(runtime::Event::Kind kind) {
  using runtime::Event;
  using runtime::WorkerEvents;
  switch (kind) {
    case Event::Kind::arp:
      return WorkerEvents::kLargestArp;
    case Event::Kind::neighbor_discovery:
      return WorkerEvents::kLargestNeighborDiscovery;
    case Event::Kind::keepalive:
      return WorkerEvents::kLargestKeepalive;
    default:
      return 0;
  }
}

}  // namespace vpc_conn::fuzz
