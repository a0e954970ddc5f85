// Underlay -> overlay for IPv6 between hosts: the rule of decap.h, without masquerade.
#pragma once

#include "forward/arrival.h"
#include "forward/context.h"
#include "wire/cursor.h"

namespace vpc_conn::forward {

// `cursor` stands behind the inner Ethernet header at `arrival.ethernet`, whose type is IPv6.
Verdict DeliverFrame6(wire::Cursor& cursor, const Arrival& arrival, Context& context);

}  // namespace vpc_conn::forward
