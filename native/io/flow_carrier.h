// Kernel decapsulation of known flows (bpf/carry.bpf.c): its maps, its programs, and their link to the
// underlay interface, as long as this object lives. Frames reach it only from XdpStrip.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bpf/layout.h"
#include "forward/counters.h"
#include "forward/forwarding_table.h"
#include "forward/known_flows.h"
#include "io/bpf.h"
#include "io/packet_socket.h"

namespace vpc_conn::io {

class FlowCarrier {
 public:
  // Loads, tests and attaches for `workers` decap workers; nothing is carried before Open. Throws
  // SystemError: no TCX (Linux 6.6), no privileges; std::runtime_error: the self-test failed.
  FlowCarrier(const Interface& overlay, const Interface& underlay, uint32_t marker, uint32_t workers);

  // From now on flows of `generation` are carried, and no others. JS thread.
  void Open(const forward::TableContents& contents, uint64_t generation);

  forward::KnownFlows& flows() { return flows_; }
  // Of worker `index`: the filter for its socket, which gives it all that is not carried, and its account.
  const UniqueFd& filter(uint32_t index) const { return workers_[index]->filter; }
  forward::FlowHandover& handover(uint32_t index) { return workers_[index]->handover; }

  // Frames that another program on the interface's ingress took away; the first one closes the path for good.
  uint32_t lost() const;

  // Adds what the kernel carried: to a row of forward::kCounters, and to a peer's row.
  void AddCounters(std::span<uint64_t> row) const;
  void AddPeerCounters(uint16_t peer_id, std::span<uint64_t> row) const;

 private:
  struct Worker {
    Worker(const UniqueFd& known, const UniqueFd& settings, const UniqueFd& chosen,
           forward::KnownFlows& flows);
    UniqueFd map;
    MappedBpfArray counts;
    UniqueFd filter;
    forward::FlowHandover handover;
  };

  carry_settings& settings() const { return *static_cast<carry_settings*>(settings_memory_.data()); }
  std::span<const carried> by_peer() const {
    return {static_cast<const carried*>(carried_memory_.data()), CARRY_PEERS};
  }
  // Throws std::runtime_error when the programs do not what they should.
  void Test();

  UniqueFd known_map_;
  UniqueFd settings_map_;
  UniqueFd chosen_map_;
  UniqueFd carried_map_;
  MappedBpfArray known_memory_;
  MappedBpfArray settings_memory_;
  MappedBpfArray carried_memory_;
  forward::KnownFlows flows_;
  std::vector<std::unique_ptr<Worker>> workers_;
  UniqueFd program_;
  UniqueFd link_;
};

}  // namespace vpc_conn::io
