#include "forward/segment.h"

#include <doctest/doctest.h>

#include <memory>

#include "packets.h"

namespace vpc_conn::forward {

using test::Bytes;

namespace {

class Collector : public Flusher {
 public:
  void Flush(OutBatch& batch) override {
    for (uint32_t i = 0; i < batch.count(); i++) {
      Bytes frame;
      for (uint32_t piece = 0; piece < batch.piece_count(i); piece++) {
        const auto* start = static_cast<const uint8_t*>(batch.pieces(i)[piece].base);
        frame.insert(frame.end(), start, start + batch.pieces(i)[piece].length);
      }
      REQUIRE(frame.size() == batch.length(i) + sizeof(wire::VirtioNetHeader));
      for (size_t at = 0; at < sizeof(wire::VirtioNetHeader); at++) REQUIRE(frame[at] == 0);
      frames.emplace_back(frame.begin() + sizeof(wire::VirtioNetHeader), frame.end());
    }
    flushes++;
    batch.Clear();
  }
  std::vector<Bytes> frames;
  int flushes = 0;
};

constexpr TunnelEnds6 kEnds6 = {{0x20010db8ffff0000, 1}, {0x20010db8ffff0000, 2}};

OuterHeader MakeOuter(bool over_ipv6 = false) {
  TableContents contents;
  contents.underlay_mac = {2, 0, 0, 0, 0, 1};
  contents.peers = {{.local_address = 0xc6120001, .address = 0xc6120002}};
  if (over_ipv6) contents.peers[0].ends6 = kEnds6;
  auto table = std::make_shared<const ForwardingTable>(contents);
  const Neighbor next_hop{.mac = 0x020000000002, .slot = 1};
  const NeighborRecord record{kScopeUnderlay, 0xc6120002, next_hop,
                              over_ipv6 ? std::optional(kEnds6.remote) : std::nullopt};
  return BuildSnapshot(1, table, {record})->outer.front();
}

constexpr uint32_t kFlowLabel = 0xabcde;

constexpr uint8_t kInnerEthernet[14] = {2, 0, 0, 0, 0, 3, 2, 0, 0, 0, 0, 4, 8, 0};

// The same as RFC 8200 has it.
Bytes CheckOuter6(const Bytes& frame, uint8_t tos) {
  const std::span<const uint8_t> bytes(frame);
  REQUIRE(frame.size() > 70);
  REQUIRE(Bytes(frame.begin(), frame.begin() + 14) == Bytes{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 0x86, 0xdd});
  const auto outer = bytes.subspan(14, 40);
  REQUIRE(test::Get32(outer, 0) == (6u << 28 | uint32_t{tos} << 20 | kFlowLabel));
  REQUIRE(test::Get16(outer, 4) == frame.size() - 14 - 40);
  REQUIRE(outer[6] == 97);
  REQUIRE(outer[7] == 64);
  Bytes addresses(32);
  test::Put32(addresses, 0, 0x20010db8);
  test::Put32(addresses, 4, 0xffff0000);
  addresses[15] = 1;
  std::copy_n(addresses.begin(), 15, addresses.begin() + 16);
  addresses[31] = 2;
  REQUIRE(std::equal(addresses.begin(), addresses.end(), outer.begin() + 8));
  REQUIRE(test::Get16(bytes, 54) == 0x3000);
  REQUIRE(std::equal(kInnerEthernet, kInnerEthernet + 14, frame.begin() + 56));
  return {frame.begin() + 70, frame.end()};
}

// Outer headers, byte by byte as RFC 791 and RFC 3378 have them; returns the inner packet.
Bytes CheckOuter(const Bytes& frame, uint8_t tos) {
  const std::span<const uint8_t> bytes(frame);
  if (test::Get16(bytes, 12) == 0x86dd) return CheckOuter6(frame, tos);
  REQUIRE(frame.size() > 50);
  REQUIRE(Bytes(frame.begin(), frame.begin() + 14) == Bytes{2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0});
  const auto outer = bytes.subspan(14, 20);
  REQUIRE(outer[0] == 0x45);
  REQUIRE(outer[1] == tos);
  REQUIRE(test::Get16(outer, 2) == frame.size() - 14);
  REQUIRE(test::Get16(outer, 6) == wire::kDontFragment);
  REQUIRE(outer[8] == 64);
  REQUIRE(outer[9] == 97);
  REQUIRE(test::Get32(outer, 12) == 0xc6120001);
  REQUIRE(test::Get32(outer, 16) == 0xc6120002);
  REQUIRE(test::HeaderSumRight(outer));
  REQUIRE(test::Get16(bytes, 34) == 0x3000);
  REQUIRE(std::equal(kInnerEthernet, kInnerEthernet + 14, frame.begin() + 36));
  return {frame.begin() + 50, frame.end()};
}

// One segment, made the slow way: cut, every field set, sealed.
Bytes ReferenceSegment(const Bytes& super, uint32_t index, uint32_t size, bool tcp) {
  const uint32_t header = test::HeaderLengthOf(super);
  const uint32_t l4 = tcp ? (super[header + 12] >> 4) * 4u : 8;
  const auto payload = static_cast<uint32_t>(super.size()) - header - l4;
  const uint32_t offset = index * size;
  const uint32_t length = std::min(size, payload - offset);
  Bytes ip(super.begin(), super.begin() + header + l4);
  ip.insert(ip.end(), super.begin() + header + l4 + offset, super.begin() + header + l4 + offset + length);
  test::Put16(ip, 2, static_cast<uint32_t>(ip.size()));
  test::Put16(ip, 4, (test::Get16(super, 4) + index) & 0xffff);
  if (tcp) {
    test::Put32(ip, header + 4, test::Get32(super, header + 4) + offset);
    if (index != 0) ip[header + 13] &= 0x7f;
    if (offset + length != payload) ip[header + 13] &= 0xf6;
  } else {
    test::Put16(ip, header + 4, 8 + length);
  }
  test::Seal(ip);
  return ip;
}

void CheckAgainstReference(const test::PacketSpec& spec, uint32_t size, std::mt19937& random) {
  Bytes super = test::MakePacket(spec, random);
  const bool tcp = spec.protocol == wire::kProtocolTcp;
  // The super-frame's own checksum is partial or stale: it must not be read.
  test::Put16(super, 20 + spec.options + test::L4ChecksumOffset(spec.protocol), random() & 0xffff);
  const OuterHeader outer = MakeOuter(random() % 2 == 0);
  Collector collector;
  const auto batch = std::make_unique<OutBatch>(collector);
  const Packet packet = test::Parse(super);
  const Encapsulation encapsulation{&outer, kInnerEthernet, kFlowLabel};
  const uint32_t count = tcp ? SegmentTcp(packet, encapsulation, size, 0, *batch)
                             : SegmentUdp(packet, encapsulation, size, 65535, *batch).packets;
  batch->Flush();
  REQUIRE(count == collector.frames.size());
  REQUIRE(count == std::max(1u, (spec.payload + size - 1) / size));
  for (uint32_t i = 0; i < count; i++) {
    const Bytes inner = CheckOuter(collector.frames[i], spec.tos);
    REQUIRE(inner == ReferenceSegment(super, i, size, tcp));
    REQUIRE(test::HeaderSumRight(inner));
    REQUIRE(test::L4SumRight(inner));
  }
}

// Segments as the kernel does, from what it is given: the outer headers in front of each, as they are.
class KernelDouble : public SuperFrameSender {
 public:
  explicit KernelDouble(std::vector<Bytes>& frames) : frames_(frames) {}

  bool Send(std::span<const uint8_t> outer, const uint8_t* head, uint32_t head_length, const uint8_t* payload,
            uint32_t payload_length, uint32_t segment_size) override {
    if (!works) return false;
    calls++;
    REQUIRE(payload_length % segment_size == 0);
    Bytes super(head + 14, head + head_length);
    super.insert(super.end(), payload, payload + payload_length);
    REQUIRE(test::Get16(super, 2) == super.size());
    REQUIRE(test::HeaderSumRight(super));
    // The field holds the pseudo-header's sum, so that the sum over the segment completes it.
    Bytes pseudo(12);
    std::copy(super.begin() + 12, super.begin() + 20, pseudo.begin());
    pseudo[9] = wire::kProtocolTcp;
    test::Put16(pseudo, 10, static_cast<uint32_t>(super.size()) - 20);
    REQUIRE(test::Get16(super, 36) == test::ReferenceSum(pseudo));
    for (uint32_t i = 0; i < payload_length / segment_size; i++) {
      Bytes frame(outer.begin(), outer.end());
      frame.insert(frame.end(), head, head + 14);
      const Bytes segment = ReferenceSegment(super, i, segment_size, true);
      frame.insert(frame.end(), segment.begin(), segment.end());
      frames_.push_back(frame);
    }
    return true;
  }
  bool works = true;
  int calls = 0;

 private:
  std::vector<Bytes>& frames_;
};

test::PacketSpec RandomSuperFrame(uint8_t protocol, std::mt19937& random) {
  test::PacketSpec spec;
  spec.protocol = protocol;
  spec.source = static_cast<uint32_t>(random());
  spec.destination = static_cast<uint32_t>(random());
  spec.options = random() % 4 == 0 ? static_cast<uint32_t>(random() % 11) * 4 : 0;
  spec.tcp_options = static_cast<uint32_t>(random() % 11) * 4;
  spec.tcp_flags = static_cast<uint8_t>(random());
  spec.tos = static_cast<uint8_t>(random());
  spec.id = static_cast<uint16_t>(random() % 2 == 0 ? 0xfffe : random());
  spec.fragment = static_cast<uint16_t>(random() % 2 == 0 ? wire::kDontFragment : 0);
  return spec;
}

}  // namespace

TEST_SUITE("segment") {
  TEST_CASE("TCP: random sizes, flags, options and odd payloads, against segments made one by one") {
    std::mt19937 random(1);
    for (int round = 0; round < 3000; round++) {
      test::PacketSpec spec = RandomSuperFrame(wire::kProtocolTcp, random);
      spec.payload = static_cast<uint32_t>(1 + random() % 6000);
      CheckAgainstReference(spec, static_cast<uint32_t>(1 + random() % 1500 + spec.payload / 300), random);
    }
  }

  TEST_CASE("UDP: random sizes, against datagrams made one by one") {
    std::mt19937 random(2);
    for (int round = 0; round < 3000; round++) {
      test::PacketSpec spec = RandomSuperFrame(wire::kProtocolUdp, random);
      spec.payload = static_cast<uint32_t>(1 + random() % 6000);
      CheckAgainstReference(spec, static_cast<uint32_t>(1 + random() % 1500 + spec.payload / 300), random);
    }
  }

  TEST_CASE("the largest super-frames there are, in more segments than one batch holds") {
    std::mt19937 random(3);
    for (const uint8_t protocol : {wire::kProtocolTcp, wire::kProtocolUdp}) {
      test::PacketSpec spec = RandomSuperFrame(protocol, random);
      spec.options = 40;
      spec.tcp_options = 40;
      spec.payload = 65535 - 60 - 60;
      CheckAgainstReference(spec, 1424, random);
      CheckAgainstReference(spec, 536, random);
    }
  }

  TEST_CASE("nothing to cut is one segment: a super-frame never vanishes") {
    std::mt19937 random(4);
    for (const uint8_t protocol : {wire::kProtocolTcp, wire::kProtocolUdp}) {
      test::PacketSpec spec = RandomSuperFrame(protocol, random);
      spec.payload = 0;
      CheckAgainstReference(spec, 1424, random);
    }
  }

  TEST_CASE("given to the kernel whole or not, the same segments leave, in order") {
    std::mt19937 random(6);
    int calls = 0;
    for (int round = 0; round < 600; round++) {
      test::PacketSpec spec = RandomSuperFrame(wire::kProtocolTcp, random);
      const auto size = static_cast<uint32_t>(400 + random() % 1100);
      spec.payload = random() % 2 == 0 ? size * static_cast<uint32_t>(1 + random() % 10)
                                       : static_cast<uint32_t>(1 + random() % 20000);
      Bytes super = test::MakePacket(spec, random);
      const OuterHeader outer = MakeOuter(random() % 2 == 0);
      const Encapsulation encapsulation{&outer, kInnerEthernet, kFlowLabel};
      const Packet packet = test::Parse(super);
      Collector collector;
      KernelDouble kernel(collector.frames);
      kernel.works = random() % 4 != 0;
      const auto batch = std::make_unique<OutBatch>(collector);
      // Something of the flow waits in the batch already.
      Bytes before = test::MakePacket({.payload = 1}, random);
      SegmentTcp(test::Parse(before), encapsulation, 1000, 0, *batch);
      const uint32_t count = SendSuperFrame(packet, encapsulation, size, &kernel, *batch);
      batch->Flush();
      calls += kernel.calls;
      REQUIRE(collector.frames.size() == count + 1);
      CHECK(CheckOuter(collector.frames[0], 0) == before);
      for (uint32_t i = 0; i < count; i++) {
        REQUIRE(CheckOuter(collector.frames[i + 1], spec.tos) == ReferenceSegment(super, i, size, true));
      }
    }
    CHECK(calls > 100);
  }

  TEST_CASE("a UDP segment whose checksum comes out as zero is sent with ones") {
    std::mt19937 random(5);
    test::PacketSpec spec{.protocol = wire::kProtocolUdp, .payload = 4};
    Bytes super = test::MakePacket(spec, random);
    // Each half gets the payload that makes its sum all ones.
    for (const size_t at : {28u, 30u}) {
      Bytes half(super.begin(), super.begin() + 28);
      half.resize(30);
      test::Put16(half, 2, 30);
      test::Put16(half, 24, 10);
      test::Put16(half, 26, 0);
      test::Put16(super, at, static_cast<uint16_t>(~test::L4Sum(half)));
    }
    const OuterHeader outer = MakeOuter();
    Collector collector;
    const auto batch = std::make_unique<OutBatch>(collector);
    CHECK(SegmentUdp(test::Parse(super), {&outer, kInnerEthernet}, 2, 1464, *batch).packets == 2);
    batch->Flush();
    for (const Bytes& frame : collector.frames) CHECK(test::Get16(frame, 50 + 26) == 0xffff);
  }
}

}  // namespace vpc_conn::forward
