// Nanoseconds per frame of the pieces that the fast path is made of, and of whole frames through both
// pipelines: the workers' own code on frames in memory, without a system call.
//
//   micro [ROUNDS]             one line of JSON for each: { name, title, values }, one value (ns) for each
//                              round
//   micro --only NAME UNITS    does that piece so many times, for a profiler to watch
//
// Each value is the median of many short batches on one CPU, so that an interrupt or a neighbor spoils a
// batch and not the figure; rounds go over all pieces in turn.
#include <sched.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <span>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "forward/pipeline.h"
#include "forward/rewrite.h"
#include "test/packets.h"

namespace vpc_conn {
namespace {

using forward::Direction;
using test::Bytes;
using test::PacketSpec;

constexpr uint32_t kLocalHost = 0x0a00000a;    // 10.0.0.10
constexpr uint32_t kFarHost = 0x0a000014;      // 10.0.0.20
constexpr uint32_t kGateway = 0x0a000005;      // 10.0.0.5
constexpr uint32_t kLocalTunnel = 0xc6120001;  // 198.18.0.1
constexpr uint32_t kFarTunnel = 0xc6120002;    // 198.18.0.2
constexpr wire::Mac kOverlayMac = {2, 0, 0, 1, 0, 1};
constexpr wire::Mac kUnderlayMac = {2, 0, 0, 0, 0, 1};
constexpr uint64_t kHostMac = 0x020000010010;
constexpr uint64_t kPeerMac = 0x020000000002;

// Frames that wait in a ring together: as many as the workers take at once.
constexpr uint32_t kRing = 32;
// Headers that a pipeline may change; put back before each frame, which is part of the figures.
constexpr uint32_t kRestored = 128;

template <typename T>
void Keep(const T& value) {
  asm volatile("" : : "r,m"(value) : "memory");
}

double NowNanoseconds() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

double Median(std::vector<double> values) {
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

// Does the piece `units` times.
using Work = std::function<void(uint32_t units)>;

struct Piece {
  std::string name;
  std::string title;
  Work work;
  uint32_t units = 0;  // per batch
  std::vector<double> values;
};

constexpr double kBatchNanoseconds = 200'000;
constexpr int kBatches = 101;

double TimeOf(const Work& work, uint32_t units) {
  const double start = NowNanoseconds();
  work(units);
  return NowNanoseconds() - start;
}

// Batches long enough for the clock, short enough to fit between two ticks.
void Calibrate(Piece& piece) {
  piece.units = kRing;
  while (TimeOf(piece.work, piece.units) < kBatchNanoseconds && piece.units < 1U << 24) piece.units *= 2;
}

void Measure(Piece& piece) {
  std::vector<double> batches;
  for (int i = 0; i < kBatches; i++) batches.push_back(TimeOf(piece.work, piece.units) / piece.units);
  piece.values.push_back(Median(std::move(batches)));
}

// The CPU on which this runs from now on: the last that is allowed, the first gets most interrupts.
void Pin() {
  cpu_set_t allowed;
  if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
  for (int cpu = CPU_SETSIZE - 1; cpu >= 0; cpu--) {
    if (!CPU_ISSET(cpu, &allowed)) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cpu, &one);
    sched_setaffinity(0, sizeof one, &one);
    return;
  }
}

class IgnoredEvents : public forward::EventSink {
 public:
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
};

class DiscardingFlusher : public forward::Flusher {
 public:
  void Flush(forward::OutBatch& batch) override {
    frames += batch.count();
    batch.Clear();
  }
  uint64_t frames = 0;
};

// Far hosts 10.1.0.1 onwards beside the one that is used.
forward::TableContents Table(uint32_t addresses) {
  forward::TableContents contents;
  contents.overlay_mac = kOverlayMac;
  contents.overlay_address = kGateway;
  contents.overlay_mtu = 1500;
  contents.underlay_mac = kUnderlayMac;
  forward::Peer peer;
  peer.local_address = kLocalTunnel;
  peer.address = kFarTunnel;
  peer.inner_mtu = 1464;
  contents.peers.push_back(peer);
  for (uint32_t i = 0; i < addresses; i++) {
    const uint32_t address = i == 0 ? kFarHost : 0x0a010000 + i;
    contents.proxied.push_back({.address = address, .host = address, .prefix_length = 32, .peer = 0});
  }
  return contents;
}

std::unique_ptr<forward::Snapshot> Snapshot(uint32_t addresses) {
  return forward::BuildSnapshot(
      1, std::make_shared<const forward::ForwardingTable>(Table(addresses)),
      {{.scope = forward::kScopeOverlay, .address = kLocalHost, .neighbor = {.mac = kHostMac, .slot = 0}},
       {.scope = forward::kScopeUnderlay, .address = kFarTunnel, .neighbor = {.mac = kPeerMac, .slot = 1}}});
}

// A ring's worth of frames with headroom, each put back into its first state before it is used again.
class Ring {
 public:
  explicit Ring(const std::vector<Bytes>& frames) : frames_(frames) {
    for (const Bytes& frame : frames_) {
      slots_.emplace_back(forward::kHeadroom + frame.size());
      std::copy(frame.begin(), frame.end(), slots_.back().begin() + forward::kHeadroom);
    }
  }

  forward::ReceivedFrame Take(uint32_t i) {
    const Bytes& frame = frames_[i % frames_.size()];
    Bytes& slot = slots_[i % frames_.size()];
    std::memcpy(slot.data() + forward::kHeadroom, frame.data(), std::min<size_t>(frame.size(), kRestored));
    forward::ReceivedFrame received;
    received.data = slot.data() + forward::kHeadroom;
    received.length = static_cast<uint32_t>(frame.size());
    received.wire_length = received.length;
    return received;
  }

 private:
  const std::vector<Bytes> frames_;
  std::vector<Bytes> slots_;
};

Bytes WithEthernet(const Bytes& ip, const wire::Mac& destination) {
  Bytes frame(wire::kEthernetHeader + ip.size());
  std::copy(destination.begin(), destination.end(), frame.begin());
  frame[6] = 2;
  frame[11] = 0x77;
  test::Put16(frame, 12, wire::kEtherTypeIpv4);
  std::copy(ip.begin(), ip.end(), frame.begin() + wire::kEthernetHeader);
  return frame;
}

// As the peer sends it.
Bytes Encapsulated(const Bytes& inner) {
  Bytes ip(wire::kIpv4Header + wire::kEtherIpHeader + inner.size());
  ip[0] = 0x45;
  test::Put16(ip, 2, static_cast<uint32_t>(ip.size()));
  test::Put16(ip, 6, wire::kDontFragment);
  ip[8] = 64;
  ip[9] = wire::kProtocolEtherIp;
  test::Put32(ip, 12, kFarTunnel);
  test::Put32(ip, 16, kLocalTunnel);
  test::Put16(ip, 10, static_cast<uint16_t>(~test::ReferenceSum(std::span(ip).first(wire::kIpv4Header))));
  test::Put16(ip, wire::kIpv4Header, wire::kEtherIpFirstWord);
  std::copy(inner.begin(), inner.end(), ip.begin() + wire::kIpv4Header + wire::kEtherIpHeader);
  return WithEthernet(ip, kUnderlayMac);
}

// UDP frames of so many masqueraded flows, 64 local endpoints for each port, through one direction in batches
// as the workers take them. Stays where it is.
class MasqueradeBench {
 public:
  // Both directions go over the same flows.
  struct Flows {
    forward::SharedState shared;
    std::vector<std::pair<forward::FarEndpoint, forward::NearEndpoint>> ends;
    std::vector<uint16_t> ports;  // that stand for the far endpoints
    std::unique_ptr<forward::Snapshot> snapshot;
  };

  static std::shared_ptr<Flows> Open(uint32_t count) {
    auto flows = std::make_shared<Flows>();
    forward::TableContents contents = Table(0);
    contents.peers[0].masquerade_unlisted = true;
    contents.masquerade_first_port = 1024;
    contents.masquerade_last_port = 65535;
    contents.masquerade_addresses = {kGateway};
    contents.masquerade_flows = 1'200'000;
    flows->shared.bindings.Configure({1024, 65535, {kGateway}, contents.masquerade_flows});
    std::vector<forward::NeighborRecord> neighbors = {
        {.scope = forward::kScopeUnderlay, .address = kFarTunnel, .neighbor = {.mac = kPeerMac, .slot = 64}}};
    for (uint16_t i = 0; i < 64; i++) {
      neighbors.push_back({.scope = forward::kScopeOverlay,
                           .address = kLocalHost + i,
                           .neighbor = {.mac = kHostMac + i, .slot = i}});
    }
    flows->snapshot = forward::BuildSnapshot(
        1, std::make_shared<const forward::ForwardingTable>(std::move(contents)), neighbors);
    for (uint32_t i = 0; i < count; i++) {
      const forward::FarEndpoint far{0, kFarNetwork + i / 64 / 200, static_cast<uint16_t>(1024 + i / 64)};
      const forward::NearEndpoint near{kLocalHost + i % 64, static_cast<uint16_t>(i)};
      const auto opened = flows->shared.bindings.FromFar(forward::NatProtocol::udp, far, near, 0, 1);
      if (opened.outcome != forward::Bindings::Outcome::mapped) {
        std::fprintf(stderr, "micro: flow %u was refused\n", i);
        std::exit(1);
      }
      flows->ends.emplace_back(far, near);
      flows->ports.push_back(opened.mapping.port);
    }
    return flows;
  }

  // `random`: nullptr: the flows send in the order in which they were opened.
  MasqueradeBench(Direction direction, std::shared_ptr<Flows> flows, const Bytes& frame, std::mt19937* random)
      : flows_(std::move(flows)),
        ip_at_(wire::kEthernetHeader + (direction == Direction::decap ? wire::kOuterHeaders : 0)),
        ring_(std::vector<Bytes>(kBatch, frame)),
        pipeline_(direction, flows_->shared, counters_, events_, flusher_) {
    std::vector<uint32_t> order(flows_->ends.size());
    for (uint32_t i = 0; i < order.size(); i++) order[i] = i;
    if (random != nullptr) std::shuffle(order.begin(), order.end(), *random);
    for (const uint32_t i : order) {
      const auto& [far, near] = flows_->ends[i];
      Bytes ip(frame.begin() + ip_at_, frame.begin() + ip_at_ + kHeaders);
      const bool decap = direction == Direction::decap;
      test::Put16(ip, 10, 0);
      test::Put32(ip, 12, decap ? far.address : near.address);
      test::Put32(ip, 16, decap ? near.address : kGateway);
      test::Put16(ip, 20, decap ? far.port : near.port);
      test::Put16(ip, 22, decap ? near.port : flows_->ports[i]);
      test::Put16(ip, 10, static_cast<uint16_t>(~test::ReferenceSum(std::span(ip).first(wire::kIpv4Header))));
      std::copy(ip.begin(), ip.end(), headers_.emplace_back().begin());
    }
  }

  void Run(uint32_t units) {
    std::array<forward::ReceivedFrame, forward::kLookAhead> group;
    for (uint32_t done = 0; done < units; done += forward::kLookAhead) {
      for (uint32_t i = 0; i < forward::kLookAhead; i++) {
        group[i] = ring_.Take(done + i);
        std::memcpy(group[i].data + ip_at_, headers_[at_].data(), kHeaders);
        if (++at_ == headers_.size()) at_ = 0;
      }
      pipeline_.LookAhead(group, *flows_->snapshot);
      for (forward::ReceivedFrame& frame : group) {
        const forward::Verdict verdict = pipeline_.Process(frame, *flows_->snapshot, 1);
        if (verdict.disposition == forward::Disposition::forwarded) continue;
        std::fprintf(stderr, "micro: a masqueraded frame was not forwarded (disposition %d, reason %d)\n",
                     static_cast<int>(verdict.disposition), static_cast<int>(verdict.reason));
        std::exit(1);
      }
      if ((done + forward::kLookAhead) % kBatch == 0) pipeline_.Flush();
    }
    pipeline_.Flush();
  }

 private:
  static constexpr uint32_t kBatch = 128;
  static constexpr uint32_t kHeaders = wire::kIpv4Header + 4;
  static constexpr uint32_t kFarNetwork = 0x0a020000;  // 10.2.0.0

  const std::shared_ptr<Flows> flows_;
  const uint32_t ip_at_;
  std::vector<std::array<uint8_t, kHeaders>> headers_;
  size_t at_ = 0;
  Ring ring_;
  forward::CounterBlock counters_;
  IgnoredEvents events_;
  DiscardingFlusher flusher_;
  forward::Pipeline pipeline_;
};

// One direction with everything it needs; stays where it is.
struct Bench {
  Bench(Direction direction, uint32_t addresses, const std::vector<Bytes>& frames, uint32_t batch)
      : ring(frames),
        snapshot(Snapshot(addresses)),
        pipeline(direction, shared, counters, events, flusher),
        batch(batch) {}

  void Run(uint32_t units, const wire::VirtioNetHeader& virtio) {
    for (uint32_t i = 0; i < units; i++) {
      forward::ReceivedFrame frame = ring.Take(i);
      frame.virtio = virtio;
      const forward::Verdict verdict = pipeline.Process(frame, *snapshot, 1);
      if (verdict.disposition != forward::Disposition::forwarded) {
        std::fprintf(stderr, "micro: a frame was not forwarded (disposition %d, reason %d)\n",
                     static_cast<int>(verdict.disposition), static_cast<int>(verdict.reason));
        std::exit(1);
      }
      if ((i + 1) % batch == 0) pipeline.Flush();
    }
    pipeline.Flush();
  }

  Ring ring;
  forward::SharedState shared;
  forward::CounterBlock counters;
  IgnoredEvents events;
  DiscardingFlusher flusher;
  std::unique_ptr<forward::Snapshot> snapshot;
  forward::Pipeline pipeline;
  uint32_t batch;
};

class Suite {
 public:
  std::vector<Piece> Build() {
    AddChecksums();
    AddParse();
    AddLookups();
    AddFlows();
    AddRewrites();
    AddEncap();
    AddDecap();
    AddMasquerade();
    return std::move(pieces_);
  }

 private:
  void Add(const std::string& name, const std::string& title, Work work) {
    pieces_.push_back({name, title, std::move(work), 0, {}});
  }

  void AddChecksums() {
    for (const uint32_t size : {64U, 1500U, 65535U}) {
      const auto bytes = std::make_shared<Bytes>(size);
      for (uint8_t& byte : *bytes) byte = static_cast<uint8_t>(random_());
      Add("checksum-" + std::to_string(size), "checksum of " + std::to_string(size) + " bytes",
          [bytes](uint32_t units) {
            for (uint32_t i = 0; i < units; i++)
              Keep(wire::Fold(wire::AddBytes(i, bytes->data(), bytes->size())));
          });
    }
  }

  void AddParse() {
    const auto ip = std::make_shared<Bytes>(Tcp(1424));
    Add("parse", "parse of a TCP packet", [ip](uint32_t units) {
      for (uint32_t i = 0; i < units; i++) {
        wire::Cursor cursor(*ip);
        forward::Packet packet;
        Keep(forward::ParsePacket(cursor, packet));
        Keep(packet);
      }
    });
  }

  void AddLookups() {
    for (const uint32_t count : {10U, 10'000U}) {
      const auto table = std::make_shared<forward::ForwardingTable>(Table(count));
      const auto order = std::make_shared<std::vector<uint32_t>>();
      for (const auto& entry : table->contents().proxied) order->push_back(entry.address);
      std::shuffle(order->begin(), order->end(), random_);
      Add("lookup-" + std::to_string(count), "lookup of a far host, " + std::to_string(count) + " known",
          [table, order](uint32_t units) {
            for (uint32_t i = 0, at = 0; i < units; i++) {
              Keep(table->FarHostOf((*order)[at]));
              if (++at == order->size()) at = 0;
            }
          });
    }
  }

  // One lookup after the other, in random order: what a packet alone pays.
  void AddFlows() {
    for (const uint32_t count : {1'000U, 1'000'000U}) {
      const auto bindings = std::make_shared<forward::Bindings>();
      bindings->Configure({1024, 65535, {kGateway}, 1'200'000});
      struct Flow {
        forward::FarEndpoint far;
        forward::NearEndpoint near;
        forward::Mapping mapping;
      };
      const auto flows = std::make_shared<std::vector<Flow>>();
      for (uint32_t i = 0; i < count; i++) {
        Flow flow{{0, kFarHost + i / 64 / 200, static_cast<uint16_t>(1024 + i / 64)},
                  {kLocalHost + i % 64, static_cast<uint16_t>(i)},
                  {}};
        const auto opened = bindings->FromFar(forward::NatProtocol::udp, flow.far, flow.near, 0, 1);
        if (opened.outcome != forward::Bindings::Outcome::mapped) {
          std::fprintf(stderr, "micro: flow %u was refused\n", i);
          std::exit(1);
        }
        flow.mapping = opened.mapping;
        flows->push_back(flow);
      }
      std::shuffle(flows->begin(), flows->end(), random_);
      const std::string known = count == 1'000 ? "1,000 flows" : "1,000,000 flows";
      const std::string name = count == 1'000 ? "1k" : "1m";
      const auto at = std::make_shared<size_t>(0);
      const auto next = [flows, at]() -> const Flow& {
        if (++*at >= flows->size()) *at = 0;
        return (*flows)[*at];
      };
      Add("flow-decap-" + name, "masquerade state of a packet from the far side, " + known,
          [bindings, next](uint32_t units) {
            for (uint32_t i = 0; i < units; i++) {
              const Flow& flow = next();
              Keep(bindings->FromFar(forward::NatProtocol::udp, flow.far, flow.near, 0, 1));
            }
          });
      Add("flow-encap-" + name, "masquerade state of a packet to the far side, " + known,
          [bindings, next](uint32_t units) {
            for (uint32_t i = 0; i < units; i++) {
              const Flow& flow = next();
              Keep(bindings->FarOf(forward::NatProtocol::udp, flow.mapping));
              bindings->FromNear(forward::NatProtocol::udp, flow.mapping, flow.near, 0, 1);
            }
          });
    }
  }

  void AddRewrites() {
    const auto ip = std::make_shared<Bytes>(Tcp(1424));
    Add("rewrite", "rewrite of an address, TCP", [ip](uint32_t units) {
      forward::Packet packet = test::Parse(*ip);
      for (uint32_t i = 0; i < units; i++) {
        // SetAddress compares with what was parsed: another address each time.
        packet.destination = wire::LoadBe32(packet.ip + wire::kIpv4DestinationOffset);
        forward::SetAddress(packet, forward::Side::destination, kFarHost + (i & 1));
        Keep(packet);
      }
    });
  }

  void AddEncap() {
    for (const uint32_t payload : {64U, 512U, 1400U}) {
      const auto bench = std::make_shared<Bench>(Direction::encap, 1,
                                                 Repeated(WithEthernet(Udp(payload), kOverlayMac)), kRing);
      Add("encap-udp-" + std::to_string(payload),
          "encap of a UDP frame, " + std::to_string(payload) + " bytes",
          [bench](uint32_t units) { bench->Run(units, {}); });
    }
    const auto many = std::make_shared<Bench>(Direction::encap, 10'000,
                                              Repeated(WithEthernet(Udp(64), kOverlayMac)), kRing);
    Add("encap-udp-64-10k", "encap of a UDP frame, 64 bytes, 10,000 addresses",
        [many](uint32_t units) { many->Run(units, {}); });

    // A partial checksum, as hosts with checksum offload hand it over.
    wire::VirtioNetHeader partial;
    partial.flags = wire::kVirtioNeedsChecksum;
    partial.csum_start = wire::kEthernetHeader + wire::kIpv4Header;
    partial.csum_offset = wire::kTcpChecksumOffset;
    const auto tcp =
        std::make_shared<Bench>(Direction::encap, 1, Repeated(WithEthernet(Tcp(1424), kOverlayMac)), kRing);
    Add("encap-tcp-partial", "encap of a TCP frame, 1424 bytes, checksum to be made",
        [tcp, partial](uint32_t units) { tcp->Run(units, partial); });

    wire::VirtioNetHeader gso = partial;
    gso.gso_type = wire::kVirtioGsoTcp4;
    gso.gso_size = kSegment;
    gso.hdr_len = wire::kEthernetHeader + wire::kIpv4Header + wire::kTcpHeader;
    const auto large = std::make_shared<Bench>(
        Direction::encap, 1, std::vector<Bytes>{WithEthernet(Tcp(kSegment * kSegments), kOverlayMac)}, 1);
    Add("segment", "segmentation and encap of a 64 KB super-frame, each segment",
        [large, gso](uint32_t units) { large->Run(std::max(1U, units / kSegments), gso); });
  }

  void AddDecap() {
    for (const uint32_t payload : {64U, 1400U}) {
      const Bytes frame = Encapsulated(WithEthernet(Udp(payload, kFarHost, kLocalHost), kOverlayMac));
      const auto bench = std::make_shared<Bench>(Direction::decap, 1, Repeated(frame), kRing);
      Add("decap-udp-" + std::to_string(payload),
          "decap of a UDP frame, " + std::to_string(payload) + " bytes",
          [bench](uint32_t units) { bench->Run(units, {}); });
    }
    std::vector<Bytes> flow;
    for (uint32_t i = 0; i < kRing; i++) {
      Bytes ip = Tcp(kSegment, kFarHost, kLocalHost);
      test::Put32(ip, wire::kIpv4Header + wire::kTcpSequenceOffset, 1'000'000 + i * kSegment);
      test::Put16(ip, 4, 0x1000 + i);
      test::Seal(ip);
      flow.push_back(Encapsulated(WithEthernet(ip, kOverlayMac)));
    }
    const auto merged = std::make_shared<Bench>(Direction::decap, 1, flow, kRing);
    Add("coalesce", "decap and coalescing of a TCP flow, each segment",
        [merged](uint32_t units) { merged->Run(units, {}); });
  }

  void AddMasquerade() {
    // No UDP checksum: the frames differ in their headers alone.
    Bytes to_far = Udp(64);
    Bytes to_near = Udp(64, kFarHost, kLocalHost);
    test::Put16(to_far, wire::kIpv4Header + wire::kUdpChecksumOffset, 0);
    test::Put16(to_near, wire::kIpv4Header + wire::kUdpChecksumOffset, 0);
    const Bytes encap = WithEthernet(to_far, kOverlayMac);
    const Bytes decap = Encapsulated(WithEthernet(to_near, kOverlayMac));
    for (const auto& [count, name, known] : {std::tuple{1'000U, "1k", "1,000"},
                                             {10'000U, "10k", "10,000"},
                                             {100'000U, "100k", "100,000"},
                                             {1'000'000U, "1m", "1,000,000"}}) {
      const auto flows = MasqueradeBench::Open(count);
      for (const Direction direction : {Direction::encap, Direction::decap}) {
        const bool out = direction == Direction::encap;
        for (std::mt19937* random : {static_cast<std::mt19937*>(nullptr), &random_}) {
          const auto bench = std::make_shared<MasqueradeBench>(direction, flows, out ? encap : decap, random);
          Add(std::string("masquerade-") + (out ? "encap-" : "decap-") + name +
                  (random == nullptr ? "" : "-random"),
              std::string(out ? "encap" : "decap") + " of a masqueraded UDP frame, " + known + " flows" +
                  (random == nullptr ? " in turn" : " in random order"),
              [bench](uint32_t units) { bench->Run(units); });
        }
      }
    }
  }

  static std::vector<Bytes> Repeated(const Bytes& frame) { return std::vector<Bytes>(kRing, frame); }

  Bytes Tcp(uint32_t payload, uint32_t source = kLocalHost, uint32_t destination = kFarHost) {
    return test::MakePacket({.source = source, .destination = destination, .payload = payload}, random_);
  }
  Bytes Udp(uint32_t payload, uint32_t source = kLocalHost, uint32_t destination = kFarHost) {
    return test::MakePacket(
        {.protocol = wire::kProtocolUdp, .source = source, .destination = destination, .payload = payload},
        random_);
  }

  static constexpr uint32_t kSegment = 1424;
  static constexpr uint32_t kSegments = 45;

  std::mt19937 random_{1};
  std::vector<Piece> pieces_;
};

int RunOnly(const std::string& name, uint32_t units) {
  for (const Piece& piece : Suite().Build()) {
    if (piece.name != name) continue;
    piece.work(units);
    return 0;
  }
  std::fprintf(stderr, "micro: there is no %s\n", name.c_str());
  return 1;
}

int Main(int rounds) {
  Pin();
  std::vector<Piece> pieces = Suite().Build();
  for (Piece& piece : pieces) Calibrate(piece);
  for (int round = 0; round < rounds; round++) {
    for (Piece& piece : pieces) Measure(piece);
    std::fprintf(stderr, "micro: round %d of %d\n", round + 1, rounds);
  }
  for (const Piece& piece : pieces) {
    std::printf("{\"name\":\"%s\",\"title\":\"%s\",\"values\":[", piece.name.c_str(), piece.title.c_str());
    for (size_t i = 0; i < piece.values.size(); i++)
      std::printf("%s%.2f", i == 0 ? "" : ",", piece.values[i]);
    std::puts("]}");
  }
  return 0;
}

}  // namespace
}  // namespace vpc_conn

int main(int count, char** arguments) {
  if (count == 4 && std::strcmp(arguments[1], "--only") == 0) {
    return vpc_conn::RunOnly(arguments[2], static_cast<uint32_t>(std::atoi(arguments[3])));
  }
  const int rounds = count > 1 ? std::atoi(arguments[1]) : 5;
  return vpc_conn::Main(std::clamp(rounds, 1, 100));
}
