// Overlay -> underlay for IPv6 between hosts: the rule of encap.h, without masquerade.
#pragma once

#include "forward/context.h"
#include "wire/cursor.h"

namespace vpc_conn::forward {

// `cursor` stands behind the Ethernet header at `ethernet`, whose type is IPv6. As Encapsulate otherwise.
Verdict Encapsulate6(ReceivedFrame& frame, wire::Cursor& cursor, uint8_t* ethernet, Context& context);

}  // namespace vpc_conn::forward
