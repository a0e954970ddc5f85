#include "wire/checksum.h"

#include <doctest/doctest.h>

#include <memory>
#include <random>

#include "packets.h"

namespace vpc_conn::wire {

using test::Bytes;
using test::ReferenceSum;

namespace {

// A Sum is in machine order, the reference in the wire's.
uint16_t WireOrder(uint16_t folded) {
  return __builtin_bswap16(folded);
}

}  // namespace

TEST_SUITE("checksum") {
  TEST_CASE("a sum is RFC 1071's, for every length up to 200 at every alignment") {
    std::mt19937 random(1);
    for (size_t length = 0; length <= 200; length++) {
      for (size_t alignment = 0; alignment < 8; alignment++) {
        // Exactly as large as needed, so that the sanitizer sees a step beyond the end.
        const auto storage = std::make_unique<uint8_t[]>(alignment + length);
        uint8_t* start = storage.get() + alignment;
        for (size_t i = 0; i < length; i++) start[i] = static_cast<uint8_t>(random());
        const uint16_t sum = WireOrder(Fold(AddBytes(0, start, length)));
        const uint16_t expected = ReferenceSum({start, length});
        // Both are zero only for zero bytes; 0 and 0xffff are the same number otherwise.
        CHECK_MESSAGE(sum % 0xffff == expected % 0xffff, "length ", length, " alignment ", alignment);
        CHECK((sum == 0) == (expected == 0));
      }
    }
  }

  TEST_CASE("a sum over pieces is the sum over the whole, if only the last piece is odd") {
    std::mt19937 random(2);
    for (int round = 0; round < 2000; round++) {
      Bytes bytes(random() % 400);
      for (uint8_t& byte : bytes) byte = static_cast<uint8_t>(random());
      const size_t cut = bytes.empty() ? 0 : (random() % (bytes.size() + 1)) & ~size_t{1};
      const Sum pieces = AddBytes(AddBytes(0, bytes.data(), cut), bytes.data() + cut, bytes.size() - cut);
      CHECK(Fold(pieces) == Fold(AddBytes(0, bytes.data(), bytes.size())));
    }
  }

  TEST_CASE("all ones do not overflow: 64 KiB of 0xff, and a sum that starts full") {
    const Bytes ones(65536, 0xff);
    CHECK(Fold(AddBytes(0, ones.data(), ones.size())) == 0xffff);
    CHECK(Fold(AddBytes(0, ones.data(), ones.size() - 1)) ==
          __builtin_bswap16(ReferenceSum(std::span(ones).first(ones.size() - 1))));
    CHECK(Fold(~Sum{0}) == 0xffff);
    CHECK(Fold(0xffff'ffff'0000'0000) == 0xffff);
    CHECK(Fold(0x1'0000'ffff) == 1);
    CHECK(Fold(0x1'ffff'ffff) == 1);
    CHECK(Fold(0) == 0);
  }

  TEST_CASE("the pseudo-header sum is that of its twelve bytes") {
    std::mt19937 random(3);
    for (int round = 0; round < 1000; round++) {
      Bytes pseudo(12);
      const auto source = static_cast<uint32_t>(random());
      const auto destination = static_cast<uint32_t>(random());
      const auto protocol = static_cast<uint8_t>(random());
      const auto length = static_cast<uint16_t>(random());
      test::Put32(pseudo, 0, source);
      test::Put32(pseudo, 4, destination);
      pseudo[9] = protocol;
      test::Put16(pseudo, 10, length);
      CHECK(Fold(PseudoHeader(source, destination, protocol, length)) ==
            Fold(AddBytes(0, pseudo.data(), pseudo.size())));
    }
  }

  TEST_CASE(
      "an incremental update equals the full sum, for words that make 0x0000 and 0xffff, too (checklist 9)") {
    std::mt19937 random(4);
    const uint16_t edges[] = {0x0000, 0x0001, 0x7fff, 0x8000, 0xfffe, 0xffff};
    const auto word = [&] {
      return random() % 2 == 0 ? edges[random() % std::size(edges)] : static_cast<uint16_t>(random());
    };
    for (int round = 0; round < 200000; round++) {
      Bytes header(20);
      for (size_t at = 0; at < header.size(); at += 2) test::Put16(header, at, word());
      test::Put16(header, 10, 0);
      // A header that starts with its version is never all zero; neither is any that carries a checksum.
      if (header[0] == 0) header[0] = 0x45;
      test::Put16(header, 10, static_cast<uint16_t>(~ReferenceSum(header)));
      const size_t at = (random() % 2 == 0) ? 12 : 16;
      const uint32_t before = test::Get32(header, at);
      const uint32_t after = static_cast<uint32_t>(word()) << 16 | word();
      test::Put32(header, at, after);
      UpdateChecksumAt(header.data() + 10, AddBe32(0, before), AddBe32(0, after));
      REQUIRE(ReferenceSum(header) == 0xffff);
      const uint16_t updated = test::Get16(header, 10);
      test::Put16(header, 10, 0);
      // RFC 1624 section 3: eqn 3 gives the very value that a full computation gives.
      REQUIRE(updated == static_cast<uint16_t>(~ReferenceSum(header)));
    }
  }

  TEST_CASE("RFC 1624 section 4: the example where RFC 1141 goes wrong (checklist 9)") {
    // HC = 0xdd2f, m = 0x5555 -> m' = 0x3285: HC' = 0x0000.
    CHECK(UpdateChecksum(__builtin_bswap16(0xdd2f), AddBe16(0, 0x5555), AddBe16(0, 0x3285)) == 0);
  }

  TEST_CASE("a header's checksum is judged right and wrong") {
    std::mt19937 random(5);
    for (uint32_t options = 0; options <= 40; options += 4) {
      Bytes ip = test::MakePacket({.options = options}, random);
      CHECK(Ipv4HeaderChecksumRight(ip.data(), 20 + options));
      for (size_t bit = 0; bit < (20 + options) * 8; bit++) {
        ip[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
        CHECK(!Ipv4HeaderChecksumRight(ip.data(), 20 + options));
        ip[bit / 8] ^= static_cast<uint8_t>(1 << bit % 8);
      }
    }
  }
}

}  // namespace vpc_conn::wire
