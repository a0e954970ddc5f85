#include "forward/flow_label.h"

#include <doctest/doctest.h>

#include <set>

#include "packets.h"

namespace vpc_conn::forward {

using test::Bytes;

namespace {

OuterHeader Over(bool ipv6) {
  OuterHeader outer;
  if (ipv6) outer.length = wire::kOuterHeaders6;
  return outer;
}

uint32_t LabelOfPacket(const test::PacketSpec& spec, std::mt19937& random, bool ipv6 = true) {
  Bytes ip = test::MakePacket(spec, random);
  return FlowLabel(Over(ipv6), test::Parse(ip));
}

Packet6 PacketOf(wire::Ipv6Address source, wire::Ipv6Address destination, uint8_t protocol, Bytes& l4) {
  Packet6 packet;
  packet.source = source;
  packet.destination = destination;
  packet.protocol = protocol;
  packet.l4 = l4.data();
  packet.l4_length = static_cast<uint32_t>(l4.size());
  return packet;
}

}  // namespace

TEST_SUITE("flow_label") {
  TEST_CASE("all packets of a flow have the same label, whatever else is in them (RFC 6438 section 3)") {
    std::mt19937 random(1);
    for (int round = 0; round < 500; round++) {
      test::PacketSpec spec{.protocol = round % 2 == 0 ? wire::kProtocolTcp : wire::kProtocolUdp,
                            .source = static_cast<uint32_t>(random()),
                            .destination = static_cast<uint32_t>(random()),
                            .source_port = static_cast<uint16_t>(random()),
                            .destination_port = static_cast<uint16_t>(random())};
      const uint32_t label = LabelOfPacket(spec, random);
      CHECK(label != kNoFlow);
      CHECK(label <= 0xfffff);
      spec.tos = static_cast<uint8_t>(random());
      spec.id = static_cast<uint16_t>(random());
      spec.tcp_flags = static_cast<uint8_t>(random());
      spec.options = random() % 11 * 4;
      spec.payload = random() % 1000;
      CHECK(LabelOfPacket(spec, random) == label);
      CHECK(LabelOfPacket(spec, random, false) == kNoFlow);
    }
  }

  TEST_CASE("flows differ: thousand ports, thousand hosts, two protocols") {
    std::mt19937 random(2);
    std::set<uint32_t> labels;
    for (uint32_t i = 0; i < 1000; i++) {
      labels.insert(LabelOfPacket({.source_port = static_cast<uint16_t>(30000 + i)}, random));
      labels.insert(LabelOfPacket({.destination = 0x0a010000 + i}, random));
      labels.insert(
          LabelOfPacket({.protocol = wire::kProtocolUdp, .source_port = static_cast<uint16_t>(i)}, random));
    }
    CHECK(labels.size() > 2990);  // of a million
  }

  TEST_CASE("all fragments of a packet have one label: the ports stand in the first alone") {
    std::mt19937 random(3);
    test::PacketSpec spec{.protocol = wire::kProtocolUdp, .fragment = wire::kMoreFragments};
    const uint32_t first = LabelOfPacket(spec, random);
    spec.fragment = 64 / 8;
    spec.source_port = 7;  // what stands there is payload
    CHECK(LabelOfPacket(spec, random) == first);
    spec.source = 0x0a000063;
    CHECK(LabelOfPacket(spec, random) != first);
  }

  TEST_CASE("IPv6 inside: addresses, protocol and ports, as for IPv4") {
    const wire::Ipv6Address one{0x20010db800000000, 1};
    const wire::Ipv6Address other{0x20010db800000000, 2};
    Bytes ports(20);
    test::Put32(ports, 0, 0x9c4001bb);
    const auto label = [&](wire::Ipv6Address from, wire::Ipv6Address to, uint8_t protocol) {
      return FlowLabel(Over(true), PacketOf(from, to, protocol, ports));
    };
    const uint32_t tcp = label(one, other, wire::kProtocolTcp);
    CHECK(tcp == label(one, other, wire::kProtocolTcp));
    CHECK(tcp != label(other, one, wire::kProtocolTcp));
    CHECK(tcp != label(one, other, wire::kProtocolUdp));
    const uint32_t icmp = label(one, other, wire::kNextHeaderIcmp6);
    test::Put32(ports, 0, 0x9c4101bb);
    CHECK(tcp != label(one, other, wire::kProtocolTcp));
    CHECK(icmp == label(one, other, wire::kNextHeaderIcmp6));
    Packet6 fragment = PacketOf(one, other, wire::kProtocolUdp, ports);
    fragment.fragment = wire::kIpv6MoreFragments;
    const uint32_t first = FlowLabel(Over(true), fragment);
    fragment.fragment = 64;
    test::Put32(ports, 0, 0);
    CHECK(FlowLabel(Over(true), fragment) == first);
    CHECK(FlowLabel(Over(false), fragment) == kNoFlow);
  }
}

}  // namespace vpc_conn::forward
