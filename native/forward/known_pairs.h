// The port for pairs of hosts whose plain packets the kernel may carry by itself from now on (rung "full").
#pragma once

#include <cstdint>
#include <optional>

#include "forward/snapshot.h"

namespace vpc_conn::forward {

// What the encap pipeline decided about packets from `source` to `destination` (host order): to `peer`, with
// nothing but MACs changed.
struct KnownPair {
  uint32_t source;
  uint32_t destination;
  const Peer* peer;
  const OuterHeader* outer;
  std::optional<uint64_t> inner_mac;  // nullopt: stays as it is
};

class KnownPairs {
 public:
  virtual ~KnownPairs() = default;
  // After a packet of the pair was sent. May decline; is offered again with the next packet. Worker thread.
  virtual void Offer(const KnownPair& pair, uint32_t now_seconds) = 0;
};

}  // namespace vpc_conn::forward
