// What happens to bindings beside the packets: expiry, listing, taking up again.
#include <algorithm>

#include "forward/bindings.h"

namespace vpc_conn::forward {

namespace {

// Places between which the mutex is free for the workers.
constexpr uint32_t kPlacesAtOnce = 4096;
// Places that one page may look at.
constexpr uint32_t kPlacesOfPage = 262'144;

}  // namespace

Bindings::InUse Bindings::Sweep(uint32_t now, uint32_t places) {
  uint32_t left = places;
  for (;;) {
    const std::lock_guard lock(mutex_);
    if (!tables_) return {0, 0};
    SharedIndex& flows = tables_->flows;
    left = std::min(left, flows.places());
    for (uint32_t i = std::min(left, kPlacesAtOnce); i != 0 && flows.size() != 0; i--, left--) {
      sweep_at_ = sweep_at_ + 1 < flows.places() ? sweep_at_ + 1 : 0;
      if (!flows.in_use(sweep_at_)) continue;
      const NatProtocol protocol = ProtocolOf(flows.owner(sweep_at_));
      const uint32_t idle = IdleSince(flows.value(sweep_at_).load(std::memory_order_relaxed), now);
      const uint8_t seen = flows.state(sweep_at_).load(std::memory_order_relaxed);
      if (idle > TimeoutOf(protocol, seen)) EraseFlow(sweep_at_);
    }
    if (left == 0 || flows.size() == 0) return {bindings_, flows.size()};
  }
}

Bindings::Page Bindings::Rows(uint32_t from, uint32_t most, uint32_t now) const {
  Page page{{}, from};
  for (uint32_t looked = 0; looked < kPlacesOfPage;) {
    const std::lock_guard lock(mutex_);
    if (!tables_) return {{}, 0};
    const SharedIndex& flows = tables_->flows;
    const uint32_t end =
        std::min(flows.places(), page.next + std::min(kPlacesAtOnce, kPlacesOfPage - looked));
    for (; page.next < end; page.next++, looked++) {
      if (page.rows.size() == most) return page;
      if (!flows.in_use(page.next)) continue;
      const uint32_t binding = flows.owner(page.next);
      const uint64_t near = flows.key(page.next);
      page.rows.push_back({ProtocolOf(binding),
                           FarAt(binding),
                           {static_cast<uint32_t>(near >> 16), static_cast<uint16_t>(near)},
                           MappingAt(binding),
                           flows.state(page.next),
                           IdleSince(flows.value(page.next), now)});
    }
    if (page.next >= flows.places()) {
      page.next = 0;
      return page;
    }
  }
  return page;
}

bool Bindings::Restore(const Row& row, uint32_t now) {
  const std::lock_guard lock(mutex_);
  const uint32_t pool_index = row.mapping.address == 0 ? kNone : PoolIndexOf(row.mapping.address);
  if (!tables_ || pool_index == kNone || row.mapping.port < first_port_ || row.mapping.port > last_port_ ||
      row.protocol >= NatProtocol::count_ || row.far.peer_id >= 0x8000 ||
      (row.tcp_seen & ~tcp_seen::kAll) != 0 || (row.protocol != NatProtocol::tcp && row.tcp_seen != 0) ||
      row.idle_seconds > TimeoutOf(row.protocol, row.tcp_seen) || tables_->flows.size() >= flow_limit_) {
    return false;
  }
  const uint32_t binding = NumberOf(row.protocol, pool_index, row.mapping.port);
  const auto known = MappingOf(row.protocol, row.far);
  if (known) {
    if (known->address != row.mapping.address || known->port != row.mapping.port) return false;
    const uint64_t near = (uint64_t{row.near.address} << 16) | row.near.port;
    if (tables_->flows.Find(near, binding) != kNone) return false;
  } else {
    if (SlotOf(binding).far.load(std::memory_order_relaxed) != 0) return false;
    AddBinding(binding, row.far);
  }
  AddFlow(binding, row.near, row.tcp_seen, now - row.idle_seconds);
  return true;
}

}  // namespace vpc_conn::forward
