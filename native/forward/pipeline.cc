#include "forward/pipeline.h"

#include <cstring>
#include <utility>

#include "forward/decap.h"
#include "forward/encap.h"

namespace vpc_conn::forward {

Pipeline::Pipeline(Direction direction, SharedState& shared, CounterBlock& counters, EventSink& events,
                   Flusher& flusher)
    : direction_(direction),
      shared_(shared),
      counters_(counters),
      events_(events),
      coalescer_(flusher, counters),
      batch_(coalescer_),
      icmp_errors_(counters) {}

// What a frame meets is the same for all of a batch.
void Pipeline::BuildContext(const Snapshot& snapshot, uint32_t now_seconds) {
  context_.emplace(Context{snapshot, shared_, counters_, events_, batch_, coalescer_, super_frames_,
                           icmp_errors_, fragments_, known_pairs_, strip_marker_, handover_, now_seconds});
}

inline Verdict Pipeline::Run(ReceivedFrame& frame, const Snapshot& snapshot, uint32_t now_seconds) {
  if (!context_ || &context_->snapshot != &snapshot || context_->now_seconds != now_seconds) [[unlikely]] {
    BuildContext(snapshot, now_seconds);
  }
  return direction_ == Direction::encap ? Encapsulate(frame, *context_) : Decapsulate(frame, *context_);
}

Verdict Pipeline::Process(ReceivedFrame& frame, const Snapshot& snapshot, uint32_t now_seconds) {
  counters_.Add(Counter::rx_frames);
  counters_.Add(Counter::rx_bytes, frame.wire_length);
  Verdict verdict = Run(frame, snapshot, now_seconds);
  switch (verdict.disposition) {
    case Disposition::forwarded:
      counters_.Add(Counter::forwarded);
      break;
    case Disposition::punted:
      counters_.Add(Counter::punted);
      break;
    case Disposition::kept:
      counters_.Add(Counter::held);
      break;
    case Disposition::held:
      if (Hold(frame, now_seconds)) {
        counters_.Add(Counter::held);
        break;
      }
      verdict = Verdict::Drop(DropReason::neighbor_unresolved);
      [[fallthrough]];
    case Disposition::dropped:
      counters_.Drop(verdict.reason);
      break;
  }
  if (fragments_.has_ready()) ReleaseFragments(snapshot, now_seconds);
  if (handover_ != nullptr && handover_->full()) Flush();
  return verdict;
}

// The first fragment of a packet has come; it is the last of those that wait.
void Pipeline::ReleaseFragments(const Snapshot& snapshot, uint32_t now_seconds) {
  while (fragments_.has_ready()) {
    FragmentTable::Waiting waiting = fragments_.TakeReady();
    const Verdict verdict = Run(waiting.frame, snapshot, now_seconds);
    if (verdict.disposition == Disposition::dropped) {
      counters_.Drop(verdict.reason);
    } else if (verdict.disposition != Disposition::held) {
      counters_.Add(Counter::hold_released);
      batch_.Flush();  // the batch points into the storage that goes now
    } else if (!Hold(waiting.frame, now_seconds)) {
      counters_.Drop(DropReason::neighbor_unresolved);
    }
  }
}

bool Pipeline::Hold(const ReceivedFrame& frame, uint32_t now_seconds) {
  if (frame.length > kHeldBytes) return false;
  if (held_.size() == kHeldFrames) {
    spare_.push_back(std::move(held_.front().storage));
    held_.pop_front();
    counters_.Drop(DropReason::hold_full);
  }
  HeldFrame held;
  if (spare_.empty()) {
    held.storage = std::make_unique<uint8_t[]>(kHeadroom + kHeldBytes);
  } else {
    held.storage = std::move(spare_.back());
    spare_.pop_back();
  }
  held.frame = frame;
  held.frame.data = held.storage.get() + kHeadroom;
  held.frame.replayed = true;
  held.since = now_seconds;
  std::memcpy(held.frame.data, frame.data, frame.length);
  held_.push_back(std::move(held));
  return true;
}

void Pipeline::RetryHeld(const Snapshot& snapshot, uint32_t now_seconds) {
  if (const uint32_t gone = fragments_.Expire(now_seconds)) {
    counters_.Drop(DropReason::fragment_timeout, gone);
  }
  for (size_t left = held_.size(); left != 0; left--) {
    HeldFrame held = std::move(held_.front());
    held_.pop_front();
    const Verdict verdict = Run(held.frame, snapshot, now_seconds);
    if (verdict.disposition == Disposition::held) {
      if (now_seconds - held.since <= kHoldSeconds) {
        held_.push_back(std::move(held));
        continue;
      }
      counters_.Drop(DropReason::neighbor_unresolved);
    } else if (verdict.disposition == Disposition::dropped) {
      counters_.Drop(verdict.reason);
    } else {
      counters_.Add(Counter::hold_released);
      batch_.Flush();  // the batch points into the storage that is reused next
    }
    spare_.push_back(std::move(held.storage));
  }
}

}  // namespace vpc_conn::forward
