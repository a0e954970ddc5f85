// Masquerade of fragments (RFC 4787 REQ-14): only the first fragment of a packet has ports. What was found
// for it is remembered, so that the others follow; those that come before it wait, and then go in the order
// in which they came. No reassembly: overlapping fragments pass as they are, for the receiver to judge, and
// gain nothing, because whose they are is decided by addresses, identification and protocol alone.
//
// Bounded: so many packets are remembered (a new one takes the place of the oldest with a like hash), so many
// fragments wait (the oldest gives way; one sender has half the places at most), both for kSeconds. Used by
// one thread: all fragments between two addresses come to one worker (io/socket_filter, FlowFanout).
#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "forward/frame.h"
#include "forward/packet.h"

namespace vpc_conn::forward {

// RFC 791: whose fragments belong together.
struct FragmentKey {
  uint64_t addresses = 0;
  uint64_t rest = 0;  // peer, identification, protocol

  // `peer_id`: of what came through the tunnel; encapsulation gives 0xffff.
  static FragmentKey Of(const Packet& packet, uint16_t peer_id) {
    return {(uint64_t{packet.source} << 32) | packet.destination,
            (uint64_t{peer_id} << 32) | (uint64_t{wire::LoadBe16(packet.ip + wire::kIpv4IdOffset)} << 8) |
                packet.protocol};
  }
  bool operator==(const FragmentKey&) const = default;
};

// What becomes of all fragments of a packet.
struct FragmentFate {
  uint32_t address = 0;  // encap: the far host; decap: the source that it has here
  uint16_t peer_id = 0;  // encap
  uint16_t id = 0;       // decap: its identification here (RFC 6864 section 5.3.1: hosts share the address)
};

class FragmentTable {
 public:
  static constexpr uint32_t kSeconds = 5;
  static constexpr uint32_t kRemembered = 1024;
  static constexpr uint32_t kWaiting = 128;
  static constexpr uint32_t kWaitingOfOne = kWaiting / 2;
  static constexpr uint32_t kLargestWaiting = 9728;  // bytes of a frame

  // nullptr: its first fragment has not come yet.
  const FragmentFate* Find(const FragmentKey& key, uint32_t now_seconds) const;
  // The first fragment has come.
  void Remember(const FragmentKey& key, const FragmentFate& fate, uint32_t now_seconds);

  // Keeps a copy of a frame until the first fragment comes; displaced: another one had to give way.
  enum class Outcome { kept, displaced, refused };
  Outcome Wait(const FragmentKey& key, const ReceivedFrame& frame, uint32_t now_seconds);
  bool IsAwaited(const FragmentKey& key) const;
  // What waits under `key` may go, and behind it a copy of `first`: TakeReady gives them out in this order.
  void Release(const FragmentKey& key, const ReceivedFrame& first);
  bool has_ready() const { return !ready_.empty(); }

  struct Waiting {
    FragmentKey key;
    std::unique_ptr<uint8_t[]> storage;
    ReceivedFrame frame;  // points into storage
    uint32_t since = 0;
  };
  Waiting TakeReady();

  // Forgets what waited for too long; returns how many. Call once a second.
  uint32_t Expire(uint32_t now_seconds);
  bool empty() const { return waiting_.empty() && ready_.empty(); }

 private:
  static constexpr uint32_t kWays = 4;
  struct Entry {
    FragmentKey key;
    FragmentFate fate;
    uint32_t since = 0;
    bool used = false;
  };
  static uint32_t SetOf(const FragmentKey& key);
  static Waiting Copy(const FragmentKey& key, const ReceivedFrame& frame, uint32_t now_seconds);

  std::unique_ptr<std::array<Entry, kRemembered>> entries_;  // made when the first fragment comes
  std::deque<Waiting> waiting_;
  std::deque<Waiting> ready_;
};

}  // namespace vpc_conn::forward
