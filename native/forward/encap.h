// Overlay -> underlay: what arrives for a proxied address (or a masquerade port) is rewritten to the far host
// and encapsulated to its peer.
#pragma once

#include "forward/context.h"

namespace vpc_conn::forward {

// Decides, edits `frame` in place and adds what is to be sent to the batch. Nothing of the frame is changed
// when the verdict is held. Worker thread.
Verdict Encapsulate(ReceivedFrame& frame, Context& context);

// Whether a plain packet (no ICMP error, no fragment) from `source` to `destination` goes to `peer`, with
// nothing but MACs changed, under any neighbors.
bool IsPlainPair(uint32_t source, uint32_t destination, const Peer& peer, const ForwardingTable& table);

}  // namespace vpc_conn::forward
