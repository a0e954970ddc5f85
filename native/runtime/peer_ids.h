// Ids of peers, stable over table changes: a peer is its (local, remote) address pair. JS thread.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <vector>

#include "forward/forwarding_table.h"

namespace vpc_conn::runtime {

class PeerIds {
 public:
  // Fills in the ids of the peers of a new table. Returns the ids that are no longer in use. nullopt: more
  // than forward::kMaxPeers.
  std::optional<std::vector<uint16_t>> Assign(std::span<forward::Peer> peers);

 private:
  // Local and remote address in two halves each. IPv4 has its 32 bits where IPv6 has none (::/96).
  using Ends = std::array<uint64_t, 4>;
  std::map<Ends, uint16_t> ids_;
  // Counters and learned MACs are kept by id: one that is given back is used again as late as can be.
  uint32_t next_ = 0;
};

}  // namespace vpc_conn::runtime
