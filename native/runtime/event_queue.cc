#include "runtime/event_queue.h"

#include <algorithm>
#include <utility>

#include "forward/snapshot.h"
#include "runtime/clock.h"

namespace vpc_conn::runtime {

bool EventQueue::Push(Event event) {
  bool was_empty;
  {
    const std::lock_guard lock(mutex_);
    if (events_.size() == kEvents) return false;
    was_empty = events_.empty();
    events_.push_back(std::move(event));
  }
  if (was_empty) wake_();
  return true;
}

std::vector<Event> EventQueue::Take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(events_, {});
}

namespace {

uint64_t KeyOf(uint16_t scope, uint32_t address) {
  return (uint64_t{scope} + 1) << 32 | address;
}
uint64_t KeyOf(uint16_t scope, const wire::Ipv6Address& address) {
  return forward::MixHash(forward::NeighborKey(scope, address));
}

}  // namespace

bool WorkerEvents::Repeats(std::array<Recent, 256>& recent, uint64_t key) {
  Recent& entry = recent[forward::MixHash(key) & 255];
  if (entry.key == key && entry.seconds == now_seconds_) return true;
  entry = {key, now_seconds_};
  return false;
}

void WorkerEvents::Push(Event event) {
  if (!queue_.Push(std::move(event))) counters_.Add(forward::Counter::events_lost);
}

void WorkerEvents::Unresolved(uint16_t scope, uint32_t address) {
  if (Repeats(unresolved_, KeyOf(scope, address))) return;
  Push({.kind = Event::Kind::unresolved, .scope = scope, .address = address});
}

void WorkerEvents::Heard(uint16_t scope, uint32_t address) {
  if (Repeats(heard_, KeyOf(scope, address))) return;
  Push({.kind = Event::Kind::heard, .scope = scope, .address = address});
}

void WorkerEvents::Arp(uint16_t scope, std::span<const uint8_t> frame) {
  if (frame.size() > kLargestArp) frame = frame.first(kLargestArp);
  Push({.kind = Event::Kind::arp, .scope = scope, .frame = {frame.begin(), frame.end()}});
}

bool WorkerEvents::MayReportPath() {
  if (path_report_second_ != now_seconds_) {
    path_report_second_ = now_seconds_;
    path_reports_ = 0;
  }
  return path_reports_++ < kPathReports;
}

void WorkerEvents::PathReport(uint16_t scope, uint32_t router, uint16_t mtu, uint16_t sent) {
  if (!MayReportPath()) return;
  Push({.kind = Event::Kind::path_report, .scope = scope, .address = router, .mtu = mtu, .sent = sent});
}

void WorkerEvents::PathReport(uint16_t scope, const wire::Ipv6Address& router, uint16_t mtu, uint16_t sent) {
  if (!MayReportPath()) return;
  Push({.kind = Event::Kind::path_report, .scope = scope, .address6 = router, .mtu = mtu, .sent = sent});
}

bool WorkerEvents::Spend(std::array<Budget, forward::kMaxPeers>& budgets, uint16_t scope,
                         uint32_t per_second) {
  Budget& budget = budgets[(scope - forward::kScopeTunnel) % forward::kMaxPeers];
  if (budget.seconds != now_seconds_) budget = {now_seconds_, 0};
  if (budget.spent >= per_second) return false;
  budget.spent++;
  return true;
}

bool WorkerEvents::Keepalive(uint16_t scope, std::span<const uint8_t> frame) {
  if (!Spend(keepalive_budget_, scope, kKeepalivesPerSecond)) return false;
  const auto head = frame.first(std::min(frame.size(), kLargestKeepalive));
  Push({.kind = Event::Kind::keepalive,
        .scope = scope,
        .frame = {head.begin(), head.end()},
        .length = static_cast<uint32_t>(frame.size()),
        .received_ns = MonotonicNanoseconds()});
  return true;
}

void WorkerEvents::Unlisted(uint16_t scope, uint32_t address) {
  if (Repeats(unlisted_, KeyOf(scope, address)) || !Spend(unlisted_budget_, scope, kUnlistedPerSecond))
    return;
  Push({.kind = Event::Kind::unlisted, .scope = scope, .address = address});
}

void WorkerEvents::Unresolved(uint16_t scope, const wire::Ipv6Address& address) {
  if (Repeats(unresolved_, KeyOf(scope, address))) return;
  Push({.kind = Event::Kind::unresolved, .scope = scope, .address6 = address});
}

void WorkerEvents::Heard(uint16_t scope, const wire::Ipv6Address& address) {
  if (Repeats(heard_, KeyOf(scope, address))) return;
  Push({.kind = Event::Kind::heard, .scope = scope, .address6 = address});
}

void WorkerEvents::NeighborDiscovery(uint16_t scope, std::span<const uint8_t> frame) {
  if (frame.size() > kLargestNeighborDiscovery) frame = frame.first(kLargestNeighborDiscovery);
  Push({.kind = Event::Kind::neighbor_discovery, .scope = scope, .frame = {frame.begin(), frame.end()}});
}

}  // namespace vpc_conn::runtime
