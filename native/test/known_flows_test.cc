// What the kernel may carry by itself: who decides it, and how it stays in order.
#include "forward/known_flows.h"

#include <doctest/doctest.h>

#include <memory>

namespace vpc_conn::forward {

namespace {

constexpr uint32_t kFar = 0x0a000014;
constexpr uint32_t kLocal = 0x0a00000a;
constexpr uint64_t kMac = 0x02000000000a;

uint32_t InMemory(uint32_t address) {
  uint32_t in_memory;
  wire::StoreBe32(reinterpret_cast<uint8_t*>(&in_memory), address);
  return in_memory;
}

struct World {
  TableContents contents;
  std::vector<NeighborRecord> neighbors;

  World() {
    contents.overlay_address = 0x0a000005;
    contents.overlay_mtu = 1500;
    contents.peers = {{.id = 7, .local_address = 0xc6120001, .address = 0xc6120002, .inner_mtu = 1464}};
    contents.proxied = {{.address = kFar, .host = kFar}};
    neighbors = {{kScopeOverlay, kLocal, {.mac = kMac, .slot = 3}}};
  }
  std::unique_ptr<Snapshot> At(uint64_t generation) const {
    return BuildSnapshot(generation, std::make_shared<const ForwardingTable>(contents), neighbors);
  }
};

class Flows {
 public:
  Flows() { flows.Begin(1); }

  KnownFlows::Flow flow{7, InMemory(kFar), InMemory(kLocal), 0x020000000009, kMac, 3};
  std::vector<KnownFlow> entries = std::vector<KnownFlow>(kKnownFlows);
  KnownFlows flows{entries};

  KnownFlow& entry() { return entries[FlowSlot(flow.peer_id, flow.source, flow.destination)]; }
  uint32_t generation() { return entry().generation.load(); }
};

// Known under generation 1; the generation that the entry has after `world` was published as 2.
uint32_t After(const World& world) {
  Flows known;
  known.flows.Know(known.flow, 1, 10);
  REQUIRE(known.generation() == 1);
  known.flows.Renew(*world.At(2));
  CHECK(known.entry().version.load() % 2 == 0);
  return known.generation();
}

}  // namespace

TEST_SUITE("known_flows") {
  TEST_CASE("an entry is laid out as the program reads it") {
    Flows known;
    known.flows.Know(known.flow, 5, 10);
    const auto* bytes = reinterpret_cast<const uint8_t*>(&known.entry());
    CHECK(wire::LoadBe32(bytes + 8) == kFar);
    CHECK(wire::LoadBe32(bytes + 12) == kLocal);
    CHECK(wire::MacToInteger(bytes + 16) == 0x020000000009);
    CHECK(wire::MacToInteger(bytes + 24) == kMac);
    CHECK(known.generation() == 5);
    CHECK(known.entry().version.load() == 2);
  }

  TEST_CASE("a new table takes over what still holds") {
    CHECK(After(World()) == 2);
    World moved_slot;
    moved_slot.neighbors[0].neighbor.slot = 9;
    Flows known;
    known.flows.Know(known.flow, 1, 10);
    known.flows.Renew(*moved_slot.At(2));
    CHECK(known.generation() == 2);
    const auto marks = std::make_unique<std::atomic<uint32_t>[]>(kNeighborSlots);
    known.flows.MarkUsed(marks.get());
    CHECK(marks[9].load() == 10);
    CHECK(marks[3].load() == 0);
  }

  TEST_CASE("a new table ends what it would not do") {
    World no_proxied;
    no_proxied.contents.proxied.clear();
    CHECK(After(no_proxied) == 0);
    World rewritten;
    rewritten.contents.proxied = {{.address = 0x0a000063, .host = kFar}};
    CHECK(After(rewritten) == 0);
    World no_peer;
    no_peer.contents.peers[0].id = 8;
    CHECK(After(no_peer) == 0);
    World through_tunnel;
    through_tunnel.contents.peers[0].resolve_through_tunnel = true;
    CHECK(After(through_tunnel) == 0);
    World no_neighbor;
    no_neighbor.neighbors.clear();
    CHECK(After(no_neighbor) == 0);
    World failed;
    failed.neighbors[0].neighbor.failed = true;
    CHECK(After(failed) == 0);
    World other_mac;
    other_mac.neighbors[0].neighbor.mac++;
    CHECK(After(other_mac) == 0);
    World reserved;
    reserved.contents.reserved = {kLocal};
    CHECK(After(reserved) == 0);
    World looped;
    looped.contents.proxied.push_back({.address = kLocal, .host = kLocal});
    CHECK(After(looped) == 0);
    World gateway;
    gateway.contents.overlay_address = kLocal;
    CHECK(After(gateway) == 0);
  }

  TEST_CASE("a worker that is behind does not bring the old table back") {
    Flows known;
    known.flows.Know(known.flow, 2, 10);
    known.flow.local_mac++;
    known.flows.Know(known.flow, 1, 11);
    CHECK(known.generation() == 2);
    CHECK(wire::MacToInteger(reinterpret_cast<const uint8_t*>(&known.entry()) + 24) == kMac);
    // Nor is what it knew under that table taken over from a table that is gone.
    known.flow.local_mac = kMac;
    Flows late;
    late.flows.Renew(*World().At(2));
    late.flows.Know(late.flow, 1, 10);
    late.flows.Renew(*World().At(3));
    CHECK(late.generation() == 1);
  }

  TEST_CASE("a flow in use keeps its slot, an idle one gives way") {
    Flows known;
    KnownFlows::Flow other = known.flow;
    const uint32_t slot = FlowSlot(7, known.flow.source, known.flow.destination);
    do other.source++;
    while (FlowSlot(7, other.source, other.destination) != slot);
    known.flows.Know(known.flow, 1, 10);
    known.flows.Know(other, 1, 10 + KnownFlows::kInUseSeconds - 1);
    CHECK(known.entry().source.load() == known.flow.source);
    known.flows.Know(other, 1, 10 + KnownFlows::kInUseSeconds);
    CHECK(known.entry().source.load() == other.source);
    known.flows.Know(known.flow, 2, 12);
    CHECK(known.entry().source.load() == known.flow.source);
  }

  TEST_CASE("an entry that another thread writes is left alone") {
    Flows known;
    known.entry().version = 1;
    known.flows.Know(known.flow, 1, 10);
    CHECK(known.generation() == 0);
    known.entry().generation = 1;
    known.flows.Renew(*World().At(2));
    CHECK(known.generation() == 1);
  }
}

}  // namespace vpc_conn::forward
