#include "forward/known_flows.h"

#include <cstring>

#include "forward/decap.h"

namespace vpc_conn::forward {

namespace {

// Six bytes of MAC as on the wire, then a number as the machine has it.
uint64_t Word(uint64_t mac, uint16_t number) {
  std::array<uint8_t, 8> bytes;
  wire::StoreMac(bytes.data(), mac);
  std::memcpy(bytes.data() + 6, &number, sizeof number);
  uint64_t word;
  std::memcpy(&word, bytes.data(), sizeof word);
  return word;
}

uint64_t MacOf(uint64_t word) {
  std::array<uint8_t, 8> bytes;
  std::memcpy(bytes.data(), &word, sizeof word);
  return wire::MacToInteger(bytes.data());
}

uint16_t NumberOf(uint64_t word) {
  uint16_t number;
  std::memcpy(&number, reinterpret_cast<const uint8_t*>(&word) + 6, sizeof number);
  return number;
}

uint32_t HostOrder(uint32_t in_memory) {
  return wire::LoadBe32(reinterpret_cast<const uint8_t*>(&in_memory));
}

// False: another thread writes the entry now.
bool Lock(KnownFlow& entry) {
  uint32_t version = entry.version.load(std::memory_order_relaxed);
  if ((version & 1) != 0 ||
      !entry.version.compare_exchange_strong(version, version + 1, std::memory_order_acquire)) {
    return false;
  }
  std::atomic_thread_fence(std::memory_order_release);
  return true;
}

void Unlock(KnownFlow& entry) {
  entry.version.store(entry.version.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

// The neighbor that the flow goes to; nullptr: it is not right under `snapshot`.
const Neighbor* StillRight(const KnownFlow& entry, const Snapshot& snapshot) {
  const ForwardingTable& table = *snapshot.table;
  const uint64_t local = entry.local.load(std::memory_order_relaxed);
  const uint32_t source = HostOrder(entry.source.load(std::memory_order_relaxed));
  const uint32_t destination = HostOrder(entry.destination.load(std::memory_order_relaxed));
  const Peer* peer = table.PeerById(NumberOf(entry.far.load(std::memory_order_relaxed)));
  if (peer == nullptr || peer->resolve_through_tunnel) return nullptr;
  if (CheckDelivery(source, destination, table, false)) return nullptr;
  if (table.ProxiedAddressOf(table.PeerIndex(*peer), source) != source) return nullptr;
  const Neighbor* neighbor = snapshot.neighbors.Find(NeighborKey(kScopeOverlay, destination));
  if (neighbor == nullptr || neighbor->failed || neighbor->mac != MacOf(local)) return nullptr;
  return neighbor;
}

}  // namespace

void KnownFlows::Know(const Flow& flow, uint64_t generation, uint32_t now_seconds) {
  KnownFlow& entry = entries_[FlowSlot(flow.peer_id, flow.source, flow.destination)];
  const uint32_t wanted = GenerationOf(generation);
  const uint64_t far = Word(flow.far_mac, flow.peer_id);
  const uint64_t local = Word(flow.local_mac, flow.neighbor_slot);
  const uint32_t has = entry.generation.load(std::memory_order_relaxed);
  const bool same = entry.source.load(std::memory_order_relaxed) == flow.source &&
                    entry.destination.load(std::memory_order_relaxed) == flow.destination &&
                    NumberOf(entry.far.load(std::memory_order_relaxed)) == flow.peer_id;
  if (has > wanted) return;  // a newer table is in force already
  if (has == wanted) {
    if (same && entry.far.load(std::memory_order_relaxed) == far &&
        entry.local.load(std::memory_order_relaxed) == local) {
      return;
    }
    if (!same && now_seconds - entry.used_seconds.load(std::memory_order_relaxed) < kInUseSeconds) return;
  }
  if (!Lock(entry)) return;  // the next frame comes soon
  entry.source.store(flow.source, std::memory_order_relaxed);
  entry.destination.store(flow.destination, std::memory_order_relaxed);
  entry.far.store(far, std::memory_order_relaxed);
  entry.local.store(local, std::memory_order_relaxed);
  entry.used_seconds.store(now_seconds, std::memory_order_relaxed);
  entry.generation.store(wanted, std::memory_order_relaxed);
  Unlock(entry);
}

void KnownFlows::Renew(const Snapshot& next) {
  const uint32_t wanted = GenerationOf(next.generation);
  for (KnownFlow& entry : entries_) {
    if (entry.generation.load(std::memory_order_relaxed) != generation_ || generation_ == 0) continue;
    if (!Lock(entry)) continue;  // written for the old table: not taken over
    if (const Neighbor* neighbor = StillRight(entry, next)) {
      entry.local.store(Word(neighbor->mac, neighbor->slot), std::memory_order_relaxed);
      entry.generation.store(wanted, std::memory_order_relaxed);
    } else {
      entry.generation.store(0, std::memory_order_relaxed);
    }
    Unlock(entry);
  }
  generation_ = wanted;
}

void KnownFlows::MarkUsed(std::atomic<uint32_t>* neighbor_use) const {
  for (const KnownFlow& entry : entries_) {
    if (entry.generation.load(std::memory_order_relaxed) != generation_ || generation_ == 0) continue;
    const uint32_t seconds = entry.used_seconds.load(std::memory_order_relaxed);
    std::atomic<uint32_t>& mark = neighbor_use[NumberOf(entry.local.load(std::memory_order_relaxed))];
    if (mark.load(std::memory_order_relaxed) < seconds) mark.store(seconds, std::memory_order_relaxed);
  }
}

void FlowHandover::Commit() {
  for (size_t i = 0; i < count_; i++) {
    std::atomic<uint32_t>& done = counts_[taken_[i]].done;
    // Release: what was sent is sent before the kernel can see it done.
    done.store(done.load(std::memory_order_relaxed) + 1, std::memory_order_release);
  }
  count_ = 0;
}

void FlowHandover::HealSlots(uint64_t now_nanoseconds) {
  if (now_nanoseconds - seen_nanoseconds_ < kQuietNanoseconds) return;
  const bool looked_before = seen_nanoseconds_ != 0;
  bool left = false;
  for (size_t slot = 0; slot < counts_.size(); slot++) {
    HandoverCount& count = counts_[slot];
    const uint32_t given = count.given.load(std::memory_order_acquire);
    if (given == count.done.load(std::memory_order_relaxed)) continue;
    if (looked_before && seen_[slot] == given) {
      count.done.store(given, std::memory_order_release);
    } else {
      seen_[slot] = given;
      left = true;
    }
  }
  lost_ = left;
  seen_nanoseconds_ = left ? now_nanoseconds : 0;
}

}  // namespace vpc_conn::forward
