#include "forward/rewrite.h"

#include <doctest/doctest.h>

#include <memory>

#include "packets.h"

namespace vpc_conn::forward {

using test::Bytes;
using test::PacketSpec;

namespace {

constexpr uint8_t kProtocols[] = {wire::kProtocolTcp, wire::kProtocolUdp, wire::kProtocolIcmp};

PacketSpec RandomSpec(std::mt19937& random) {
  PacketSpec spec;
  spec.protocol = kProtocols[random() % 3];
  spec.source = static_cast<uint32_t>(random());
  spec.destination = static_cast<uint32_t>(random());
  spec.options = static_cast<uint32_t>(random() % 11) * 4;
  spec.source_port = static_cast<uint16_t>(random());
  spec.destination_port = static_cast<uint16_t>(random());
  spec.payload = random() % 60;
  return spec;
}

// A SYN whose options are exactly `options`, padded with end-of-list.
Bytes MakeSyn(std::vector<uint8_t> options, std::mt19937& random) {
  options.resize((options.size() + 3) / 4 * 4, wire::kTcpOptionEnd);
  Bytes ip = test::MakePacket(
      {.tcp_options = static_cast<uint32_t>(options.size()), .tcp_flags = wire::kTcpSyn, .payload = 3},
      random);
  std::copy(options.begin(), options.end(), ip.begin() + 40);
  test::Seal(ip);
  return ip;
}

}  // namespace

TEST_SUITE("rewrite") {
  TEST_CASE(
      "addresses, ports and ids change, and every checksum stays right to the very value (checklist 10)") {
    std::mt19937 random(1);
    const uint32_t edges[] = {0, 0xffffffff, 0xffff0000, 0x0000ffff};
    for (int round = 0; round < 20000; round++) {
      const PacketSpec spec = RandomSpec(random);
      Bytes ip = test::MakePacket(spec, random);
      Bytes expected = ip;
      Packet packet = test::Parse(ip);
      const Side side = random() % 2 == 0 ? Side::source : Side::destination;
      const uint32_t address = random() % 4 == 0 ? edges[random() % 4] : static_cast<uint32_t>(random());
      SetAddress(packet, side, address);
      test::Put32(expected, side == Side::source ? 12 : 16, address);
      const auto port = static_cast<uint16_t>(random() % 3 == 0 ? 0xffff * (random() % 2) : random());
      if (spec.protocol == wire::kProtocolIcmp) {
        SetIcmpId(packet, port);
        test::Put16(expected, 24 + spec.options, port);
      } else {
        SetPort(packet, side, port);
        test::Put16(expected, 20 + spec.options + (side == Side::source ? 0 : 2), port);
      }
      CHECK((side == Side::source ? packet.source : packet.destination) == address);
      test::Seal(expected);
      REQUIRE(ip == expected);
    }
  }

  TEST_CASE("UDP without a checksum gets none; one that comes out as zero is sent as ones") {
    std::mt19937 random(2);
    Bytes none = test::MakePacket({.protocol = wire::kProtocolUdp}, random);
    test::Put16(none, 26, 0);
    Packet packet = test::Parse(none);
    SetAddress(packet, Side::source, 0x01020304);
    SetPort(packet, Side::destination, 9);
    CHECK(test::Get16(none, 26) == 0);
    CHECK(test::HeaderSumRight(none));

    int zeros = 0;
    for (int round = 0; round < 200; round++) {
      Bytes ip = test::MakePacket({.protocol = wire::kProtocolUdp, .payload = 2}, random);
      // The port that makes the sum all ones, and with it the checksum zero.
      Bytes probe = ip;
      test::Put16(probe, 20, 0);
      test::Put16(probe, 26, 0);
      const auto port = static_cast<uint16_t>(~test::L4Sum(probe));
      packet = test::Parse(ip);
      SetPort(packet, Side::source, port);
      if (test::Get16(ip, 26) == 0xffff) zeros++;
      CHECK(test::Get16(ip, 26) != 0);
      CHECK(test::L4SumRight(ip));
    }
    CHECK(zeros == 200);
  }

  TEST_CASE("fragments: the first one's L4 checksum covers the datagram and follows, later ones have none") {
    std::mt19937 random(3);
    for (const uint8_t protocol : {wire::kProtocolTcp, wire::kProtocolUdp}) {
      const Bytes whole = test::MakePacket({.protocol = protocol, .fragment = 0, .payload = 900}, random);
      Bytes rewritten = whole;
      Packet packet = test::Parse(rewritten);
      SetAddress(packet, Side::source, 0x0a0000fe);

      Bytes first(whole.begin(), whole.begin() + 20 + 400);
      test::Put16(first, 2, 420);
      test::Put16(first, 6, wire::kMoreFragments);
      Bytes later(whole.begin(), whole.begin() + 20);
      later.insert(later.end(), whole.begin() + 420, whole.end());
      test::Put16(later, 2, static_cast<uint32_t>(later.size()));
      test::Put16(later, 6, 400 / 8);
      for (Bytes* fragment : {&first, &later}) {
        test::Put16(*fragment, 10, 0);
        test::Put16(*fragment, 10,
                    static_cast<uint16_t>(~test::ReferenceSum(std::span(*fragment).first(20))));
        packet = test::Parse(*fragment);
        SetAddress(packet, Side::source, 0x0a0000fe);
        CHECK(test::HeaderSumRight(*fragment));
      }
      Bytes joined(first.begin() + 20, first.end());
      joined.insert(joined.end(), later.begin() + 20, later.end());
      CHECK(joined == Bytes(rewritten.begin() + 20, rewritten.end()));
    }
  }

  TEST_CASE("the header alone: for super-frames, whose L4 checksums are made per segment") {
    std::mt19937 random(4);
    Bytes ip = test::MakePacket({}, random);
    const uint16_t l4 = test::Get16(ip, 36);
    Packet packet = test::Parse(ip);
    SetAddressInHeader(packet, Side::destination, 0x0a0000fe);
    CHECK(test::Get32(ip, 16) == 0x0a0000fe);
    CHECK(packet.destination == 0x0a0000fe);
    CHECK(test::Get16(ip, 36) == l4);
    CHECK(test::HeaderSumRight(ip));
  }

  TEST_CASE("the MSS option is lowered wherever it stands, at odd offsets, too") {
    std::mt19937 random(5);
    for (uint8_t before = 0; before <= 8; before++) {
      for (const uint16_t mss : {uint16_t{1460}, uint16_t{1425}, uint16_t{0xffff}, uint16_t{8961}}) {
        std::vector<uint8_t> options(before, wire::kTcpOptionNop);
        for (const int byte : {2, 4, mss >> 8, mss & 0xff}) options.push_back(static_cast<uint8_t>(byte));
        Bytes ip = MakeSyn(options, random);
        Bytes expected = ip;
        Packet packet = test::Parse(ip);
        CHECK(ClampMss(packet, 1424));
        // Bytewise: the option may stand at an odd offset.
        expected[42 + before] = 1424 >> 8;
        expected[43 + before] = 1424 & 0xff;
        test::Seal(expected);
        CHECK(ip == expected);
      }
    }
  }

  TEST_CASE("the MSS is never raised nor added, and other options are skipped by their length") {
    std::mt19937 random(6);
    const std::vector<std::vector<uint8_t>> untouched = {
        {},
        {2, 4, 5, 0x90},                        // 1424: just enough
        {2, 4, 0, 0},                           // smaller
        {0, 2, 4, 0xff, 0xff},                  // behind the end of the list
        {3, 3, 7, 1},                           // window scale alone
        {5, 6, 2, 4, 0xff, 0xff},               // looks like an MSS inside another option
        {4, 2, 2, 3, 0xff, 2, 4, 0xff},         // an MSS of a wrong length; what follows is cut
        {2, 5, 0xff, 0xff, 0xff},               // the same
        {8, 10, 0, 0, 0, 0, 0, 0, 0, 0, 2, 4},  // cut inside the MSS
    };
    for (const auto& options : untouched) {
      Bytes ip = MakeSyn(options, random);
      const Bytes before = ip;
      Packet packet = test::Parse(ip);
      CHECK(!ClampMss(packet, 1424));
      CHECK(ip == before);
    }
    Bytes ip = MakeSyn({4, 2, 3, 3, 7, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8, 2, 4, 0x23, 0x01}, random);
    Packet packet = test::Parse(ip);
    CHECK(ClampMss(packet, 1424));
    CHECK(test::Get16(ip, 40 + 17) == 1424);
    CHECK(test::L4SumRight(ip));
  }

  TEST_CASE("hostile options are survived: none reads or writes beyond the header") {
    std::mt19937 random(7);
    for (int round = 0; round < 50000; round++) {
      const size_t length = random() % 11 * 4;
      std::vector<uint8_t> options(length);
      for (uint8_t& byte : options) byte = static_cast<uint8_t>(random() % (random() % 2 == 0 ? 6 : 256));
      Bytes made = MakeSyn(options, random);
      made.resize(40 + length);
      test::Put16(made, 2, static_cast<uint32_t>(made.size()));
      test::Seal(made);
      const auto exact = std::make_unique<uint8_t[]>(made.size());
      std::copy(made.begin(), made.end(), exact.get());
      wire::Cursor cursor({exact.get(), made.size()});
      Packet packet;
      REQUIRE(!ParsePacket(cursor, packet));
      ClampMss(packet, 536);
      REQUIRE(test::L4SumRight({exact.get(), made.size()}));
    }
  }

  TEST_CASE("a partial checksum is completed to the full one (checklist 14)") {
    std::mt19937 random(8);
    for (int round = 0; round < 3000; round++) {
      PacketSpec spec = RandomSpec(random);
      spec.protocol = random() % 2 == 0 ? wire::kProtocolTcp : wire::kProtocolUdp;
      const Bytes ip = test::MakePacket(spec, random);
      const uint32_t l4 = 14 + 20 + spec.options;
      const auto offset = static_cast<uint32_t>(test::L4ChecksumOffset(spec.protocol));
      Bytes frame(14);
      frame.insert(frame.end(), ip.begin(), ip.end());
      // What a sender leaves in the field: the pseudo-header's sum, not complemented.
      Bytes pseudo(12);
      std::copy(ip.begin() + 12, ip.begin() + 20, pseudo.begin());
      pseudo[9] = spec.protocol;
      test::Put16(pseudo, 10, static_cast<uint32_t>(frame.size()) - l4);
      test::Put16(frame, l4 + offset, test::ReferenceSum(pseudo));
      REQUIRE(CompleteChecksum(frame.data(), static_cast<uint32_t>(frame.size()), l4, offset));
      REQUIRE(Bytes(frame.begin() + 14, frame.end()) == ip);
    }
  }

  TEST_CASE("a partial checksum that points outside the frame is refused, and nothing is written") {
    Bytes frame(60, 7);
    const Bytes before = frame;
    for (const auto& [start, offset] : std::initializer_list<std::pair<uint32_t, uint32_t>>{
             {60, 0}, {61, 0}, {65535, 16}, {59, 0}, {50, 9}, {0, 59}, {0, 65535}, {34, 65535}}) {
      CHECK(!CompleteChecksum(frame.data(), 60, start, offset));
      CHECK(frame == before);
    }
    CHECK(CompleteChecksum(frame.data(), 60, 58, 0));
  }

  TEST_CASE("ECN is set without touching DSCP, and the header's checksum follows") {
    std::mt19937 random(9);
    for (int tos = 0; tos < 256; tos++) {
      for (uint8_t ecn = 0; ecn < 4; ecn++) {
        Bytes ip = test::MakePacket({.tos = static_cast<uint8_t>(tos)}, random);
        Packet packet = test::Parse(ip);
        SetEcn(packet, ecn);
        CHECK(ip[1] == ((tos & 0xfc) | ecn));
        CHECK(test::HeaderSumRight(ip));
      }
    }
  }

  TEST_CASE("a wrong header checksum is mended, options included") {
    std::mt19937 random(10);
    Bytes ip = test::MakePacket({.options = 12}, random);
    const Bytes right = ip;
    test::Put16(ip, 10, 0xbad);
    Packet packet = test::Parse(ip);
    MendHeaderChecksum(packet);
    CHECK(ip == right);
  }

  TEST_CASE("quotes are rewritten at any length, with options in them, and both checksums stay right") {
    std::mt19937 random(11);
    int with_ports = 0;
    for (int round = 0; round < 20000; round++) {
      const PacketSpec spec = RandomSpec(random);
      const Bytes about = test::MakePacket(spec, random);
      const size_t header = 20 + spec.options;
      size_t length = header + random() % (about.size() - header + 1);
      // Half a checksum cannot be kept right.
      if (length == header + test::L4ChecksumOffset(spec.protocol) + 1) length--;
      Bytes error = test::MakeIcmpError(1, 2, about, length, random);
      const auto exact = std::make_unique<uint8_t[]>(error.size());
      std::copy(error.begin(), error.end(), exact.get());
      wire::Cursor cursor({exact.get(), error.size()});
      Packet packet;
      REQUIRE(!ParsePacket(cursor, packet));
      Quote quote;
      REQUIRE(!ParseQuote(packet, quote));
      const size_t there = length - header;
      REQUIRE(quote.has_ports == (there >= (spec.protocol == wire::kProtocolIcmp ? 6u : 4u)));
      const Side side = random() % 2 == 0 ? Side::source : Side::destination;
      if (quote.has_ports) {
        with_ports++;
        const bool source = side == Side::source || spec.protocol == wire::kProtocolIcmp;
        REQUIRE(QuotedPort(quote, side) == (source ? spec.source_port : spec.destination_port));
      }
      const auto address = static_cast<uint32_t>(random());
      std::optional<uint16_t> port;
      if (quote.has_ports && random() % 2 == 0) port = static_cast<uint16_t>(random());
      RewriteQuote(packet, quote, side, address, port);

      // Expected: the quoted packet as it would be if it had been sent so, cut at the same place; what a
      // computed checksum cannot be (the original UDP zero) does not occur here.
      Bytes changed = about;
      test::Put32(changed, side == Side::source ? 12 : 16, address);
      if (port) {
        const bool icmp = spec.protocol == wire::kProtocolIcmp;
        test::Put16(changed, header + (icmp ? 4 : side == Side::source ? 0 : 2), *port);
      }
      test::Seal(changed);
      const std::span<const uint8_t> result(exact.get(), error.size());
      REQUIRE(test::HeaderSumRight(result));
      REQUIRE(test::L4SumRight(result));
      REQUIRE(Bytes(result.begin() + 28, result.end()) ==
              Bytes(changed.begin(), changed.begin() + static_cast<long>(length)));
    }
    CHECK(with_ports > 5000);
  }

  TEST_CASE("quotes that cannot be trusted are refused (RFC 5508 REQ-3) (checklist 30)") {
    std::mt19937 random(12);
    const Bytes about = test::MakePacket({.protocol = wire::kProtocolUdp, .options = 8}, random);
    const auto reason_after = [&](size_t length, auto&& edit, bool seal) {
      Bytes error = test::MakeIcmpError(1, 2, about, length, random);
      edit(error);
      if (seal) test::Seal(error);
      Packet packet = test::Parse(error);
      Quote quote;
      return ParseQuote(packet, quote);
    };
    const auto nothing = [](Bytes&) {};
    CHECK(!reason_after(28 + 8, nothing, true));
    CHECK(reason_after(
              36, [](Bytes& error) { error[50] ^= 1; }, false) == DropReason::bad_icmp_checksum);
    // The quoted header's own checksum, then its version and length.
    CHECK(reason_after(
              36, [](Bytes& error) { error[28 + 12] ^= 1; }, true) == DropReason::bad_icmp_checksum);
    CHECK(reason_after(
              36, [](Bytes& error) { error[28] = 0x57; }, true) == DropReason::malformed_l4);
    CHECK(reason_after(
              36, [](Bytes& error) { error[28] = 0x44; }, true) == DropReason::malformed_l4);
    CHECK(reason_after(19, nothing, true) == DropReason::malformed_l4);
    CHECK(reason_after(27, nothing, true) == DropReason::malformed_l4);
    // The quoted L4 checksum is not validated.
    CHECK(!reason_after(
        about.size(), [](Bytes& error) { error[28 + 28 + 9] ^= 1; }, true));
  }
}

}  // namespace vpc_conn::forward
