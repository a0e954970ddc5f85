// Overlay -> underlay: what arrives for a proxied address (or a masquerade port) is rewritten to the far host
// and encapsulated to its peer.
#pragma once

#include "forward/context.h"

namespace vpc_conn::forward {

// Decides, edits `frame` in place and adds what is to be sent to the batch. Nothing of the frame is changed
// when the verdict is held. Worker thread.
Verdict Encapsulate(ReceivedFrame& frame, Context& context);

}  // namespace vpc_conn::forward
