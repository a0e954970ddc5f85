#include "forward/packet.h"

#include <doctest/doctest.h>

#include <memory>

#include "packets.h"

namespace vpc_conn::forward {

using test::Bytes;

namespace {

std::optional<DropReason> ParseExactly(const Bytes& ip, Packet& packet) {
  // Exactly as large as the packet, so that the sanitizer sees a step beyond the end.
  const auto storage = std::make_unique<uint8_t[]>(ip.size());
  std::copy(ip.begin(), ip.end(), storage.get());
  wire::Cursor cursor({storage.get(), ip.size()});
  return ParsePacket(cursor, packet);
}

}  // namespace

TEST_SUITE("packet") {
  TEST_CASE("every field is where the RFC says, whatever the options") {
    std::mt19937 random(1);
    for (uint32_t options = 0; options <= 40; options += 4) {
      Bytes ip =
          test::MakePacket({.protocol = wire::kProtocolUdp, .options = options, .payload = 33}, random);
      const size_t length = ip.size();
      ip.resize(ip.size() + 5);  // Ethernet padding
      wire::Cursor cursor(ip);
      Packet packet;
      REQUIRE(!ParsePacket(cursor, packet));
      CHECK(packet.ip == ip.data());
      CHECK(packet.header_length == 20 + options);
      CHECK(packet.total_length == length);
      CHECK(packet.source == 0x0a00000a);
      CHECK(packet.destination == 0x0a000014);
      CHECK(packet.l4 == ip.data() + 20 + options);
      CHECK(packet.l4_length == 41);
      CHECK(packet.HasL4Header());
      CHECK(!packet.IsFragment());
      CHECK(cursor.left() == 41);
    }
  }

  TEST_CASE("no truncation is read beyond, and each is malformed") {
    std::mt19937 random(2);
    for (const uint8_t protocol : {wire::kProtocolTcp, wire::kProtocolUdp, wire::kProtocolIcmp}) {
      const Bytes whole = test::MakePacket({.protocol = protocol, .payload = 4}, random);
      for (size_t length = 0; length < whole.size(); length++) {
        Packet packet;
        CHECK(ParseExactly(Bytes(whole.begin(), whole.begin() + static_cast<long>(length)), packet));
        // The total length cut to match: what is left must hold the header of its protocol.
        if (length < 20) continue;
        Bytes cut(whole.begin(), whole.begin() + static_cast<long>(length));
        test::Put16(cut, 2, static_cast<uint32_t>(length));
        if (protocol == wire::kProtocolUdp && length >= 28)
          test::Put16(cut, 24, static_cast<uint32_t>(length - 20));
        const auto reason = ParseExactly(cut, packet);
        const size_t needed = protocol == wire::kProtocolTcp ? 40 : 28;
        CHECK((reason == DropReason::malformed_l4) == (length < needed));
      }
    }
  }

  TEST_CASE("contradictory lengths are malformed") {
    std::mt19937 random(3);
    const auto reason_after = [&](const test::PacketSpec& spec, auto&& edit) {
      Bytes ip = test::MakePacket(spec, random);
      edit(ip);
      Packet packet;
      return ParseExactly(ip, packet);
    };
    using enum DropReason;
    CHECK(reason_after({}, [](Bytes& ip) { ip[0] = 0x65; }) == malformed_ipv4);
    CHECK(reason_after({}, [](Bytes& ip) { ip[0] = 0x44; }) == malformed_ipv4);
    CHECK(reason_after({}, [](Bytes& ip) { test::Put16(ip, 2, 19); }) == malformed_ipv4);
    CHECK(reason_after({}, [](Bytes& ip) { test::Put16(ip, 2, 0); }) == malformed_ipv4);
    CHECK(reason_after({}, [](Bytes& ip) { test::Put16(ip, 2, static_cast<uint32_t>(ip.size()) + 1); }) ==
          malformed_ipv4);
    CHECK(reason_after({.payload = 0}, [](Bytes& ip) { ip[32] = 0x40; }) == malformed_l4);
    CHECK(reason_after({.payload = 0}, [](Bytes& ip) { ip[32] = 0x60; }) == malformed_l4);
    const test::PacketSpec udp{.protocol = wire::kProtocolUdp, .payload = 10};
    CHECK(reason_after(udp, [](Bytes& ip) { test::Put16(ip, 24, 7); }) == malformed_l4);
    CHECK(reason_after(udp, [](Bytes& ip) { test::Put16(ip, 24, 19); }) == malformed_l4);
    CHECK(!reason_after(udp, [](Bytes& ip) { test::Put16(ip, 24, 12); }));
    // A first fragment's UDP length is that of the whole datagram; later ones have no header at all.
    CHECK(!reason_after(udp, [](Bytes& ip) {
      test::Put16(ip, 6, wire::kMoreFragments);
      test::Put16(ip, 24, 3000);
    }));
    CHECK(!reason_after({.protocol = wire::kProtocolTcp, .fragment = 10, .payload = 0},
                        [](Bytes& ip) { ip.resize(24), test::Put16(ip, 2, 24); }));
  }

  TEST_CASE("which addresses are never forwarded") {
    using enum DropReason;
    CHECK(UnforwardableDestination(0xe0000001) == multicast);
    CHECK(UnforwardableDestination(0xefffffff) == multicast);
    CHECK(UnforwardableDestination(0xffffffff) == broadcast);
    CHECK(UnforwardableDestination(0xa9fea9fe) == link_local);
    CHECK(UnforwardableDestination(0x7f000001) == reserved_address);
    CHECK(UnforwardableDestination(0x00000000) == reserved_address);
    CHECK(UnforwardableDestination(0x00ffffff) == reserved_address);
    CHECK(UnforwardableDestination(0xf0000000) == reserved_address);
    for (const uint32_t fine :
         {0x01000000u, 0x0a000001u, 0xa9fd0001u, 0xa9ff0001u, 0x7e000001u, 0x80000001u, 0xdfffffffu}) {
      CHECK(!UnforwardableDestination(fine));
    }
  }
}

}  // namespace vpc_conn::forward
