// Masquerade as a NAT (RFC 4787, 5382, 5508): endpoint-independent mapping and filtering. See nat.h for what
// bindings and flows are, docs/masquerade.md for the behaviour.
//
// Lookups in both directions take no lock and touch two cache lines (binding, flow), however many flows there
// are. Flows are made by what far hosts send, under one mutex; nothing that a local host sends makes any.
// Every method may be called on any thread, but for Configure (JS thread, before the table that needs it is
// published).
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#include "forward/far_hosts.h"
#include "forward/nat.h"
#include "forward/port_block.h"
#include "forward/shared_index.h"

namespace vpc_conn::forward {

class Bindings {
 public:
  static constexpr uint32_t kAddresses = 16;
  static constexpr uint32_t kMostFlows = 4'194'304;

  struct Limits {
    uint16_t first_port = 0;
    uint16_t last_port = 0;  // 0: nothing is masqueraded
    std::vector<uint32_t> addresses;
    uint32_t flows = 0;  // as of the first call
  };

  Bindings();
  // Known seeds, for tests and benchmarks.
  explicit Bindings(std::array<uint64_t, 2> seed);

  // What may be given out. Bindings outside it end, all others stay as they are (RFC 4787 REQ-11). Throws
  // std::bad_alloc.
  void Configure(const Limits& limits);

  enum class Outcome : uint8_t { mapped, bindings_full, flows_full };
  struct Opened {
    Outcome outcome;
    Mapping mapping;
  };
  // Far -> near: what stands for `far`; binding and flow are made if need be, and marked used. `tcp_flags`:
  // of a TCP segment, else 0.
  Opened FromFar(NatProtocol protocol, const FarEndpoint& far, const NearEndpoint& near, uint8_t tcp_flags,
                 uint32_t now);
  // The same for what makes and refreshes nothing: ICMP errors (RFC 5508 REQ-6), fragments without ports.
  std::optional<Mapping> MappingOf(NatProtocol protocol, const FarEndpoint& far) const;

  // Near -> far: who has that port. Whoever sends there reaches it (RFC 4787 REQ-8).
  std::optional<FarEndpoint> FarOf(NatProtocol protocol, const Mapping& mapping) const;
  // Marks the flow used, if there is one.
  void FromNear(NatProtocol protocol, const Mapping& mapping, const NearEndpoint& near, uint8_t tcp_flags,
                uint32_t now);

  // Ask memory for what is read next, for frames that wait (forward/look_ahead.h): for FromNear all of it,
  // for FromFar first the binding, then, which reads that, the flow.
  void FetchFromNear(NatProtocol protocol, const Mapping& mapping, const NearEndpoint& near) const;
  void FetchBinding(NatProtocol protocol, const FarEndpoint& far) const;
  void FetchFlow(NatProtocol protocol, const FarEndpoint& far, const NearEndpoint& near) const;

  struct InUse {
    uint32_t bindings;
    uint32_t flows;
  };
  // Frees what was idle for too long, at most so many places of the table in this call; the next goes on
  // where this one ended.
  InUse Sweep(uint32_t now, uint32_t places = ~uint32_t{0});
  // Frees all bindings of a peer that is gone.
  void DropPeer(uint16_t peer_id);

  struct Row {
    NatProtocol protocol;
    FarEndpoint far;
    NearEndpoint near;
    Mapping mapping;
    uint8_t tcp_seen;
    uint32_t idle_seconds;
  };
  struct Page {
    std::vector<Row> rows;
    uint32_t next;  // where to go on; 0: that was all
  };
  // The flows from place `from` (0: the first) on, at most `most` of them. Bounded work: a page may be short,
  // even empty, and not be the last. Flows that come and go between two pages may be missed, none comes
  // twice.
  Page Rows(uint32_t from, uint32_t most, uint32_t now) const;

  // Takes up a flow that Rows of an earlier process has told. False, and nothing changes: it is outside the
  // limits, contradicts another one, or has been idle for too long.
  bool Restore(const Row& row, uint32_t now);

 private:
  static constexpr size_t kProtocols = static_cast<size_t>(NatProtocol::count_);
  static constexpr uint32_t kNone = SharedIndex::kNone;
  // How much one eviction may look at.
  static constexpr uint32_t kLookAtFlows = 256;
  static constexpr uint32_t kLookAtPorts = 128;
  static constexpr uint32_t kLookAtFlowsOfPort = 8;

  using Blocks = std::array<PortBlock, kProtocols>;
  struct Links {
    uint32_t next, previous;  // flows of one binding
  };
  struct Tables {
    Tables(uint32_t flows, std::array<uint64_t, 2> seed);
    SharedIndex far;    // key: far endpoint, owner: protocol, value: binding
    SharedIndex flows;  // key: near endpoint, owner: binding, value: second of last use, state: tcp_seen
    ZeroedArray<Links> links;
  };
  // A binding's number says where it is: protocol, place in the pool, port.
  static uint32_t NumberOf(NatProtocol protocol, uint32_t pool_index, uint16_t port) {
    return static_cast<uint32_t>(protocol) << 24 | pool_index << 16 | port;
  }
  static NatProtocol ProtocolOf(uint32_t binding) { return static_cast<NatProtocol>(binding >> 24); }
  static uint16_t PortOf(uint32_t binding) { return static_cast<uint16_t>(binding); }

  Mapping MappingAt(uint32_t binding) const {
    return {addresses_[binding >> 16 & 0xff].load(std::memory_order_relaxed), PortOf(binding)};
  }
  // kNone: not in the pool. Any thread.
  uint32_t PoolIndexOf(uint32_t address) const;
  PortBlock& BlockOf(uint32_t binding) const {
    return (*blocks_[binding >> 16 & 0xff])[static_cast<size_t>(ProtocolOf(binding))];
  }
  PortBlock::Slot& SlotOf(uint32_t binding) const { return BlockOf(binding)[PortOf(binding)]; }
  FarEndpoint FarAt(uint32_t binding) const;

  void Touch(uint32_t flow, NatProtocol protocol, uint8_t tcp_flags, bool from_far, uint32_t now);

  // All of these under mutex_.
  Opened Open(NatProtocol protocol, const FarEndpoint& far, const NearEndpoint& near, uint8_t tcp_flags,
              uint32_t now);
  uint32_t ChooseBinding(NatProtocol protocol, const FarEndpoint& far) const;
  void AddBinding(uint32_t binding, const FarEndpoint& far);
  void AddFlow(uint32_t binding, const NearEndpoint& near, uint8_t seen, uint32_t used);
  void EraseFlow(uint32_t flow);  // its binding, too, with the last one
  void EraseBinding(uint32_t binding);
  void EraseOutside(uint32_t pool_index, uint32_t first_port, uint32_t last_port);
  uint32_t BindingsInUse(NatProtocol protocol) const;
  bool AdmitFlow(uint32_t binding, const FarEndpoint& far, uint32_t now);
  bool AdmitBinding(NatProtocol protocol, const FarEndpoint& far, uint32_t now);
  struct Age {
    uint8_t rank = 0;  // 0: may not go; higher goes first
    uint32_t idle = 0;
    bool operator<(const Age& other) const {
      return rank != other.rank ? rank < other.rank : idle < other.idle;
    }
  };
  Age AgeOfFlow(uint32_t flow, uint32_t now) const;
  Age AgeOfBinding(uint32_t binding, uint32_t now) const;

  const std::array<uint64_t, 2> seed_;
  // Written by Configure, read by all: an address is stored after its blocks, which stay for good.
  std::array<std::atomic<uint32_t>, kAddresses> addresses_{};
  std::array<std::unique_ptr<Blocks>, kAddresses> blocks_;
  std::unique_ptr<Tables> tables_;

  mutable std::mutex mutex_;
  uint16_t first_port_ = 0;
  uint16_t last_port_ = 0;
  std::vector<uint32_t> pool_;  // indexes into addresses_, in the order of the settings
  uint32_t flow_limit_ = 0;
  uint32_t bindings_ = 0;
  FarHosts hosts_;
  uint32_t sweep_at_ = 0;
  uint32_t look_at_flow_ = 0;
  std::array<uint32_t, kProtocols> look_at_port_{};
};

}  // namespace vpc_conn::forward
