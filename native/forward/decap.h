// Underlay -> overlay: what a configured peer sends is checked, given a source address that this VPC accepts,
// and delivered to the local host.
#pragma once

#include <optional>

#include "forward/context.h"
#include "wire/cursor.h"

namespace vpc_conn::forward {

// Decides, edits `frame` in place and adds what is to be sent to the batch. Nothing but a mended checksum is
// changed when the verdict is held. Worker thread.
Verdict Decapsulate(ReceivedFrame& frame, Context& context);

// What follows an outer header that was found right: the cursor stands at the EtherIP header and is limited
// to the outer packet, whose last byte is `frame`'s byte `end` - 1. As Decapsulate.
Verdict Unwrap(ReceivedFrame& frame, wire::Cursor& cursor, const Peer& peer, uint32_t end, uint8_t outer_tos,
               Context& context);

// Whether a packet between these addresses, a far host's real one and a local host's, may be delivered at
// all; nullopt: it may. `reserved_source`: such a source is fine.
std::optional<DropReason> CheckDelivery(uint32_t source, uint32_t destination, const ForwardingTable& table,
                                        bool reserved_source);

}  // namespace vpc_conn::forward
