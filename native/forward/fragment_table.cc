#include "forward/fragment_table.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "forward/flat_map.h"

namespace vpc_conn::forward {

uint32_t FragmentTable::SetOf(const FragmentKey& key) {
  return static_cast<uint32_t>(MixHash(key.addresses ^ MixHash(key.rest)) % (kRemembered / kWays)) * kWays;
}

const FragmentFate* FragmentTable::Find(const FragmentKey& key, uint32_t now_seconds) const {
  if (!entries_) return nullptr;
  const uint32_t set = SetOf(key);
  for (uint32_t i = set; i < set + kWays; i++) {
    const Entry& entry = (*entries_)[i];
    if (entry.used && entry.key == key && now_seconds - entry.since <= kSeconds) return &entry.fate;
  }
  return nullptr;
}

void FragmentTable::Remember(const FragmentKey& key, const FragmentFate& fate, uint32_t now_seconds) {
  if (!entries_) entries_ = std::make_unique<std::array<Entry, kRemembered>>();
  const uint32_t set = SetOf(key);
  Entry* place = &(*entries_)[set];
  for (uint32_t i = set; i < set + kWays; i++) {
    Entry& entry = (*entries_)[i];
    if (!entry.used || entry.key == key) {
      place = &entry;
      break;
    }
    if (now_seconds - entry.since > now_seconds - place->since) place = &entry;
  }
  *place = {key, fate, now_seconds, true};
}

FragmentTable::Waiting FragmentTable::Copy(const FragmentKey& key, const ReceivedFrame& frame,
                                           uint32_t now_seconds) {
  Waiting waiting{key, std::make_unique<uint8_t[]>(kHeadroom + frame.length), frame, now_seconds};
  waiting.frame.data = waiting.storage.get() + kHeadroom;
  waiting.frame.replayed = true;
  std::memcpy(waiting.frame.data, frame.data, frame.length);
  return waiting;
}

FragmentTable::Outcome FragmentTable::Wait(const FragmentKey& key, const ReceivedFrame& frame,
                                           uint32_t now_seconds) {
  const auto of_one = std::count_if(waiting_.begin(), waiting_.end(), [&](const Waiting& other) {
    return other.key.addresses >> 32 == key.addresses >> 32;
  });
  if (frame.length > kLargestWaiting || of_one >= kWaitingOfOne) return Outcome::refused;
  const bool full = waiting_.size() == kWaiting;
  if (full) waiting_.pop_front();
  waiting_.push_back(Copy(key, frame, now_seconds));
  return full ? Outcome::displaced : Outcome::kept;
}

bool FragmentTable::IsAwaited(const FragmentKey& key) const {
  return std::any_of(waiting_.begin(), waiting_.end(),
                     [&](const Waiting& waiting) { return waiting.key == key; });
}

void FragmentTable::Release(const FragmentKey& key, const ReceivedFrame& first) {
  for (auto at = waiting_.begin(); at != waiting_.end();) {
    if (at->key != key) {
      ++at;
      continue;
    }
    ready_.push_back(std::move(*at));
    at = waiting_.erase(at);
  }
  ready_.push_back(Copy(key, first, 0));
}

FragmentTable::Waiting FragmentTable::TakeReady() {
  Waiting first = std::move(ready_.front());
  ready_.pop_front();
  return first;
}

uint32_t FragmentTable::Expire(uint32_t now_seconds) {
  uint32_t gone = 0;
  while (!waiting_.empty() && now_seconds - waiting_.front().since > kSeconds) {
    waiting_.pop_front();
    gone++;
  }
  return gone;
}

}  // namespace vpc_conn::forward
