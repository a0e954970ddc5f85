// Underlay -> overlay: what a configured peer sends is checked, given a source address that this VPC accepts,
// and delivered to the local host.
#pragma once

#include "forward/context.h"

namespace vpc_conn::forward {

// Decides, edits `frame` in place and adds what is to be sent to the batch. Nothing but a mended checksum is
// changed when the verdict is held. Worker thread.
Verdict Decapsulate(ReceivedFrame& frame, Context& context);

}  // namespace vpc_conn::forward
