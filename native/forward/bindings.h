// Masquerade bindings (RFC 4787 terms): a far host's (address, port) <-> a port of the gateway's overlay
// address, per protocol; endpoint-independent mapping. ICMP query ids count as ports (RFC 5508 3.1).
//
// Decap workers create bindings (one mutex, once per binding); lookups in both directions take no lock.
// Every method may be called on any thread.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace vpc_conn::forward {

enum class NatProtocol : uint8_t { tcp, udp, icmp, count_ };

class Bindings {
 public:
  struct FarEndpoint {
    uint16_t peer_id;
    uint32_t address;
    uint16_t port;
  };
  enum class State : uint8_t { transitory, established, closing };

  Bindings();

  // The range of ports that may be given out; bindings outside it are dropped. JS thread.
  void SetRange(uint16_t first_port, uint16_t last_port);

  // Far -> here: the port that stands for `far`, made if need be. nullopt: none is free.
  std::optional<uint16_t> PortOf(NatProtocol protocol, const FarEndpoint& far, uint32_t now);
  // The same, but never makes one (ICMP errors).
  std::optional<uint16_t> FindPort(NatProtocol protocol, const FarEndpoint& far) const;
  // Here -> far: who has `port`.
  std::optional<FarEndpoint> FarOf(NatProtocol protocol, uint16_t port) const;

  // Marks use and follows TCP (RFC 5382 REQ-5). `from_far`: direction of the segment.
  void Touch(NatProtocol protocol, uint16_t port, uint32_t now);
  void TouchTcp(uint16_t port, uint8_t tcp_flags, bool from_far, uint32_t now);

  // Frees what was idle for too long; returns how many are in use. Call once a second.
  size_t Sweep(uint32_t now);
  // Frees all bindings of a peer that is gone.
  void DropPeer(uint16_t peer_id);

  struct Row {
    NatProtocol protocol;
    FarEndpoint far;
    uint16_t port;
    State state;
    uint32_t idle_seconds;
  };
  std::vector<Row> Rows(uint32_t now) const;

  // RFC 4787 REQ-5, RFC 5382 REQ-5, RFC 5508 REQ-1: seconds.
  static constexpr uint32_t kUdpTimeout = 300;
  static constexpr uint32_t kIcmpTimeout = 60;
  static constexpr uint32_t kTcpEstablishedTimeout = 7440;
  static constexpr uint32_t kTcpTransitoryTimeout = 240;

 private:
  static constexpr uint32_t kPorts = 65536;
  static constexpr uint32_t kIndexSize = 131072;  // per protocol; at most half full by construction
  static constexpr uint64_t kFree = ~uint64_t{0};

  // One word names the far endpoint, so that a reader never sees half a binding.
  static uint64_t Pack(const FarEndpoint& far) {
    return (uint64_t{far.peer_id} << 48) | (uint64_t{far.address} << 16) | far.port;
  }
  static FarEndpoint Unpack(uint64_t word) {
    return {static_cast<uint16_t>(word >> 48), static_cast<uint32_t>(word >> 16),
            static_cast<uint16_t>(word)};
  }

  struct Slot {
    std::atomic<uint64_t> far{kFree};
    std::atomic<uint32_t> used{0};
    std::atomic<uint8_t> tcp{0};  // kSynFar.. bits
  };
  struct Protocol {
    std::unique_ptr<Slot[]> slots;                   // by port
    std::unique_ptr<std::atomic<uint32_t>[]> index;  // hash of far -> port + 1; 0 = end of probe
    uint32_t in_use = 0;                             // under mutex_
    uint32_t index_used = 0;                         // cells that are not 0; under mutex_
    uint32_t next_port = 0;                          // under mutex_
  };

  static uint32_t TimeoutOf(NatProtocol protocol, const Slot& slot);
  static State StateOf(NatProtocol protocol, const Slot& slot);
  void Claim(Protocol& table, uint16_t port, uint64_t far, uint32_t now);
  void Free(Protocol& table, uint32_t port);
  void RebuildIndex(Protocol& table);
  std::optional<uint16_t> Choose(NatProtocol protocol, uint16_t wanted, uint32_t now);

  Protocol& at(NatProtocol protocol) { return protocols_[static_cast<size_t>(protocol)]; }
  const Protocol& at(NatProtocol protocol) const { return protocols_[static_cast<size_t>(protocol)]; }

  std::array<Protocol, static_cast<size_t>(NatProtocol::count_)> protocols_;
  mutable std::mutex mutex_;
  uint32_t first_port_ = 0;  // under mutex_
  uint32_t last_port_ = 0;
};

}  // namespace vpc_conn::forward
