// Encapsulation in the kernel for pairs of hosts that the encap pipeline has decided about (bpf/
// known_encap.bpf.c): their plain packets never wake the worker. Belongs to one encap worker.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "bpf/layout.h"
#include "forward/context.h"
#include "forward/known_pairs.h"
#include "io/bpf.h"
#include "io/packet_socket.h"
#include "io/socket_filter.h"

namespace vpc_conn::io {

class KnownEncap final : public forward::KnownPairs {
 public:
  // Loads and tests the programs, and links the sending one to the overlay's ingress. Throws SystemError, or
  // std::runtime_error when the self-test fails.
  KnownEncap(const Interface& overlay, int underlay_ifindex);

  // For the worker's receive socket: what it lets through is the C++ path's.
  const UniqueFd& filter() const { return choose_; }

  // JS thread, with every table.
  void SetTable(const OverlayFilterOptions& options, const wire::Mac& overlay_mac);
  // Nothing is chosen any more, or again; the pairs stay known. JS thread.
  void SetActive(bool active);
  // Before the snapshot of `generation` is published: nothing is chosen until Review has held the pairs
  // against it. JS thread.
  void Suspend(uint64_t generation);

  void Offer(const forward::KnownPair& pair, uint32_t now_seconds) override;

  // After every batch: `taken` frames of the ring are sent or dropped, `lost` never got into it; both since
  // the start. Worker thread.
  void Done(uint64_t taken, uint64_t lost);

  // With each new snapshot and once a second: forgets what is not true any more, and marks neighbors as used.
  // Worker thread.
  void Review(const forward::Snapshot& snapshot, const forward::SharedState& shared, uint32_t now_seconds);

  // JS thread. `index`: a peer's id, or KNOWN_SHED (which counts in `frames`).
  known_count ReadCounts(uint32_t index) const;
  // Frames that another program on the interface's ingress took away; the first one ends the choosing.
  uint32_t lost() const;

 private:
  // What the worker knows of a cell besides what the programs see.
  struct Cell {
    uint16_t neighbor_slot = 0;
    uint32_t used_seconds = 0;
  };

  void Test();
  void Forget(uint32_t cell);
  // The outer header that the pair's packets still get; nullptr: the pair must be decided anew.
  static const forward::OuterHeader* StillTrue(const known_pair& pair, const forward::Snapshot& snapshot,
                                               const forward::SharedState& shared, bool same_table);

  known_settings& settings() const { return *static_cast<known_settings*>(settings_.data()); }
  known_pair* pairs() const { return static_cast<known_pair*>(pairs_.data()); }

  const UniqueFd pairs_map_;
  const UniqueFd settings_map_;
  const UniqueFd handoff_map_;
  const UniqueFd counts_map_;
  const MappedBpfArray pairs_;
  const MappedBpfArray settings_;
  const UniqueFd choose_;
  const UniqueFd send_;
  UniqueFd link_;
  std::unique_ptr<Cell[]> cells_ = std::make_unique<Cell[]>(KNOWN_CELLS);
  std::vector<uint32_t> known_;                            // cells that hold a pair
  std::shared_ptr<const forward::ForwardingTable> table_;  // that the known pairs come from
  uint64_t lost_and_done_ = 0;
};

}  // namespace vpc_conn::io
