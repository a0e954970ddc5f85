// What the coalescer sends is segmented again, and must give back what went in.
#include "forward/coalesce.h"

#include <doctest/doctest.h>

#include <deque>
#include <map>
#include <memory>
#include <tuple>

#include "packets.h"

namespace vpc_conn::forward {

using test::Bytes;

namespace {

constexpr uint8_t kEthernet[14] = {2, 0, 0, 0, 0, 10, 2, 0, 0, 0, 0, 5, 8, 0};

struct Sent {
  wire::VirtioNetHeader virtio;
  Bytes ip;
};

// Cuts what has a segment size as the kernel would, and completes partial checksums.
class Receiver : public Flusher {
 public:
  void Flush(OutBatch& batch) override {
    for (uint32_t i = 0; i < batch.count(); i++) {
      Bytes frame;
      for (uint32_t piece = 0; piece < batch.piece_count(i); piece++) {
        const auto* start = static_cast<const uint8_t*>(batch.pieces(i)[piece].base);
        frame.insert(frame.end(), start, start + batch.pieces(i)[piece].length);
      }
      REQUIRE(frame.size() == batch.length(i) + 10);
      Sent sent;
      std::memcpy(&sent.virtio, frame.data(), 10);
      REQUIRE(std::equal(kEthernet, kEthernet + 14, frame.begin() + 10));
      sent.ip.assign(frame.begin() + 24, frame.end());
      Receive(sent);
    }
    batch.Clear();
  }

  std::vector<Bytes> packets;
  int super_frames = 0;

 private:
  void Receive(const Sent& sent) {
    const Bytes& ip = sent.ip;
    REQUIRE(test::Get16(ip, 2) == ip.size());
    REQUIRE(test::HeaderSumRight(ip));
    if (sent.virtio.gso_type == 0) {
      REQUIRE(sent.virtio.flags == 0);
      packets.push_back(ip);
      return;
    }
    super_frames++;
    const uint32_t header = (ip[32] >> 4) * 4u;
    const bool cwr = (ip[33] & wire::kTcpCwr) != 0;
    REQUIRE(sent.virtio.flags == wire::kVirtioNeedsChecksum);
    REQUIRE(sent.virtio.gso_type == (cwr ? 0x81 : 0x01));
    REQUIRE(sent.virtio.hdr_len == 14 + 20 + header);
    REQUIRE(sent.virtio.csum_start == 34);
    REQUIRE(sent.virtio.csum_offset == 16);
    const uint32_t size = sent.virtio.gso_size;
    REQUIRE(size > 0);
    const auto payload = static_cast<uint32_t>(ip.size()) - 20 - header;
    REQUIRE(payload > size);
    uint16_t id = test::Get16(ip, 4);
    for (uint32_t offset = 0; offset < payload; offset += size) {
      const uint32_t length = std::min(size, payload - offset);
      Bytes segment(ip.begin(), ip.begin() + 20 + header);
      const auto start = ip.begin() + 20 + header + offset;
      segment.insert(segment.end(), start, start + length);
      test::Put16(segment, 2, static_cast<uint32_t>(segment.size()));
      test::Put16(segment, 4, id++);
      test::Put32(segment, 24, test::Get32(ip, 24) + offset);
      if (offset != 0) segment[33] &= 0x7f;
      if (offset + length != payload) segment[33] &= 0xf6;
      test::Seal(segment);
      packets.push_back(segment);
    }
  }
};

// One receive batch: frames live until it is flushed.
class Batch {
 public:
  Batch() : coalescer_(receiver, counters_), batch_(std::make_unique<OutBatch>(coalescer_)) {}

  void Add(const Bytes& ip) {
    // Room for the virtio header in front.
    Bytes& frame = frames_.emplace_back(10);
    frame.insert(frame.end(), kEthernet, kEthernet + 14);
    frame.insert(frame.end(), ip.begin(), ip.end());
    wire::Cursor cursor({frame.data() + 24, ip.size()});
    Packet packet;
    REQUIRE(!ParsePacket(cursor, packet));
    coalescer_.Add(packet, frame.data() + 10, false, *batch_);
  }
  void Flush() { batch_->Flush(); }
  uint64_t coalesced() const { return counters_.values[static_cast<size_t>(Counter::coalesced)].load(); }

  Receiver receiver;

 private:
  CounterBlock counters_;
  Coalescer coalescer_;
  std::unique_ptr<OutBatch> batch_;
  std::deque<Bytes> frames_;
};

using Flow = std::tuple<uint32_t, uint32_t, uint16_t, uint16_t>;
std::map<Flow, std::vector<Bytes>> ByFlow(const std::vector<Bytes>& packets, bool with_id) {
  std::map<Flow, std::vector<Bytes>> flows;
  for (Bytes ip : packets) {
    const uint32_t header = test::HeaderLengthOf(ip);
    const Flow flow{test::Get32(ip, 12), test::Get32(ip, 16), test::Get16(ip, header),
                    test::Get16(ip, header + 2)};
    // With DF the identification means nothing (RFC 6864 4.1) and may change.
    if (!with_id && (test::Get16(ip, 6) & wire::kDontFragment) != 0) {
      test::Put16(ip, 4, 0);
      test::Put16(ip, 10, 0);
      test::Put16(ip, 10, static_cast<uint16_t>(~test::ReferenceSum(std::span(ip).first(header))));
    }
    flows[flow].push_back(ip);
  }
  return flows;
}

struct Sender {
  test::PacketSpec spec;
  uint32_t sequence;

  Bytes Next(uint32_t payload, std::mt19937& random) {
    spec.payload = payload;
    Bytes ip = test::MakePacket(spec, random);
    test::Put32(ip, 24 + spec.options, sequence);
    test::Put32(ip, 28 + spec.options, 77);
    test::Put16(ip, 34 + spec.options, 500);
    test::Put16(ip, 38 + spec.options, 0);
    sequence += payload;
    spec.id++;
    test::Seal(ip);
    return ip;
  }
};

}  // namespace

TEST_SUITE("coalesce") {
  TEST_CASE("bulk data of one flow becomes one super-frame, which is the same segments again") {
    std::mt19937 random(1);
    Batch batch;
    Sender sender{{.tcp_options = 12}, 0xfffff000};
    std::vector<Bytes> sent;
    for (int i = 0; i < 44; i++) sent.push_back(sender.Next(1412, random));
    sent.push_back(sender.Next(100, random));
    for (const Bytes& ip : sent) batch.Add(ip);
    batch.Flush();
    CHECK(batch.receiver.super_frames == 1);
    CHECK(batch.coalesced() == 44);
    CHECK(batch.receiver.packets == sent);
  }

  TEST_CASE("a super-frame never exceeds 64 KiB nor the pieces that there are") {
    std::mt19937 random(2);
    for (const uint32_t size : {1u, 500u, 1448u, 1460u, 8000u}) {
      Batch batch;
      Sender sender{{}, 1};
      std::vector<Bytes> sent;
      for (int i = 0; i < 120; i++) sent.push_back(sender.Next(size, random));
      for (const Bytes& ip : sent) batch.Add(ip);
      batch.Flush();
      CHECK(batch.receiver.packets == sent);
      CHECK(batch.receiver.super_frames >= 2);
    }
  }

  TEST_CASE("whatever comes, each flow's packets leave as they came and in order (checklist 44)") {
    std::mt19937 random(3);
    uint64_t coalesced = 0;
    for (int round = 0; round < 500; round++) {
      Batch batch;
      // More flows than places.
      std::vector<Sender> senders(1 + random() % 12);
      for (size_t i = 0; i < senders.size(); i++) {
        senders[i].spec.source_port = static_cast<uint16_t>(1000 + i);
        senders[i].spec.fragment = static_cast<uint16_t>(random() % 2 == 0 ? wire::kDontFragment : 0);
        senders[i].spec.tcp_options = random() % 2 == 0 ? 12 : 0;
        senders[i].spec.id = static_cast<uint16_t>(random());
        senders[i].sequence = static_cast<uint32_t>(random());
      }
      std::vector<Bytes> sent;
      const size_t count = 1 + random() % 128;
      for (size_t i = 0; i < count; i++) {
        Sender& sender = senders[random() % senders.size()];
        sender.spec.tcp_flags = wire::kTcpAck;
        uint32_t payload = 1000;
        Bytes ip;
        // Mostly what joins; now and then each thing that must not.
        switch (random() % 40) {
          case 0:
            sender.sequence += random() % 2 == 0 ? 1 : static_cast<uint32_t>(-1000);
            break;
          case 1:
            sender.spec.tcp_flags = static_cast<uint8_t>(random());
            break;
          case 2:
            sender.spec.tos = static_cast<uint8_t>(random());
            break;
          case 3:
            sender.spec.id = static_cast<uint16_t>(random());
            break;
          case 4:
            payload = random() % 2 == 0 ? 0 : random() % 1400;
            break;
          case 5:
            sender.spec.tcp_flags |= wire::kTcpPsh;
            break;
          case 6:
            sender.spec.tcp_flags |= wire::kTcpFin;
            break;
          case 7:
            sender.spec.tcp_flags |= wire::kTcpCwr;
            break;
          case 8:
            sender.spec.options = random() % 2 == 0 ? 4 : 0;
            break;
          default:
            break;
        }
        ip = sender.Next(payload, random);
        const uint32_t l4 = test::HeaderLengthOf(ip);
        switch (random() % 60) {
          case 0:  // a corrupted payload: its wrong checksum must arrive
            ip.back() ^= 0x10;
            break;
          case 1:  // another window, acknowledgment, TTL, option, urgent pointer
            test::Put16(ip, l4 + 14, random() & 0xffff);
            test::Seal(ip);
            break;
          case 2:
            test::Put32(ip, l4 + 8, static_cast<uint32_t>(random()));
            test::Seal(ip);
            break;
          case 3:
            ip[8] = static_cast<uint8_t>(random());
            test::Seal(ip);
            break;
          case 4:
            if (sender.spec.tcp_options != 0) ip[l4 + 22] = static_cast<uint8_t>(random());
            test::Seal(ip);
            break;
          case 5:
            ip[l4 + 12] |= static_cast<uint8_t>(random() % 16);  // reserved bits
            test::Seal(ip);
            break;
          default:
            break;
        }
        sent.push_back(ip);
        batch.Add(ip);
      }
      batch.Flush();
      coalesced += batch.coalesced();
      REQUIRE(ByFlow(batch.receiver.packets, false) == ByFlow(sent, false));
    }
    CHECK(coalesced > 6000);
  }

  TEST_CASE("nothing is left over from one batch to the next") {
    std::mt19937 random(4);
    Batch batch;
    Sender sender{{}, 1};
    std::vector<Bytes> sent;
    for (int i = 0; i < 10; i++) {
      sent.push_back(sender.Next(1000, random));
      batch.Add(sent.back());
      batch.Flush();
    }
    CHECK(batch.receiver.super_frames == 0);
    CHECK(batch.receiver.packets == sent);
  }
}

}  // namespace vpc_conn::forward
