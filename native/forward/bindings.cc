#include "forward/bindings.h"

#include <algorithm>
#include <random>

#include "forward/flat_map.h"

namespace vpc_conn::forward {

namespace {

std::array<uint64_t, 2> SecretSeed() {
  std::random_device random;
  const auto word = [&] { return uint64_t{random()} << 32 | random(); };
  return {word(), word()};
}

constexpr uint64_t Pack(const FarEndpoint& far) {
  return (uint64_t{far.peer_id} << 48) | (uint64_t{far.address} << 16) | far.port;
}
constexpr FarEndpoint Unpack(uint64_t word) {
  return {static_cast<uint16_t>((word & ~SharedIndex::kInUse) >> 48), static_cast<uint32_t>(word >> 16),
          static_cast<uint16_t>(word)};
}
constexpr uint64_t Pack(const NearEndpoint& near) {
  return (uint64_t{near.address} << 16) | near.port;
}
constexpr uint8_t FirstSeen(NatProtocol protocol, uint8_t tcp_flags) {
  return protocol == NatProtocol::tcp ? tcp_seen::After(0, tcp_flags, true) : uint8_t{0};
}

}  // namespace

Bindings::Tables::Tables(uint32_t flow_limit, std::array<uint64_t, 2> seed)
    // A binding has a flow at least: there are never more of them.
    : far(flow_limit, seed), flows(flow_limit, seed), links(flows.places()) {}

Bindings::Bindings() : Bindings(SecretSeed()) {}

Bindings::Bindings(std::array<uint64_t, 2> seed) : seed_(seed), hosts_(seed[0]) {}

void Bindings::Configure(const Limits& limits) {
  const std::lock_guard lock(mutex_);
  if (tables_ == nullptr && limits.flows != 0) {
    flow_limit_ = std::min(limits.flows, kMostFlows);
    tables_ = std::make_unique<Tables>(flow_limit_, seed_);
  }
  const auto wanted = [&](uint32_t address) {
    return std::find(limits.addresses.begin(), limits.addresses.end(), address) != limits.addresses.end();
  };
  for (uint32_t i = 0; i < kAddresses; i++) {
    const uint32_t address = addresses_[i].load(std::memory_order_relaxed);
    if (address == 0) continue;
    if (!wanted(address)) {
      EraseOutside(i, 1, 0);
      addresses_[i].store(0, std::memory_order_relaxed);
    } else if (limits.first_port > first_port_ || limits.last_port < last_port_) {
      EraseOutside(i, limits.first_port, limits.last_port);
    }
  }
  first_port_ = limits.first_port;
  last_port_ = limits.last_port;
  pool_.clear();
  for (const uint32_t address : limits.addresses) {
    uint32_t i = PoolIndexOf(address);
    if (i == kNone) i = PoolIndexOf(0);
    if (i == kNone) break;
    if (!blocks_[i]) blocks_[i] = std::make_unique<Blocks>();
    addresses_[i].store(address, std::memory_order_release);
    pool_.push_back(i);
  }
}

uint32_t Bindings::PoolIndexOf(uint32_t address) const {
  for (uint32_t i = 0; i < kAddresses; i++) {
    if (addresses_[i].load(std::memory_order_acquire) == address) return i;
  }
  return kNone;
}

FarEndpoint Bindings::FarAt(uint32_t binding) const {
  return Unpack(SlotOf(binding).far.load(std::memory_order_relaxed));
}

Bindings::Opened Bindings::FromFar(NatProtocol protocol, const FarEndpoint& far, const NearEndpoint& near,
                                   uint8_t tcp_flags, uint32_t now) {
  if (!tables_) return {Outcome::bindings_full, {}};
  const uint32_t place = tables_->far.Find(Pack(far), static_cast<uint32_t>(protocol));
  if (place != kNone) {
    const uint32_t binding = tables_->far.value(place).load(std::memory_order_relaxed);
    const uint32_t flow = tables_->flows.Find(Pack(near), binding);
    const Mapping mapping = MappingAt(binding);
    // No address: it left the pool this moment, and its flows are about to.
    if (flow != kNone && mapping.address != 0) {
      Touch(flow, protocol, tcp_flags, true, now);
      return {Outcome::mapped, mapping};
    }
  }
  const std::lock_guard lock(mutex_);
  return Open(protocol, far, near, tcp_flags, now);
}

Bindings::Opened Bindings::Open(NatProtocol protocol, const FarEndpoint& far, const NearEndpoint& near,
                                uint8_t tcp_flags, uint32_t now) {
  const uint32_t place = tables_->far.Find(Pack(far), static_cast<uint32_t>(protocol));
  uint32_t binding = place == kNone ? kNone : tables_->far.value(place).load(std::memory_order_relaxed);
  if (binding != kNone) {
    if (const uint32_t flow = tables_->flows.Find(Pack(near), binding); flow != kNone) {
      Touch(flow, protocol, tcp_flags, true, now);  // another worker was faster
      return {Outcome::mapped, MappingAt(binding)};
    }
  }
  if (!AdmitFlow(binding, far, now)) return {Outcome::flows_full, {}};
  if (binding == kNone) {
    if (!AdmitBinding(protocol, far, now)) return {Outcome::bindings_full, {}};
    binding = ChooseBinding(protocol, far);
    if (binding == kNone) return {Outcome::bindings_full, {}};
    AddBinding(binding, far);
  }
  AddFlow(binding, near, FirstSeen(protocol, tcp_flags), now);
  return {Outcome::mapped, MappingAt(binding)};
}

std::optional<Mapping> Bindings::MappingOf(NatProtocol protocol, const FarEndpoint& far) const {
  if (!tables_) return std::nullopt;
  const uint32_t place = tables_->far.Find(Pack(far), static_cast<uint32_t>(protocol));
  if (place == kNone) return std::nullopt;
  const Mapping mapping = MappingAt(tables_->far.value(place).load(std::memory_order_relaxed));
  if (mapping.address == 0) return std::nullopt;
  return mapping;
}

std::optional<FarEndpoint> Bindings::FarOf(NatProtocol protocol, const Mapping& mapping) const {
  if (mapping.address == 0) return std::nullopt;
  const uint32_t pool_index = PoolIndexOf(mapping.address);
  if (pool_index == kNone) return std::nullopt;
  const PortBlock::Slot& slot = SlotOf(NumberOf(protocol, pool_index, mapping.port));
  const uint64_t word = slot.far.load(std::memory_order_acquire);
  if (word == 0) return std::nullopt;
  return Unpack(word);
}

void Bindings::FromNear(NatProtocol protocol, const Mapping& mapping, const NearEndpoint& near,
                        uint8_t tcp_flags, uint32_t now) {
  const uint32_t pool_index = PoolIndexOf(mapping.address);
  if (!tables_ || pool_index == kNone) return;
  const uint32_t flow = tables_->flows.Find(Pack(near), NumberOf(protocol, pool_index, mapping.port));
  if (flow != kNone) Touch(flow, protocol, tcp_flags, false, now);
}

void Bindings::FetchFromNear(NatProtocol protocol, const Mapping& mapping, const NearEndpoint& near) const {
  if (!tables_ || mapping.address == 0) return;
  const uint32_t pool_index = PoolIndexOf(mapping.address);
  if (pool_index == kNone) return;
  const uint32_t binding = NumberOf(protocol, pool_index, mapping.port);
  __builtin_prefetch(&SlotOf(binding));
  tables_->flows.Fetch(Pack(near), binding);
}

void Bindings::FetchBinding(NatProtocol protocol, const FarEndpoint& far) const {
  if (tables_) tables_->far.Fetch(Pack(far), static_cast<uint32_t>(protocol));
}

void Bindings::FetchFlow(NatProtocol protocol, const FarEndpoint& far, const NearEndpoint& near) const {
  if (!tables_) return;
  const uint32_t place = tables_->far.Find(Pack(far), static_cast<uint32_t>(protocol));
  if (place == kNone) return;
  tables_->flows.Fetch(Pack(near), tables_->far.value(place).load(std::memory_order_relaxed));
}

// A flow that is erased at this moment may pass its last second and flag on to the next one in its place:
// that one then lives a little longer, or as if closed, until its own next segments say otherwise.
void Bindings::Touch(uint32_t flow, NatProtocol protocol, uint8_t tcp_flags, bool from_far, uint32_t now) {
  std::atomic<uint32_t>& used = tables_->flows.value(flow);
  if (used.load(std::memory_order_relaxed) != now) used.store(now, std::memory_order_relaxed);
  if (protocol != NatProtocol::tcp) return;
  std::atomic<uint8_t>& state = tables_->flows.state(flow);
  uint8_t seen = state.load(std::memory_order_relaxed);
  // Both directions' workers write: neither may undo what the other has seen.
  for (;;) {
    const uint8_t after = tcp_seen::After(seen, tcp_flags, from_far);
    if (after == seen || state.compare_exchange_weak(seen, after, std::memory_order_relaxed)) return;
  }
}

uint32_t Bindings::ChooseBinding(NatProtocol protocol, const FarEndpoint& far) const {
  if (last_port_ == 0 || pool_.empty()) return kNone;
  const auto in_pool = [&](uint32_t pool_index) {
    auto& block = (*blocks_[pool_index])[static_cast<size_t>(protocol)];
    const auto port = block.Choose(far.port, first_port_, last_port_);
    return port ? NumberOf(protocol, pool_index, *port) : kNone;
  };
  // RFC 4787 REQ-2: all that a host sends comes from one address, as long as that has a port.
  const auto key = FarHosts::KeyOf(far);
  const FarHost* host = const_cast<FarHosts&>(hosts_).Find(key);
  const size_t start = MixHash(far.address) % pool_.size();
  if (host != nullptr && std::find(pool_.begin(), pool_.end(), host->pool_index) != pool_.end()) {
    if (const uint32_t binding = in_pool(host->pool_index); binding != kNone) return binding;
  }
  for (size_t i = 0; i < pool_.size(); i++) {
    const uint32_t binding = in_pool(pool_[(start + i) % pool_.size()]);
    if (binding != kNone) return binding;
  }
  return kNone;
}

void Bindings::AddBinding(uint32_t binding, const FarEndpoint& far) {
  const NatProtocol protocol = ProtocolOf(binding);
  PortBlock& block = BlockOf(binding);
  PortBlock::Slot& slot = block[PortOf(binding)];
  slot.first_flow = kNone;
  slot.flows = 0;
  slot.far.store(Pack(far) | SharedIndex::kInUse, std::memory_order_release);
  block.Take(PortOf(binding));
  block.in_use++;
  bindings_++;
  FarHost& host = hosts_.Enter(FarHosts::KeyOf(far));
  host.pool_index = static_cast<uint8_t>(binding >> 16 & 0xff);
  host.bindings[static_cast<size_t>(protocol)]++;
  tables_->far.Insert(Pack(far), static_cast<uint32_t>(protocol), binding, 0);
}

void Bindings::AddFlow(uint32_t binding, const NearEndpoint& near, uint8_t seen, uint32_t used) {
  PortBlock::Slot& slot = SlotOf(binding);
  const uint32_t flow = tables_->flows.Insert(Pack(near), binding, used, seen);
  tables_->links[flow] = {slot.first_flow, kNone};
  if (slot.first_flow != kNone) tables_->links[slot.first_flow].previous = flow;
  slot.first_flow = flow;
  slot.flows++;
  hosts_.Enter(FarHosts::KeyOf(FarAt(binding))).flows++;
}

void Bindings::EraseFlow(uint32_t flow) {
  const uint32_t binding = tables_->flows.owner(flow);
  PortBlock& block = BlockOf(binding);
  PortBlock::Slot& slot = block[PortOf(binding)];
  const FarEndpoint far = FarAt(binding);
  const uint64_t host_key = FarHosts::KeyOf(far);
  FarHost& host = hosts_.Enter(host_key);

  const Links links = tables_->links[flow];
  if (links.next != kNone) tables_->links[links.next].previous = links.previous;
  if (links.previous != kNone) {
    tables_->links[links.previous].next = links.next;
  } else {
    slot.first_flow = links.next;
  }
  tables_->flows.Erase(flow);
  host.flows--;
  if (--slot.flows != 0) return;

  const auto protocol = static_cast<uint32_t>(ProtocolOf(binding));
  tables_->far.Erase(tables_->far.Find(Pack(far), protocol));
  slot.far.store(0, std::memory_order_release);
  block.Free(PortOf(binding));
  block.in_use--;
  bindings_--;
  host.bindings[protocol]--;
  hosts_.LeaveIfIdle(host_key);
}

void Bindings::EraseBinding(uint32_t binding) {
  const PortBlock::Slot& slot = SlotOf(binding);
  while (slot.far.load(std::memory_order_relaxed) != 0) EraseFlow(slot.first_flow);
}

void Bindings::EraseOutside(uint32_t pool_index, uint32_t first_port, uint32_t last_port) {
  for (size_t p = 0; p < kProtocols; p++) {
    if ((*blocks_[pool_index])[p].in_use == 0) continue;
    for (uint32_t port = first_port_; port <= last_port_; port++) {
      if (port >= first_port && port <= last_port) continue;
      EraseBinding(NumberOf(static_cast<NatProtocol>(p), pool_index, static_cast<uint16_t>(port)));
    }
  }
}

void Bindings::DropPeer(uint16_t peer_id) {
  const std::lock_guard lock(mutex_);
  for (const uint32_t pool_index : pool_) {
    for (size_t p = 0; p < kProtocols; p++) {
      if ((*blocks_[pool_index])[p].in_use == 0) continue;
      for (uint32_t port = first_port_; port <= last_port_; port++) {
        const uint32_t binding =
            NumberOf(static_cast<NatProtocol>(p), pool_index, static_cast<uint16_t>(port));
        const uint64_t word = SlotOf(binding).far.load(std::memory_order_relaxed);
        if (word != 0 && Unpack(word).peer_id == peer_id) EraseBinding(binding);
      }
    }
  }
}

uint32_t Bindings::BindingsInUse(NatProtocol protocol) const {
  uint32_t in_use = 0;
  for (const uint32_t pool_index : pool_) {
    in_use += (*blocks_[pool_index])[static_cast<size_t>(protocol)].in_use;
  }
  return in_use;
}

// What may go when a table is full: what has run out, then closed connections, then half-open ones and UDP
// beyond the least that it must be given. Established connections never.
Bindings::Age Bindings::AgeOfFlow(uint32_t flow, uint32_t now) const {
  const SharedIndex& flows = tables_->flows;
  const NatProtocol protocol = ProtocolOf(flows.owner(flow));
  const uint8_t seen = flows.state(flow);
  const uint32_t idle = IdleSince(flows.value(flow), now);
  if (idle > TimeoutOf(protocol, seen)) return {3, idle};
  switch (FlowStateOf(protocol, seen)) {
    case FlowState::closing:
      return {2, idle};
    case FlowState::transitory:
      return {1, idle};
    case FlowState::active:
      if (protocol == NatProtocol::udp && idle >= kUdpLeastTimeout) return {1, idle};
      return {};
    default:
      return {};
  }
}

// As that of its flow which must stay longest.
Bindings::Age Bindings::AgeOfBinding(uint32_t binding, uint32_t now) const {
  const PortBlock::Slot& slot = SlotOf(binding);
  if (slot.flows > kLookAtFlowsOfPort) return {};
  Age age{255, 0};
  for (uint32_t flow = slot.first_flow; flow != kNone; flow = tables_->links[flow].next) {
    age = std::min(age, AgeOfFlow(flow, now));
  }
  return age;
}

bool Bindings::AdmitFlow(uint32_t binding, const FarEndpoint& far, uint32_t now) {
  const uint64_t key = FarHosts::KeyOf(far);
  const FarHost* host = hosts_.Find(key);
  const uint32_t held = host == nullptr ? 0 : host->flows;
  const FairShare rule{flow_limit_, static_cast<uint32_t>(hosts_.size()) + (host == nullptr ? 1 : 0)};
  if (rule.Admits(tables_->flows.size(), held)) return true;

  uint32_t victim = kNone;
  Age oldest;
  const uint32_t places = tables_->flows.places();
  for (uint32_t looked = 0; looked < std::min(places, kLookAtFlows); looked++) {
    look_at_flow_ = look_at_flow_ + 1 < places ? look_at_flow_ + 1 : 0;
    if (!tables_->flows.in_use(look_at_flow_)) continue;
    const Age age = AgeOfFlow(look_at_flow_, now);
    if (!(oldest < age)) continue;
    const uint32_t other = tables_->flows.owner(look_at_flow_);
    // With its last flow the binding would go that this one is for.
    if (other == binding && SlotOf(binding).flows == 1) continue;
    const uint64_t other_key = FarHosts::KeyOf(FarAt(other));
    if (age.rank < 3 && !rule.MayDisplace(other_key == key, held, hosts_.Find(other_key)->flows)) continue;
    victim = look_at_flow_;
    oldest = age;
  }
  if (victim == kNone) return false;
  EraseFlow(victim);
  return true;
}

bool Bindings::AdmitBinding(NatProtocol protocol, const FarEndpoint& far, uint32_t now) {
  if (last_port_ == 0 || pool_.empty()) return false;
  const auto p = static_cast<size_t>(protocol);
  const uint64_t key = FarHosts::KeyOf(far);
  const FarHost* host = hosts_.Find(key);
  const uint32_t held = host == nullptr ? 0 : host->bindings[p];
  const uint32_t ports = last_port_ - first_port_ + 1u;
  const auto capacity = ports * static_cast<uint32_t>(pool_.size());
  const FairShare rule{capacity, static_cast<uint32_t>(hosts_.size()) + (host == nullptr ? 1 : 0)};
  if (rule.Admits(BindingsInUse(protocol), held)) return true;

  uint32_t victim = kNone;
  Age oldest;
  for (uint32_t looked = 0; looked < std::min(capacity, kLookAtPorts); looked++) {
    look_at_port_[p] = look_at_port_[p] + 1 < capacity ? look_at_port_[p] + 1 : 0;
    const auto port = static_cast<uint16_t>(first_port_ + look_at_port_[p] % ports);
    const uint32_t other = NumberOf(protocol, pool_[look_at_port_[p] / ports], port);
    const uint64_t word = SlotOf(other).far.load(std::memory_order_relaxed);
    if (word == 0) continue;
    const Age age = AgeOfBinding(other, now);
    if (!(oldest < age)) continue;
    const uint64_t other_key = FarHosts::KeyOf(Unpack(word));
    if (age.rank < 3 && !rule.MayDisplace(other_key == key, held, hosts_.Find(other_key)->bindings[p]))
      continue;
    victim = other;
    oldest = age;
  }
  if (victim == kNone) return false;
  EraseBinding(victim);
  return true;
}

}  // namespace vpc_conn::forward
