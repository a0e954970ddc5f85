// Feeds the pipelines with sequences of frames and holds what they send against what may ever be sent.
//
// An input is a sequence of records: one byte of choices (below), two of length, the frame. The first
// direction is the target's; a record may turn it round, so that bindings and learned MACs are met again.
#include <cstdio>
#include <cstdlib>
#include <span>

#include "packets.h"
#include "runtime/memory_pipeline.h"

namespace vpc_conn::fuzz {

using forward::Counter;
using forward::Direction;
using runtime::MemoryPipeline;
using test::Bytes;

namespace {

#define REQUIRE_THAT(condition)                                                           \
  do {                                                                                    \
    if (!(condition)) {                                                                   \
      std::fprintf(stderr, "%s:%d: does not hold: %s\n", __FILE__, __LINE__, #condition); \
      std::abort();                                                                       \
    }                                                                                     \
  } while (false)

// The world of test/golden/world.ts, with one more peer.
constexpr uint64_t kNextHopMac = 0x020000000102;
constexpr uint64_t kLocalMac = 0x02000000000a;
constexpr uint64_t kOverlayMac = 0x020000000005;
constexpr uint64_t kUnderlayMac = 0x020000000101;
constexpr uint32_t kGateway = 0x0a000005;
constexpr uint32_t kHere = 0xc6120001;
constexpr uint32_t kPeerB = 0xc6120002, kPeerC = 0xc6120003, kPeerD = 0xc6120004;
// A tunnel over IPv6, with addresses of test/golden/world-over-ipv6.ts.
constexpr forward::TunnelEnds6 kEnds6 = {{0x20010db8ffff0000, 1}, {0x20010db8ffff0000, 2}};
constexpr uint16_t kMtu = 1464;
constexpr uint16_t kMtu6 = 1444;
constexpr uint32_t kOverlayMtu = 1500;
constexpr uint32_t kMaxRecords = 16;
constexpr size_t kEthernet = wire::kEthernetHeader;

forward::TableContents MakeTable() {
  forward::TableContents table;
  table.overlay_mac = {2, 0, 0, 0, 0, 5};
  table.overlay_address = kGateway;
  table.overlay_mtu = kOverlayMtu;
  table.underlay_mac = {2, 0, 0, 0, 1, 1};
  table.peers = {
      {.local_address = kHere, .address = kPeerB, .inner_mtu = kMtu},
      {.local_address = kHere, .address = kPeerC, .inner_mtu = kMtu, .masquerade_unlisted = true},
      {.local_address = kHere, .address = kPeerD, .inner_mtu = kMtu, .resolve_through_tunnel = true},
      {.inner_mtu = kMtu6, .ends6 = kEnds6}};
  table.proxied = {{.address = 0x0a000014, .host = 0x0a000014},
                   {.address = 0x0a000063, .host = 0x0a00000a},
                   {.address = 0x0a000200, .host = 0x0a000100, .prefix_length = 24},
                   {.address = 0x0a000028, .host = 0x0a000028, .peer = 2},
                   {.address = 0x0a000300, .host = 0x0a000000, .prefix_length = 24, .peer = 3}};
  table.reserved = {0x0a000000, 0x0a000001, 0x0a000002, 0x0a000003, 0x0a0000ff};
  table.masquerade_first_port = 40000;
  table.masquerade_last_port = 40015;  // few, so that they run out
  table.masquerade_addresses = {kGateway, 0x0a000006};
  table.masquerade_flows = 64;
  return table;
}

std::vector<forward::NeighborRecord> MakeNeighbors() {
  using namespace forward;
  return {{kScopeUnderlay, kPeerB, {.mac = kNextHopMac, .slot = 0}},
          {kScopeUnderlay, kPeerC, {.mac = kNextHopMac, .slot = 1}},
          {kScopeUnderlay, kPeerD, {.mac = kNextHopMac, .slot = 2}},
          {kScopeOverlay, 0x0a00000a, {.mac = kLocalMac, .slot = 3}},
          {kScopeOverlay, 0x0a00000b, {.mac = 0, .slot = 4, .failed = true}},
          {kScopeTunnel + 2, 0x0a000028, {.mac = 0x020000000d40, .slot = 5}},
          {kScopeUnderlay, 0, {.mac = kNextHopMac, .slot = 6}, kEnds6.remote}};
}

const forward::ForwardingTable& Table() {
  static const forward::ForwardingTable table(MakeTable());
  return table;
}

// --- What is put in ------------------------------------------------------------------------------------

constexpr Direction kFirst = FUZZ_ENCAP ? Direction::encap : Direction::decap;
constexpr Direction kOther = FUZZ_ENCAP ? Direction::decap : Direction::encap;

// The choices of a record.
constexpr uint8_t kTurnRound = 0x01;    // the other direction
constexpr uint8_t kSealHeaders = 0x02;  // IPv4 header checksums are made right, so that more gets through
constexpr uint8_t kSealAll = 0x04;      // L4 checksums, too
constexpr uint8_t kLater = 0x08;        // 100 seconds later
constexpr uint8_t kKnown = 0x10;        // neighbors are known (or forgotten) from now on
// The upper three bits: the virtio header.
enum class Virtio : uint8_t { none, again_none, partial, hostile_partial, gso_tcp, gso_udp, gso_small, any };

// Whether an IPv4 packet is there, whole, with its L4 header, so that it can be sealed or judged.
bool Whole(std::span<const uint8_t> ip) {
  if (ip.size() < 20 || ip[0] >> 4 != 4 || test::HeaderLengthOf(ip) < 20) return false;
  const uint32_t total = test::Get16(ip, 2);
  const uint32_t header = test::HeaderLengthOf(ip);
  return total <= ip.size() && total >= header && forward::L4HeaderLength(ip[9]) != 0 &&
         total - header >= forward::L4HeaderLength(ip[9]) && (test::Get16(ip, 6) & 0x3fff) == 0;
}

void SealHeader(std::span<uint8_t> ip) {
  if (ip.size() < 20 || test::HeaderLengthOf(ip) < 20 || test::HeaderLengthOf(ip) > ip.size()) return;
  ip[10] = ip[11] = 0;
  const auto sum = static_cast<uint16_t>(~test::ReferenceSum(ip.first(test::HeaderLengthOf(ip))));
  ip[10] = static_cast<uint8_t>(sum >> 8);
  ip[11] = static_cast<uint8_t>(sum);
}

void SealAll(std::span<uint8_t> ip) {
  SealHeader(ip);
  if (!Whole(ip)) return;
  Bytes whole(ip.begin(), ip.begin() + test::Get16(ip, 2));
  // The packet that an ICMP error quotes has a header, too.
  if (whole[9] == wire::kProtocolIcmp) SealHeader(std::span(whole).subspan(test::HeaderLengthOf(ip) + 8));
  test::Seal(whole);
  std::copy(whole.begin(), whole.end(), ip.begin());
}

wire::VirtioNetHeader MakeVirtio(Virtio choice, Bytes& frame, std::span<const uint8_t> ip) {
  wire::VirtioNetHeader virtio;
  const uint32_t l4 = ip.empty() ? 34 : static_cast<uint32_t>(kEthernet) + test::HeaderLengthOf(ip);
  const uint8_t protocol = ip.size() > 9 ? ip[9] : 0;
  const bool tcp = protocol == wire::kProtocolTcp;
  const auto any = [&](size_t at) { return at < frame.size() ? frame[at] : uint8_t{0}; };
  switch (choice) {
    case Virtio::none:
    case Virtio::again_none:
      return virtio;
    case Virtio::partial:
      if (!tcp && protocol != wire::kProtocolUdp) return virtio;
      virtio.flags = wire::kVirtioNeedsChecksum;
      virtio.csum_start = static_cast<uint16_t>(l4);
      virtio.csum_offset = static_cast<uint16_t>(test::L4ChecksumOffset(protocol));
      return virtio;
    case Virtio::hostile_partial:
      virtio.flags = wire::kVirtioNeedsChecksum;
      virtio.csum_start = static_cast<uint16_t>(any(0) % 80);
      virtio.csum_offset = static_cast<uint16_t>(any(1) % 80);
      return virtio;
    case Virtio::gso_tcp:
    case Virtio::gso_udp:
    case Virtio::gso_small:
      virtio.gso_type = tcp ? wire::kVirtioGsoTcp4 : wire::kVirtioGsoUdpL4;
      if (choice == Virtio::gso_udp) virtio.gso_type = wire::kVirtioGsoUdpL4;
      virtio.gso_size = choice == Virtio::gso_small ? static_cast<uint16_t>(any(0) % 16) : 200;
      return virtio;
    default:
      if (frame.size() >= sizeof virtio) std::memcpy(&virtio, frame.data(), sizeof virtio);
      return virtio;
  }
}

// A partial checksum as a sender leaves it.
void MakePartial(std::span<uint8_t> ip) {
  if (!Whole(ip) || ip[9] == wire::kProtocolIcmp) return;
  const uint32_t header = test::HeaderLengthOf(ip);
  Bytes pseudo(12);
  std::copy(ip.begin() + 12, ip.begin() + 20, pseudo.begin());
  pseudo[9] = ip[9];
  test::Put16(pseudo, 10, test::Get16(ip, 2) - header);
  const uint16_t sum = test::ReferenceSum(pseudo);
  const size_t at = header + test::L4ChecksumOffset(ip[9]);
  ip[at] = static_cast<uint8_t>(sum >> 8);
  ip[at + 1] = static_cast<uint8_t>(sum);
}

// --- What comes out ------------------------------------------------------------------------------------

bool Forbidden(uint32_t address) {
  return forward::UnforwardableDestination(address).has_value();
}

// Whether all checksums are those that the sender computed, or none.
bool Right(std::span<const uint8_t> ip) {
  if (!Whole(ip) || !test::HeaderSumRight(ip)) return false;
  const auto whole = ip.first(test::Get16(ip, 2));
  const uint32_t header = test::HeaderLengthOf(ip);
  // Bytes behind the datagram are in no sum.
  if (ip[9] == wire::kProtocolUdp && test::Get16(ip, header + 4) != whole.size() - header) return false;
  return test::L4SumRight(whole);
}

// The inner (or delivered) packet: exact in length, its header's checksum right.
void CheckPacket(std::span<const uint8_t> ip, uint32_t mtu, bool was_right) {
  REQUIRE_THAT(ip.size() >= 20);
  REQUIRE_THAT(ip[0] >> 4 == 4);
  REQUIRE_THAT(test::HeaderLengthOf(ip) >= 20);
  REQUIRE_THAT(test::Get16(ip, 2) == ip.size());
  REQUIRE_THAT(test::HeaderLengthOf(ip) <= ip.size());
  REQUIRE_THAT(test::HeaderSumRight(ip));
  REQUIRE_THAT(ip.size() <= mtu);
  if (was_right) REQUIRE_THAT(Right(ip));
}

// Each returns the outer TOS.
uint8_t CheckOuter(const Bytes& frame) {
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

uint8_t CheckOuter6(const Bytes& frame) {
  const auto outer = std::span<const uint8_t>(frame).subspan(kEthernet, 40);
  REQUIRE_THAT(outer[0] >> 4 == 6);
  REQUIRE_THAT(test::Get16(outer, 4) == frame.size() - kEthernet - 40);
  REQUIRE_THAT(outer[6] == wire::kProtocolEtherIp && outer[7] == 64);
  REQUIRE_THAT(wire::LoadIpv6(&outer[8]) == kEnds6.local);
  REQUIRE_THAT(wire::LoadIpv6(&outer[24]) == kEnds6.remote);
  return static_cast<uint8_t>(test::Get16(outer, 0) >> 4);
}

bool IsOver6(const Bytes& frame) {
  return test::Get16(frame, 12) == wire::kEtherTypeIpv6;
}

void CheckTunnelled(const Bytes& frame, bool was_right) {
  const std::span<const uint8_t> bytes(frame);
  const bool over6 = IsOver6(frame);
  const size_t outer_headers = over6 ? wire::kOuterHeaders6 : wire::kOuterHeaders;
  REQUIRE_THAT(frame.size() >= outer_headers + kEthernet + 20);
  REQUIRE_THAT(wire::MacToInteger(frame.data()) == kNextHopMac);
  REQUIRE_THAT(wire::MacToInteger(frame.data() + 6) == kUnderlayMac);
  REQUIRE_THAT(over6 || test::Get16(bytes, 12) == wire::kEtherTypeIpv4);
  const uint8_t outer_tos = over6 ? CheckOuter6(frame) : CheckOuter(frame);
  REQUIRE_THAT(test::Get16(bytes, outer_headers - 2) == wire::kEtherIpFirstWord);
  REQUIRE_THAT(test::Get16(bytes, outer_headers + 12) == wire::kEtherTypeIpv4);
  const auto ip = bytes.subspan(outer_headers + kEthernet);
  CheckPacket(ip, over6 ? kMtu6 : kMtu, was_right);
  REQUIRE_THAT(outer_tos == ip[1]);
  const uint32_t source = test::Get32(ip, 12);
  REQUIRE_THAT(!Forbidden(source) && !Table().IsReserved(source));
  REQUIRE_THAT(!Table().IsProxied(source) && source != kGateway && !Table().IsPoolAddress(source));
  REQUIRE_THAT(!(ip[9] == wire::kProtocolEtherIp && Table().IsTunnelAddress(test::Get32(ip, 16))));
}

void CheckDelivered(const Bytes& frame, bool was_right) {
  const std::span<const uint8_t> bytes(frame);
  REQUIRE_THAT(frame.size() >= kEthernet + 20);
  REQUIRE_THAT(wire::MacToInteger(frame.data()) == kLocalMac);
  REQUIRE_THAT(wire::MacToInteger(frame.data() + 6) == kOverlayMac);
  REQUIRE_THAT(test::Get16(bytes, 12) == wire::kEtherTypeIpv4);
  const auto ip = bytes.subspan(kEthernet);
  CheckPacket(ip, kOverlayMtu, was_right);
  const uint32_t source = test::Get32(ip, 12);
  const uint32_t destination = test::Get32(ip, 16);
  // Only from what the VPC accepts from us, only to what is none of ours.
  REQUIRE_THAT(Table().IsProxied(source) || source == kGateway || Table().IsPoolAddress(source));
  REQUIRE_THAT(!Forbidden(destination) && !Table().IsReserved(destination));
  REQUIRE_THAT(!Table().IsProxied(destination) && destination != kGateway);
  REQUIRE_THAT(!Table().IsPoolAddress(destination));
  REQUIRE_THAT(!(ip[9] == wire::kProtocolEtherIp && Table().IsTunnelAddress(destination)));
}

class Gateway {
 public:
  Gateway() {
    pipeline_.PublishTable(MakeTable());
    Remember(true);
  }

  void Remember(bool known) {
    if (known_ == known) return;
    known_ = known;
    pipeline_.PublishNeighbors(known ? MakeNeighbors() : std::vector<forward::NeighborRecord>{});
  }
  bool known() const { return known_; }

  void Advance(uint32_t seconds) { pipeline_.SetTime(now_ += seconds); }

  void Run(Direction direction, const Bytes& frame, const wire::VirtioNetHeader& virtio, bool was_right) {
    const int64_t waiting = Waiting();
    const uint64_t ended = Ended();
    const auto result = pipeline_.Process(direction, frame, virtio);
    // Every frame counts under exactly one name.
    REQUIRE_THAT(Waiting() >= 0);
    if (waiting == 0) {
      REQUIRE_THAT(Ended() + Value(Counter::held) == ended + held_ + 1);
      const bool forwarded = result.verdict.disposition == forward::Disposition::forwarded;
      REQUIRE_THAT(forwarded == !result.frames.empty());
    }
    held_ = Value(Counter::held);
    for (const auto& sent : result.frames) {
      // Frames that waited come out here, too; of them it is not known what they were.
      const bool judged = was_right && waiting == 0;
      REQUIRE_THAT(sent.bytes.size() >= kEthernet);
      if (wire::MacToInteger(sent.bytes.data() + 6) == kUnderlayMac) {
        CheckTunnelled(sent.bytes, judged);
      } else {
        CheckDelivered(sent.bytes, judged);
      }
      const wire::VirtioNetHeader& header = sent.virtio;
      REQUIRE_THAT(header.flags == 0 && header.gso_type == 0);
    }
    for (const auto& event : result.events) {
      const bool discovery = event.kind == runtime::Event::Kind::neighbor_discovery;
      REQUIRE_THAT(event.frame.size() <= (discovery ? runtime::WorkerEvents::kLargestNeighborDiscovery
                                                    : runtime::WorkerEvents::kLargestArp));
    }
  }

  // Forgets what frames have left behind, so that an input means the same whenever it is run.
  void Reset() {
    Remember(true);
    Advance(10000);
    for (const Direction direction : {Direction::encap, Direction::decap}) Run(direction, {}, {}, false);
    REQUIRE_THAT(Waiting() == 0);
    Advance(10000);  // frames that waited may just have made some
    REQUIRE_THAT(pipeline_.shared().bindings.Sweep(now_).flows == 0);
  }

 private:
  uint64_t Value(Counter counter) const {
    return pipeline_.counters().values[static_cast<size_t>(counter)].load();
  }
  // Forwarded, punted, dropped.
  uint64_t Ended() const {
    uint64_t sum = Value(Counter::forwarded) + Value(Counter::punted);
    for (size_t i = forward::kPlainCounters; i < forward::kCounters; i++) {
      sum += pipeline_.counters().values[i].load();
    }
    return sum;
  }
  int64_t Waiting() const {
    return static_cast<int64_t>(Value(Counter::rx_frames) - Value(Counter::hold_released) - Ended());
  }

  MemoryPipeline pipeline_;
  bool known_ = false;
  uint32_t now_ = 1;
  uint64_t held_ = 0;
};

}  // namespace

void RunInput(std::span<const uint8_t> input) {
  static Gateway gateway;
  for (uint32_t record = 0; record < kMaxRecords && input.size() >= 3; record++) {
    const uint8_t choices = input[0];
    const size_t length = std::min<size_t>(test::Get16(input, 1), input.size() - 3);
    Bytes frame(input.begin() + 3, input.begin() + 3 + static_cast<long>(length));
    input = input.subspan(3 + length);

    const bool turned = (choices & kTurnRound) != 0;
    const Direction direction = turned ? kOther : kFirst;
    std::span<uint8_t> ip;
    std::span<uint8_t> inner;  // what may be forwarded
    if (frame.size() >= kEthernet) ip = std::span(frame).subspan(kEthernet);
    if ((choices & kSealHeaders) != 0) SealHeader(ip);
    if (direction == Direction::encap) {
      inner = ip;
    } else if (ip.size() > wire::kTunnelOverhead6 && ip[0] >> 4 == 6) {
      // Behind extension headers it is somewhere else, and not judged.
      if (ip[6] == wire::kProtocolEtherIp) inner = ip.subspan(wire::kTunnelOverhead6);
    } else if (ip.size() > 20 && test::HeaderLengthOf(ip) + 2 + kEthernet < ip.size()) {
      inner = ip.subspan(test::HeaderLengthOf(ip) + 2 + kEthernet);
    }
    if ((choices & kSealHeaders) != 0) SealHeader(inner);
    if ((choices & kSealAll) != 0) SealAll(inner);
    const auto kind = static_cast<Virtio>(choices >> 5);
    const wire::VirtioNetHeader virtio = MakeVirtio(kind, frame, ip);
    // Of super-frames every checksum is made afresh.
    bool was_right = Right(inner) || (direction == Direction::encap && virtio.gso_type != 0);
    if (kind == Virtio::hostile_partial || kind == Virtio::any) was_right = false;
    if (direction == Direction::encap && kind == Virtio::partial && virtio.flags != 0 && was_right) {
      // Zero stays zero only if no checksum is asked for.
      MakePartial(ip);
    }
    if (direction == Direction::decap && virtio.flags != 0) was_right = false;
    if ((choices & kLater) != 0) gateway.Advance(100);
    if ((choices & kKnown) != 0) gateway.Remember(!gateway.known());
    gateway.Run(direction, frame, virtio, was_right);
  }
  gateway.Reset();
}

}  // namespace vpc_conn::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  vpc_conn::fuzz::RunInput({data, size});
  return 0;
}
