// What both pipelines do with fragments of masqueraded packets (forward/fragment_table.h).
#pragma once

#include <optional>

#include "forward/context.h"

namespace vpc_conn::forward {

// A later fragment without a first one: it waits.
inline Verdict KeepFragment(const FragmentKey& key, const ReceivedFrame& frame, Context& context) {
  // One that waited comes again only behind its first fragment; if that was refused, so is this one.
  if (frame.replayed) return Verdict::Drop(DropReason::fragment_timeout);
  const FragmentTable::Outcome outcome = context.fragments.Wait(key, frame, context.now_seconds);
  if (outcome == FragmentTable::Outcome::refused) return Verdict::Drop(DropReason::fragments_full);
  if (outcome == FragmentTable::Outcome::displaced) context.counters.Drop(DropReason::fragments_full);
  return Verdict::Kept();
}

// A first fragment: if others came before it, it takes its place behind them. nullopt: none did.
inline std::optional<Verdict> KeepFirstInOrder(const FragmentKey& key, const ReceivedFrame& frame,
                                               Context& context) {
  if (frame.replayed || !context.fragments.IsAwaited(key)) return std::nullopt;
  context.fragments.Release(key, frame);
  return Verdict::Kept();
}

}  // namespace vpc_conn::forward
