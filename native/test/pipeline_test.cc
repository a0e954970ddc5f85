// The pipelines' own part: what is held, for how long, and that every frame counts once. What becomes of
// frames otherwise is told by the golden cases (test/golden).
#include "forward/pipeline.h"

#include <doctest/doctest.h>

#include <cstring>

#include "forward/rewrite.h"
#include "packets.h"
#include "runtime/memory_pipeline.h"

namespace vpc_conn::forward {

using runtime::MemoryPipeline;
using test::Bytes;

namespace {

TableContents MakeTable() {
  TableContents contents;
  contents.overlay_mac = {2, 0, 0, 0, 0, 5};
  contents.overlay_address = 0x0a000005;
  contents.overlay_mtu = 1500;
  contents.underlay_mac = {2, 0, 0, 0, 1, 1};
  contents.peers = {{.local_address = 0xc6120001, .address = 0xc6120002, .inner_mtu = 1464}};
  contents.proxied = {{.address = 0x0a000014, .host = 0x0a000014},
                      {.address = 0x0a000015, .host = 0x0a000015}};
  return contents;
}

const NeighborRecord kNextHop = {kScopeUnderlay, 0xc6120002, {.mac = 0x020000000102, .slot = 1}};
NeighborRecord LocalHost(bool failed = false) {
  return {kScopeOverlay, 0x0a00000a, {.mac = 0x02000000000a, .slot = 2, .failed = failed}};
}

Bytes Frame(const Bytes& ip) {
  Bytes frame = {2, 0, 0, 0, 0, 5, 2, 0, 0, 0, 0, 0xa, 8, 0};
  frame.insert(frame.end(), ip.begin(), ip.end());
  return frame;
}

Bytes ToFarHost(std::mt19937& random, uint16_t id = 1, uint32_t payload = 20) {
  return Frame(test::MakePacket({.id = id, .payload = payload}, random));
}

// What the far gateway sends: outer headers round an inner frame.
Bytes FromPeer(const Bytes& inner_ip) {
  Bytes frame = {2, 0, 0, 0, 1, 1, 2, 0, 0, 0, 1, 2, 8, 0};
  Bytes outer(20);
  outer[0] = 0x45;
  test::Put16(outer, 2, static_cast<uint32_t>(20 + 2 + 14 + inner_ip.size()));
  test::Put16(outer, 6, wire::kDontFragment);
  outer[8] = 64;
  outer[9] = 97;
  test::Put32(outer, 12, 0xc6120002);
  test::Put32(outer, 16, 0xc6120001);
  test::Put16(outer, 10, static_cast<uint16_t>(~test::ReferenceSum(outer)));
  frame.insert(frame.end(), outer.begin(), outer.end());
  frame.insert(frame.end(), {0x30, 0x00});
  const Bytes inner = Frame(inner_ip);
  frame.insert(frame.end(), inner.begin(), inner.end());
  return frame;
}

// A decapsulating pipeline behind the XDP program that strips outer headers.
class Stripped : public Flusher, public EventSink {
 public:
  static constexpr uint32_t kMarker = 0x0a0b0c0d;

  Stripped() : pipeline_(Direction::decap, shared_, counters, *this, *this) {
    TableContents contents = MakeTable();
    contents.peers[0].id = 7;
    contents.proxied.push_back({.address = 0x0a000063, .host = 0x0a00000a});
    snapshot_ = BuildSnapshot(1, std::make_shared<const ForwardingTable>(contents), {LocalHost()});
    pipeline_.SetStripMarker(kMarker);
    pipeline_.SetHandover(&handover_);
    flows_.Begin(1);
  }

  // The inner packet behind a header that holds marker and peer id as source MAC.
  Verdict Process(const Bytes& ip, const wire::VirtioNetHeader& virtio, uint16_t peer_id = 7) {
    storage_.assign(kHeadroom, 0);
    const Bytes ethernet = {2, 0, 0, 0, 0, 9, 0x0a, 0x0b, 0x0c, 0x0d, 0, static_cast<uint8_t>(peer_id), 8, 0};
    storage_.insert(storage_.end(), ethernet.begin(), ethernet.end());
    storage_.insert(storage_.end(), ip.begin(), ip.end());
    ReceivedFrame frame;
    frame.data = storage_.data() + kHeadroom;
    frame.length = frame.wire_length = static_cast<uint32_t>(storage_.size() - kHeadroom);
    frame.virtio = virtio;
    const Verdict verdict = pipeline_.Process(frame, *snapshot_, 1);
    pipeline_.Flush();
    return verdict;
  }

  void Flush(OutBatch& batch) override {
    for (uint32_t i = 0; i < batch.count(); i++) {
      REQUIRE(batch.piece_count(i) == 1);
      const auto* start = static_cast<const uint8_t*>(batch.pieces(i)[0].base);
      std::memcpy(&sent_virtio, start, sizeof sent_virtio);
      sent.emplace_back(start + sizeof sent_virtio, start + batch.pieces(i)[0].length);
    }
    batch.Clear();
  }
  void Unresolved(uint16_t, uint32_t) override {}
  void PathReport(uint16_t, uint32_t, uint16_t, uint16_t) override {}
  void PathReport(uint16_t, const wire::Ipv6Address&, uint16_t, uint16_t) override {}
  void Heard(uint16_t, uint32_t) override {}
  void Arp(uint16_t, std::span<const uint8_t>) override {}
  bool Keepalive(uint16_t, std::span<const uint8_t>) override { return true; }
  void Unlisted(uint16_t, uint32_t) override {}
  void Unresolved(uint16_t, const wire::Ipv6Address&) override {}
  void Heard(uint16_t, const wire::Ipv6Address&) override {}
  void NeighborDiscovery(uint16_t, std::span<const uint8_t>) override {}
  uint64_t peer_packets() const {
    return counters.peers[7][static_cast<size_t>(PeerCounter::rx_packets)].load();
  }
  std::optional<uint64_t> learned(uint32_t host) const {
    const auto found = shared_.learned_macs.Find(7, host);
    return found ? std::optional(found->mac) : std::nullopt;
  }

  // The flow's entry, and how many of its frames are done with.
  const KnownFlow& entry(const Bytes& ip) const { return entries_[SlotOf(ip)]; }
  uint32_t done(const Bytes& ip) const { return counts_[SlotOf(ip)].done; }

  CounterBlock counters;
  std::vector<Bytes> sent;
  wire::VirtioNetHeader sent_virtio;

 private:
  static uint32_t SlotOf(const Bytes& ip) {
    uint32_t addresses[2];
    std::memcpy(addresses, ip.data() + 12, sizeof addresses);
    return FlowSlot(7, addresses[0], addresses[1]);
  }

  std::vector<KnownFlow> entries_ = std::vector<KnownFlow>(kKnownFlows);
  std::vector<HandoverCount> counts_ = std::vector<HandoverCount>(kKnownFlows);
  KnownFlows flows_{entries_};
  FlowHandover handover_{flows_, counts_};
  SharedState shared_;
  Pipeline pipeline_;
  std::unique_ptr<Snapshot> snapshot_;
  Bytes storage_;
};

uint64_t Count(const MemoryPipeline& pipeline, Counter counter) {
  return pipeline.counters().values[static_cast<size_t>(counter)].load();
}
uint64_t Count(const MemoryPipeline& pipeline, DropReason reason) {
  return pipeline.counters().values[kPlainCounters + static_cast<size_t>(reason)].load();
}

}  // namespace

TEST_SUITE("pipeline") {
  TEST_CASE("frames wait for the next hop in order, and leave when it is known") {
    std::mt19937 random(1);
    MemoryPipeline pipeline;
    pipeline.PublishTable(MakeTable());
    for (uint16_t id = 1; id <= 3; id++) {
      const auto result = pipeline.Process(Direction::encap, ToFarHost(random, id), {});
      CHECK(result.verdict.disposition == Disposition::held);
      CHECK(result.frames.empty());
      // Asked for once a second, however many frames wait.
      CHECK(result.events.size() == (id == 1 ? 1 : 0));
    }
    pipeline.PublishNeighbors({kNextHop});
    const auto result = pipeline.Process(Direction::encap, ToFarHost(random, 4), {});
    REQUIRE(result.frames.size() == 4);
    for (uint16_t id = 1; id <= 4; id++) CHECK(test::Get16(result.frames[id - 1u].bytes, 50 + 4) == id);
    CHECK(Count(pipeline, Counter::held) == 3);
    CHECK(Count(pipeline, Counter::hold_released) == 3);
    CHECK(Count(pipeline, Counter::forwarded) == 1);
    CHECK(Count(pipeline, Counter::rx_frames) == 4);
  }

  TEST_CASE("a held frame with a partial checksum is completed once, when it leaves") {
    std::mt19937 random(2);
    MemoryPipeline pipeline;
    pipeline.PublishTable(MakeTable());
    Bytes ip = test::MakePacket({}, random);
    const Bytes right = ip;
    Bytes pseudo(12);
    std::copy(ip.begin() + 12, ip.begin() + 20, pseudo.begin());
    pseudo[9] = wire::kProtocolTcp;
    test::Put16(pseudo, 10, static_cast<uint32_t>(ip.size()) - 20);
    test::Put16(ip, 36, test::ReferenceSum(pseudo));
    pipeline.Process(Direction::encap, Frame(ip),
                     {.flags = wire::kVirtioNeedsChecksum, .csum_start = 34, .csum_offset = 16});
    pipeline.SetTime(2);
    // Tried again in vain, then with success.
    pipeline.Process(Direction::encap, Bytes(3), {});
    pipeline.PublishNeighbors({kNextHop});
    const auto result = pipeline.Process(Direction::encap, Bytes(3), {});
    REQUIRE(result.frames.size() == 1);
    CHECK(Bytes(result.frames[0].bytes.begin() + 50, result.frames[0].bytes.end()) == right);
  }

  TEST_CASE("a frame waits for three seconds at most") {
    std::mt19937 random(3);
    MemoryPipeline pipeline;
    pipeline.PublishTable(MakeTable());
    pipeline.Process(Direction::encap, ToFarHost(random), {});
    pipeline.SetTime(1 + Pipeline::kHoldSeconds);
    pipeline.Process(Direction::encap, Bytes(3), {});
    CHECK(Count(pipeline, DropReason::neighbor_unresolved) == 0);
    pipeline.SetTime(2 + Pipeline::kHoldSeconds);
    pipeline.Process(Direction::encap, Bytes(3), {});
    CHECK(Count(pipeline, DropReason::neighbor_unresolved) == 1);
    pipeline.PublishNeighbors({kNextHop});
    CHECK(pipeline.Process(Direction::encap, Bytes(3), {}).frames.empty());
  }

  TEST_CASE("the oldest of too many gives way, large frames are not held") {
    std::mt19937 random(4);
    MemoryPipeline pipeline;
    pipeline.PublishTable(MakeTable());
    for (uint16_t id = 0; id < Pipeline::kHeldFrames + 2; id++) {
      pipeline.Process(Direction::encap, ToFarHost(random, id), {});
    }
    CHECK(Count(pipeline, DropReason::hold_full) == 2);
    const Bytes super = ToFarHost(random, 99, Pipeline::kHeldBytes);
    const auto refused =
        pipeline.Process(Direction::encap, super, {.gso_type = wire::kVirtioGsoTcp4, .gso_size = 1400});
    CHECK(refused.verdict.disposition == Disposition::dropped);
    CHECK(refused.verdict.reason == DropReason::neighbor_unresolved);
    pipeline.PublishNeighbors({kNextHop});
    const auto result = pipeline.Process(Direction::encap, Bytes(3), {});
    REQUIRE(result.frames.size() == Pipeline::kHeldFrames);
    CHECK(test::Get16(result.frames[0].bytes, 50 + 4) == 2);
  }

  TEST_CASE("a held super-frame leaves in segments") {
    std::mt19937 random(5);
    MemoryPipeline pipeline;
    pipeline.PublishTable(MakeTable());
    pipeline.Process(Direction::encap, ToFarHost(random, 1, 9000),
                     {.gso_type = wire::kVirtioGsoTcp4, .gso_size = 1448});
    pipeline.PublishNeighbors({kNextHop});
    const auto result = pipeline.Process(Direction::encap, Bytes(3), {});
    CHECK(result.frames.size() == 7);
    CHECK(Count(pipeline, Counter::rx_super_frames) == 1);
  }

  TEST_CASE("decapsulation: held, released, and received once for the peer's counters") {
    std::mt19937 random(6);
    MemoryPipeline pipeline;
    pipeline.PublishTable(MakeTable());
    const Bytes ip = test::MakePacket({.source = 0x0a000014, .destination = 0x0a00000a}, random);
    const auto held = pipeline.Process(Direction::decap, FromPeer(ip), {});
    CHECK(held.verdict.disposition == Disposition::held);
    REQUIRE(held.events.size() == 1);
    CHECK(held.events[0].scope == kScopeOverlay);
    CHECK(held.events[0].address == 0x0a00000a);
    pipeline.PublishNeighbors({LocalHost()});
    const auto result = pipeline.Process(Direction::decap, Bytes(3), {});
    REQUIRE(result.frames.size() == 1);
    CHECK(Bytes(result.frames[0].bytes.begin() + 14, result.frames[0].bytes.end()) == ip);
    CHECK(pipeline.counters().peers[0][static_cast<size_t>(PeerCounter::rx_packets)].load() == 1);
  }

  TEST_CASE("what waits for a host that is found dead counts as that") {
    std::mt19937 random(7);
    MemoryPipeline pipeline;
    pipeline.PublishTable(MakeTable());
    const Bytes ip = test::MakePacket({.source = 0x0a000014, .destination = 0x0a00000a}, random);
    pipeline.Process(Direction::decap, FromPeer(ip), {});
    pipeline.PublishNeighbors({LocalHost(true)});
    pipeline.Process(Direction::decap, Bytes(3), {});
    CHECK(Count(pipeline, DropReason::neighbor_failed) == 1);
    CHECK(Count(pipeline, Counter::hold_released) == 0);
  }

  TEST_CASE("what waits for a peer that the next table lacks is dropped, not sent elsewhere") {
    std::mt19937 random(8);
    MemoryPipeline pipeline;
    pipeline.PublishTable(MakeTable());
    pipeline.Process(Direction::encap, ToFarHost(random), {});
    TableContents other = MakeTable();
    other.proxied.clear();
    pipeline.PublishTable(other);
    pipeline.PublishNeighbors({kNextHop});
    CHECK(pipeline.Process(Direction::encap, Bytes(3), {}).frames.empty());
    CHECK(Count(pipeline, DropReason::not_proxied) == 1);
  }

  TEST_CASE("frames that XDP stripped: the peer and the inner source MAC stand in the MACs") {
    std::mt19937 random(10);
    Stripped gateway;
    Bytes ip = test::MakePacket({.source = 0x0a00000a, .destination = 0x0a00000a}, random);
    CHECK(gateway.Process(ip, {}).disposition == Disposition::forwarded);
    // The twin is 10.0.0.99 here.
    test::Put32(ip, 12, 0x0a000063);
    test::Seal(ip);
    REQUIRE(gateway.sent.size() == 1);
    CHECK(Bytes(gateway.sent[0].begin(), gateway.sent[0].begin() + 14) ==
          Bytes{2, 0, 0, 0, 0, 0xa, 2, 0, 0, 0, 0, 5, 8, 0});
    CHECK(Bytes(gateway.sent[0].begin() + 14, gateway.sent[0].end()) == ip);
    CHECK(gateway.sent_virtio.gso_type == 0);
    CHECK(gateway.peer_packets() == 1);
    CHECK(gateway.learned(0x0a00000a) == 0x020000000009);
    CHECK(gateway.Process(ip, {}, 8).reason == DropReason::unknown_peer);
  }

  TEST_CASE(
      "super-frames that the kernel merged keep their segments, with a checksum made for the new address") {
    std::mt19937 random(11);
    Stripped gateway;
    Bytes ip = test::MakePacket(
        {.source = 0x0a00000a, .destination = 0x0a00000a, .tcp_options = 12, .payload = 40000}, random);
    const wire::VirtioNetHeader merged = {.flags = wire::kVirtioNeedsChecksum,
                                          .gso_type = wire::kVirtioGsoTcp4,
                                          .hdr_len = 14 + 52,
                                          .gso_size = 1412,
                                          .csum_start = 34,
                                          .csum_offset = 16};
    CHECK(gateway.Process(ip, merged).disposition == Disposition::forwarded);
    REQUIRE(gateway.sent.size() == 1);
    CHECK(std::memcmp(&gateway.sent_virtio, &merged, sizeof merged) == 0);
    CHECK(gateway.peer_packets() == 29);
    Bytes sent(gateway.sent[0].begin() + 14, gateway.sent[0].end());
    test::Put32(ip, 12, 0x0a000063);
    test::Seal(ip);
    CHECK(test::HeaderSumRight(sent));
    // What the NIC would do: the pseudo-header's sum in the field completes to the right checksum.
    CHECK(CompleteChecksum(gateway.sent[0].data(), static_cast<uint32_t>(gateway.sent[0].size()), 34, 16));
    CHECK(Bytes(gateway.sent[0].begin() + 14, gateway.sent[0].end()) == ip);

    wire::VirtioNetHeader wrong = merged;
    wrong.gso_size = 0;
    CHECK(gateway.Process(ip, wrong).reason == DropReason::unsupported_gso);
    wrong.gso_size = 1449;
    test::Put32(ip, 12, 0x0a00000a);
    test::Seal(ip);
    CHECK(gateway.Process(ip, wrong).disposition == Disposition::forwarded);
    CHECK(gateway.sent_virtio.gso_size == 1448);  // cut smaller, to what the overlay carries
    wrong = merged;
    wrong.gso_type = wire::kVirtioGsoUdpL4;
    CHECK(gateway.Process(ip, wrong).reason == DropReason::unsupported_gso);
    CHECK(gateway
              .Process(test::MakePacket({.protocol = wire::kProtocolUdp,
                                         .source = 0x0a00000a,
                                         .destination = 0x0a00000a,
                                         .payload = 3000},
                                        random),
                       merged)
              .reason == DropReason::unsupported_gso);
  }

  TEST_CASE("the kernel may carry what only got new MACs, once the worker has sent it") {
    std::mt19937 random(12);
    const auto known = [&](test::PacketSpec spec, uint16_t peer_id = 7) {
      Stripped gateway;
      const Bytes ip = test::MakePacket(spec, random);
      gateway.Process(ip, {}, peer_id);
      CHECK(gateway.done(ip) == (peer_id == 7 ? 1 : 0));  // whatever became of it
      return gateway.entry(ip).generation == 1;
    };
    const test::PacketSpec plain = {.source = 0x0a000014, .destination = 0x0a00000a};
    const auto with = [&](auto change) {
      test::PacketSpec spec = plain;
      change(spec);
      return spec;
    };
    CHECK(known(plain));
    CHECK_FALSE(known(with([](auto& spec) { spec.tcp_flags |= wire::kTcpSyn; })));
    CHECK_FALSE(known(with([](auto& spec) { spec.source = 0x0a00000a; })));       // gets another address
    CHECK_FALSE(known(with([](auto& spec) { spec.source = 0x0a000033; })));       // unlisted
    CHECK_FALSE(known(with([](auto& spec) { spec.destination = 0x0a00000b; })));  // no neighbor yet
    CHECK_FALSE(known(with([](auto& spec) { spec.payload = 1600; })));            // too big
    CHECK_FALSE(known(with([](auto& spec) { spec.fragment = wire::kMoreFragments; })));
    CHECK_FALSE(known(plain, 8));
  }

  TEST_CASE("no length of a stripped frame is read beyond") {
    std::mt19937 random(12);
    const Bytes whole =
        test::MakePacket({.source = 0x0a00000a, .destination = 0x0a00000a, .payload = 30}, random);
    for (size_t length = 0; length < whole.size(); length++) {
      Stripped gateway;
      for (const uint8_t gso : {wire::kVirtioGsoNone, wire::kVirtioGsoTcp4}) {
        const Verdict verdict =
            gateway.Process(Bytes(whole.begin(), whole.begin() + static_cast<long>(length)),
                            {.flags = wire::kVirtioNeedsChecksum,
                             .gso_type = gso,
                             .hdr_len = 54,
                             .gso_size = 10,
                             .csum_start = 34,
                             .csum_offset = 16});
        CHECK(verdict.disposition == Disposition::dropped);
      }
    }
  }

  TEST_CASE("a partial checksum that does not lie in the L4 header or behind it is refused") {
    std::mt19937 random(9);
    MemoryPipeline pipeline;
    pipeline.PublishTable(MakeTable());
    pipeline.PublishNeighbors({kNextHop});
    // Hosts behind a virtio device choose these numbers themselves. Completed blindly, they would overwrite
    // lengths that have been checked already: here each byte pair of the IPv4 and TCP headers in turn.
    for (uint16_t at = 0; at < 14 + 40; at++) {
      for (const uint16_t start : {uint16_t{0}, uint16_t{14}, at}) {
        if (at < start || (start == 34 && at == 50)) continue;
        const auto result = pipeline.Process(Direction::encap, ToFarHost(random, 1, 10),
                                             {.flags = wire::kVirtioNeedsChecksum,
                                              .csum_start = start,
                                              .csum_offset = static_cast<uint16_t>(at - start)});
        CHECK_MESSAGE(result.verdict.disposition == Disposition::dropped, "start ", start, " field ", at);
      }
    }
    // A checksum of a packet inside this one (VXLAN of a host, say) is completed where it stands.
    const auto inside = pipeline.Process(
        Direction::encap, Frame(test::MakePacket({.protocol = wire::kProtocolUdp}, random)),
        {.flags = wire::kVirtioNeedsChecksum, .csum_start = 14 + 28 + 50, .csum_offset = 16});
    CHECK(inside.verdict.disposition == Disposition::forwarded);
  }
}

}  // namespace vpc_conn::forward
