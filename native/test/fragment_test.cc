#include "forward/fragment.h"

#include <doctest/doctest.h>

#include <memory>

#include "packets.h"

namespace vpc_conn::forward {

using test::Bytes;

namespace {

constexpr uint8_t kEthernet[14] = {2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 8, 0};

class Collector : public Flusher {
 public:
  void Flush(OutBatch& batch) override {
    for (uint32_t i = 0; i < batch.count(); i++) {
      Bytes frame;
      for (uint32_t piece = 0; piece < batch.piece_count(i); piece++) {
        const auto* start = static_cast<const uint8_t*>(batch.pieces(i)[piece].base);
        frame.insert(frame.end(), start, start + batch.pieces(i)[piece].length);
      }
      REQUIRE(std::equal(kEthernet, kEthernet + 14, frame.begin() + sizeof(wire::VirtioNetHeader)));
      packets.emplace_back(frame.begin() + sizeof(wire::VirtioNetHeader) + 14, frame.end());
    }
    batch.Clear();
  }
  std::vector<Bytes> packets;
};

std::vector<Bytes> Cut(Bytes& whole, uint32_t mtu) {
  Collector collector;
  const auto batch = std::make_unique<OutBatch>(collector);
  const Sent sent = SendFragments(AsFragmentable(test::Parse(whole)), mtu, {nullptr, kEthernet}, *batch);
  batch->Flush();
  REQUIRE(sent.packets == collector.packets.size());
  uint64_t bytes = 0;
  for (const Bytes& packet : collector.packets) bytes += 14 + packet.size();
  REQUIRE(sent.bytes == bytes);
  return collector.packets;
}

uint32_t OffsetOf(const Bytes& packet) {
  return (test::Get16(packet, 6) & wire::kFragmentOffset) * 8u;
}

// RFC 791 section 3.2, as its reassembly procedure has it: bodies by offset.
Bytes Reassembled(const std::vector<Bytes>& fragments, uint32_t base) {
  Bytes body;
  for (const Bytes& fragment : fragments) {
    REQUIRE(OffsetOf(fragment) - base == body.size());
    body.insert(body.end(), fragment.begin() + test::HeaderLengthOf(fragment), fragment.end());
  }
  return body;
}

}  // namespace

TEST_SUITE("fragment") {
  TEST_CASE("checklist 42: fragments of any packet at any MTU fit, are in order, and give it back") {
    std::mt19937 random(21);
    for (int round = 0; round < 5000; round++) {
      test::PacketSpec spec{.protocol = wire::kProtocolUdp, .payload = 0};
      spec.options = random() % 11 * 4;
      const uint32_t mtu = 68 + random() % 2000;
      spec.payload = random() % 9000;
      spec.tos = static_cast<uint8_t>(random());
      spec.id = static_cast<uint16_t>(random());
      spec.fragment = 0;
      Bytes whole = test::MakePacket(spec, random);
      if (whole.size() <= mtu) continue;
      // A part of something larger, now and then; the length in its UDP header is that of the whole then.
      const auto base = static_cast<uint16_t>(random() % 3 == 0 ? random() % 1000 : 0);
      const bool more = random() % 3 == 0;
      if (more) whole.resize(whole.size() - (whole.size() - test::HeaderLengthOf(whole)) % 8);
      test::Put16(whole, 2, static_cast<uint32_t>(whole.size()));
      test::Put16(whole, 6, static_cast<uint32_t>(base | (more ? wire::kMoreFragments : 0)));
      if (whole.size() <= mtu) continue;
      const Bytes before = whole;
      const std::vector<Bytes> cut = Cut(whole, mtu);
      CHECK(whole == before);
      REQUIRE(Reassembled(cut, base * 8u) == Bytes(whole.begin() + 20 + spec.options, whole.end()));
      for (size_t i = 0; i < cut.size(); i++) {
        const Bytes& fragment = cut[i];
        const bool last = i + 1 == cut.size();
        REQUIRE(fragment.size() <= mtu);
        REQUIRE(test::Get16(fragment, 2) == fragment.size());
        REQUIRE(test::HeaderSumRight(fragment));
        REQUIRE(test::Get16(fragment, 4) == spec.id);
        REQUIRE(fragment[1] == spec.tos);
        REQUIRE(((test::Get16(fragment, 6) & wire::kMoreFragments) != 0) == (!last || more));
        if (!last) REQUIRE((fragment.size() - test::HeaderLengthOf(fragment)) % 8 == 0);
        // Only no-operations among the options: none is copied.
        REQUIRE(test::HeaderLengthOf(fragment) == (i == 0 ? 20 + spec.options : 20));
      }
    }
  }

  TEST_CASE("checklist 42: options with the copy bit go into every fragment, hostile ones into none") {
    std::mt19937 random(22);
    for (int round = 0; round < 20000; round++) {
      test::PacketSpec spec{.protocol = wire::kProtocolUdp, .options = 40, .payload = 300};
      spec.fragment = 0;
      Bytes whole = test::MakePacket(spec, random);
      for (size_t i = 20; i < 60; i++)
        whole[i] = static_cast<uint8_t>(random() % (random() % 2 == 0 ? 5 : 256));
      Bytes wanted;
      for (size_t at = 20; at < 60 && whole[at] != 0;) {
        if (whole[at] == 1) {
          at++;
          continue;
        }
        const size_t length = at + 1 < 60 ? whole[at + 1] : 0;
        if (length < 2 || at + length > 60) break;
        if (whole[at] >= 128) wanted.insert(wanted.end(), whole.begin() + at, whole.begin() + at + length);
        at += length;
      }
      wanted.resize((wanted.size() + 3) / 4 * 4);
      const std::vector<Bytes> cut = Cut(whole, 128);
      REQUIRE(Bytes(cut[0].begin() + 20, cut[0].begin() + 60) ==
              Bytes(whole.begin() + 20, whole.begin() + 60));
      for (size_t i = 1; i < cut.size(); i++) {
        REQUIRE(test::HeaderLengthOf(cut[i]) == 20 + wanted.size());
        REQUIRE(Bytes(cut[i].begin() + 20, cut[i].begin() + 20 + wanted.size()) == wanted);
      }
    }
  }
}

}  // namespace vpc_conn::forward
