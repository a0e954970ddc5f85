// Underlay -> overlay where the tunnel runs over IPv6 (RFC 8200): the rule of decap.h for the other outer
// header.
#pragma once

#include "forward/context.h"
#include "wire/cursor.h"

namespace vpc_conn::forward {

// `cursor` stands behind the Ethernet header at `outer_ethernet`, whose type is IPv6. As Decapsulate
// otherwise.
Verdict DecapsulateOver6(ReceivedFrame& frame, wire::Cursor& cursor, const uint8_t* outer_ethernet,
                         Context& context);

}  // namespace vpc_conn::forward
