// Ids of peers, stable over table changes: a peer is its (local, remote) address pair. JS thread.
#pragma once

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
  std::map<uint64_t, uint16_t> ids_;  // local << 32 | remote
  // Counters and learned MACs are kept by id: one that is given back is used again as late as can be.
  uint32_t next_ = 0;
};

}  // namespace vpc_conn::runtime
