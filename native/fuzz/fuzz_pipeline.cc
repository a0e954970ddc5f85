// Feeds the pipelines with sequences of frames and holds what they send against what may ever be sent.
//
// An input is a sequence of records: one byte of choices (below), two of length, the frame. The first
// direction is the target's; a record may turn it round, so that bindings and learned MACs are met again.
#include <span>

#include "judge.h"
#include "packets.h"
#include "packets6.h"
#include "require.h"
#include "runtime/memory_pipeline.h"
#include "world.h"

namespace vpc_conn::fuzz {

using forward::Counter;
using forward::Direction;
using runtime::MemoryPipeline;

namespace {

constexpr uint32_t kMaxRecords = 16;

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

void SealAll(std::span<uint8_t> ip) {
  if (IsIpv6(ip)) return Seal6(ip);
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
  uint32_t l4 = ip.empty() ? 34 : static_cast<uint32_t>(kEthernet) + test::HeaderLengthOf(ip);
  uint8_t protocol = ip.size() > 9 ? ip[9] : 0;
  const bool ipv6 = IsIpv6(ip);
  if (ipv6) {
    const auto upper = FindUpperLayer6(ip);
    if (!upper) return virtio;
    l4 = static_cast<uint32_t>(kEthernet + upper->at);
    protocol = upper->protocol;
  }
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
      virtio.gso_type = !tcp ? wire::kVirtioGsoUdpL4 : ipv6 ? wire::kVirtioGsoTcp6 : wire::kVirtioGsoTcp4;
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
  if (IsIpv6(ip)) return MakePartial6(ip);
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
    // Frames that waited come out here, too; of them it is not known what they were.
    const bool judged = was_right && waiting == 0;
    std::vector<Bytes> fragments;
    for (const auto& sent : result.frames) {
      if (IsTunnelled(sent.bytes)) {
        CheckTunnelled(sent.bytes, judged);
      } else {
        CheckDelivered(sent.bytes, judged);
      }
      const auto ip = PacketOf(sent.bytes);
      if (judged && IsFragment(ip)) fragments.emplace_back(ip.begin(), ip.end());
      const wire::VirtioNetHeader& header = sent.virtio;
      REQUIRE_THAT(header.flags == 0 && header.gso_type == 0);
    }
    if (!fragments.empty()) {
      REQUIRE_THAT(fragments.size() == result.frames.size());
      CheckFragments(fragments);
    }
    for (const Bytes& reply : result.replies) CheckReply(direction, reply);
    if (waiting == 0 && !result.replies.empty()) {
      REQUIRE_THAT(result.replies.size() == 1);
      REQUIRE_THAT(result.verdict.disposition == forward::Disposition::dropped);
      REQUIRE_THAT(result.verdict.reason == forward::DropReason::too_big);
    }
    for (const auto& event : result.events) {
      REQUIRE_THAT(event.frame.size() <= LargestFrame(event.kind));
      if (event.kind != runtime::Event::Kind::keepalive) continue;
      REQUIRE_THAT(event.frame.size() == std::min<size_t>(event.length, LargestFrame(event.kind)));
      REQUIRE_THAT(direction == Direction::decap);
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
    const bool made_afresh = direction == Direction::encap && virtio.gso_type != 0;
    bool was_right = Right(inner) || (made_afresh && (!IsIpv6(inner) || FindUpperLayer6(inner)));
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
