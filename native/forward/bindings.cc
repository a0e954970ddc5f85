#include "forward/bindings.h"

#include "forward/flat_map.h"
#include "wire/l4.h"

namespace vpc_conn::forward {

namespace {

// What has been seen of a TCP connection; a binding is shared by all connections of one far port.
constexpr uint8_t kAckFar = 1, kAckLocal = 2, kFinFar = 4, kFinLocal = 8, kReset = 16;

}  // namespace

Bindings::Bindings() {
  for (Protocol& table : protocols_) {
    table.slots = std::make_unique<Slot[]>(kPorts);
    table.index = std::make_unique<std::atomic<uint32_t>[]>(kIndexSize);
  }
}

void Bindings::SetRange(uint16_t first_port, uint16_t last_port) {
  const std::lock_guard lock(mutex_);
  if (first_port_ == first_port && last_port_ == last_port) return;
  first_port_ = first_port;
  last_port_ = last_port;
  for (Protocol& table : protocols_) {
    for (uint32_t port = 0; port < kPorts; port++) {
      if ((port < first_port || port > last_port) && table.slots[port].far.load() != kFree) Free(table, port);
    }
    table.next_port = first_port;
  }
}

std::optional<uint16_t> Bindings::FindPort(NatProtocol protocol, const FarEndpoint& far) const {
  const Protocol& table = at(protocol);
  const uint64_t word = Pack(far);
  for (uint32_t i = MixHash(word) & (kIndexSize - 1), probes = 0; probes < kIndexSize;
       i = (i + 1) & (kIndexSize - 1), probes++) {
    const uint32_t cell = table.index[i].load(std::memory_order_acquire);
    if (cell == 0) return std::nullopt;
    // A cell may outlive its binding: the slot itself says whether the port still is this endpoint's.
    if (table.slots[cell - 1].far.load(std::memory_order_acquire) == word) {
      return static_cast<uint16_t>(cell - 1);
    }
  }
  return std::nullopt;
}

std::optional<uint16_t> Bindings::PortOf(NatProtocol protocol, const FarEndpoint& far, uint32_t now) {
  if (const auto port = FindPort(protocol, far)) return port;
  const std::lock_guard lock(mutex_);
  if (const auto port = FindPort(protocol, far)) return port;  // another worker was faster
  const auto port = Choose(protocol, far.port, now);
  if (port) Claim(at(protocol), *port, Pack(far), now);
  return port;
}

std::optional<Bindings::FarEndpoint> Bindings::FarOf(NatProtocol protocol, uint16_t port) const {
  const uint64_t word = at(protocol).slots[port].far.load(std::memory_order_acquire);
  if (word == kFree) return std::nullopt;
  return Unpack(word);
}

// RFC 4787 REQ-3: the far host's own port where it is free, else the next free one; never two on one port.
std::optional<uint16_t> Bindings::Choose(NatProtocol protocol, uint16_t wanted, uint32_t now) {
  Protocol& table = at(protocol);
  if (last_port_ == 0) return std::nullopt;
  const auto free = [&](uint32_t port) {
    return table.slots[port].far.load(std::memory_order_relaxed) == kFree;
  };
  if (wanted >= first_port_ && wanted <= last_port_ && free(wanted)) return wanted;
  const uint32_t range = last_port_ - first_port_ + 1;
  if (table.in_use < range) {
    for (uint32_t tried = 0; tried < range; tried++) {
      const uint32_t port = table.next_port;
      table.next_port = port == last_port_ ? first_port_ : port + 1;
      if (free(port)) return static_cast<uint16_t>(port);
    }
  }
  // Full. Connections that both ends have closed may go before their time; live ones may not.
  uint32_t oldest = kPorts;
  int32_t oldest_idle = 0;
  for (uint32_t port = first_port_; port <= last_port_; port++) {
    const Slot& slot = table.slots[port];
    if (StateOf(protocol, slot) != State::closing) continue;
    // A worker's clock may be a batch ahead of ours: not idle then.
    const auto idle = static_cast<int32_t>(now - slot.used.load(std::memory_order_relaxed));
    if (oldest == kPorts || idle > oldest_idle) {
      oldest = port;
      oldest_idle = idle;
    }
  }
  if (oldest == kPorts) return std::nullopt;
  Free(table, oldest);
  return static_cast<uint16_t>(oldest);
}

void Bindings::Claim(Protocol& table, uint16_t port, uint64_t far, uint32_t now) {
  Slot& slot = table.slots[port];
  slot.used.store(now, std::memory_order_relaxed);
  slot.tcp.store(0, std::memory_order_relaxed);
  slot.far.store(far, std::memory_order_release);
  table.in_use++;
  if (table.index_used >= kIndexSize / 4 * 3) RebuildIndex(table);
  for (uint32_t i = MixHash(far) & (kIndexSize - 1);; i = (i + 1) & (kIndexSize - 1)) {
    const uint32_t cell = table.index[i].load(std::memory_order_relaxed);
    // Left over from an earlier life of this port, and already where a probe for `far` comes by.
    if (cell == uint32_t{port} + 1) return;
    // A dead cell on the way is taken over; its own endpoint is gone, probes beyond it go on.
    const bool dead = cell != 0 && table.slots[cell - 1].far.load(std::memory_order_relaxed) == kFree;
    if (cell == 0 || dead) {
      if (cell == 0) table.index_used++;
      table.index[i].store(uint32_t{port} + 1, std::memory_order_release);
      return;
    }
  }
}

void Bindings::Free(Protocol& table, uint32_t port) {
  table.slots[port].far.store(kFree, std::memory_order_release);
  table.in_use--;
}

// Cells only ever fill up; when most are dead, start afresh. A lookup during the rebuild may miss, and then
// waits for the mutex in PortOf and looks again.
void Bindings::RebuildIndex(Protocol& table) {
  for (uint32_t i = 0; i < kIndexSize; i++) table.index[i].store(0, std::memory_order_relaxed);
  table.index_used = 0;
  for (uint32_t port = 0; port < kPorts; port++) {
    const uint64_t word = table.slots[port].far.load(std::memory_order_relaxed);
    if (word == kFree) continue;
    uint32_t i = MixHash(word) & (kIndexSize - 1);
    while (table.index[i].load(std::memory_order_relaxed) != 0) i = (i + 1) & (kIndexSize - 1);
    table.index[i].store(port + 1, std::memory_order_release);
    table.index_used++;
  }
}

void Bindings::Touch(NatProtocol protocol, uint16_t port, uint32_t now) {
  std::atomic<uint32_t>& used = at(protocol).slots[port].used;
  if (used.load(std::memory_order_relaxed) != now) used.store(now, std::memory_order_relaxed);
}

void Bindings::TouchTcp(uint16_t port, uint8_t tcp_flags, bool from_far, uint32_t now) {
  Touch(NatProtocol::tcp, port, now);
  Slot& slot = at(NatProtocol::tcp).slots[port];
  uint8_t seen = 0;
  if ((tcp_flags & wire::kTcpAck) != 0) seen |= from_far ? kAckFar : kAckLocal;
  if ((tcp_flags & wire::kTcpFin) != 0) seen |= from_far ? kFinFar : kFinLocal;
  if ((tcp_flags & wire::kTcpRst) != 0) seen |= kReset;
  const uint8_t before = slot.tcp.load(std::memory_order_relaxed);
  if ((tcp_flags & wire::kTcpSyn) != 0 && from_far) {
    if (before != seen) slot.tcp.store(seen, std::memory_order_relaxed);  // a new connection on the same port
  } else if ((before | seen) != before) {
    // Both directions' workers write: neither may undo what the other has seen.
    slot.tcp.fetch_or(seen, std::memory_order_relaxed);
  }
}

Bindings::State Bindings::StateOf(NatProtocol protocol, const Slot& slot) {
  if (protocol != NatProtocol::tcp) return State::established;
  const uint8_t seen = slot.tcp.load(std::memory_order_relaxed);
  if ((seen & kReset) != 0 || (seen & (kFinFar | kFinLocal)) == (kFinFar | kFinLocal)) return State::closing;
  return (seen & (kAckFar | kAckLocal)) == (kAckFar | kAckLocal) ? State::established : State::transitory;
}

uint32_t Bindings::TimeoutOf(NatProtocol protocol, const Slot& slot) {
  switch (protocol) {
    case NatProtocol::udp:
      return kUdpTimeout;
    case NatProtocol::icmp:
      return kIcmpTimeout;
    default:
      return StateOf(protocol, slot) == State::established ? kTcpEstablishedTimeout : kTcpTransitoryTimeout;
  }
}

size_t Bindings::Sweep(uint32_t now) {
  const std::lock_guard lock(mutex_);
  size_t in_use = 0;
  for (size_t p = 0; p < protocols_.size(); p++) {
    Protocol& table = protocols_[p];
    if (table.in_use == 0) continue;
    for (uint32_t port = first_port_; port <= last_port_; port++) {
      const Slot& slot = table.slots[port];
      if (slot.far.load(std::memory_order_relaxed) == kFree) continue;
      // A worker's clock may be a batch ahead of ours: not idle then.
      const auto idle = static_cast<int32_t>(now - slot.used.load(std::memory_order_relaxed));
      if (idle > static_cast<int32_t>(TimeoutOf(static_cast<NatProtocol>(p), slot))) Free(table, port);
    }
    in_use += table.in_use;
  }
  return in_use;
}

void Bindings::DropPeer(uint16_t peer_id) {
  const std::lock_guard lock(mutex_);
  for (Protocol& table : protocols_) {
    for (uint32_t port = 0; port < kPorts; port++) {
      const uint64_t word = table.slots[port].far.load(std::memory_order_relaxed);
      if (word != kFree && Unpack(word).peer_id == peer_id) Free(table, port);
    }
  }
}

std::vector<Bindings::Row> Bindings::Rows(uint32_t now) const {
  const std::lock_guard lock(mutex_);
  std::vector<Row> rows;
  for (size_t p = 0; p < protocols_.size(); p++) {
    if (protocols_[p].in_use == 0) continue;
    for (uint32_t port = first_port_; port <= last_port_; port++) {
      const Slot& slot = protocols_[p].slots[port];
      const uint64_t word = slot.far.load(std::memory_order_relaxed);
      if (word == kFree) continue;
      const auto protocol = static_cast<NatProtocol>(p);
      const auto idle = static_cast<int32_t>(now - slot.used.load(std::memory_order_relaxed));
      rows.push_back({protocol, Unpack(word), static_cast<uint16_t>(port), StateOf(protocol, slot),
                      idle > 0 ? static_cast<uint32_t>(idle) : 0});
    }
  }
  return rows;
}

}  // namespace vpc_conn::forward
