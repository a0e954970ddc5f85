// What the next frames will read of masquerade's tables, asked of memory before they are handled. With a
// million flows every lookup misses the caches; misses that overlap cost little more than one of them.
//
// Only hints: frames are judged by the pipelines alone, and what is not recognised here is merely slower.
#pragma once

#include <cstdint>
#include <span>

#include "forward/context.h"

namespace vpc_conn::forward {

// As many misses as a core has under way at once.
inline constexpr uint32_t kLookAhead = 16;

// At most kLookAhead frames; the frames are not changed. Worker thread.
void LookAheadEncap(std::span<const ReceivedFrame> frames, const ForwardingTable& table,
                    const Bindings& bindings);
// `strip_marker`: as in Context.
void LookAheadDecap(std::span<const ReceivedFrame> frames, const ForwardingTable& table,
                    const Bindings& bindings, uint32_t strip_marker);

}  // namespace vpc_conn::forward
