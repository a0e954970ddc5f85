// What several threads use together, under the thread sanitizer.
#include <doctest/doctest.h>

#include <atomic>
#include <random>
#include <thread>
#include <vector>

#include "forward/bindings.h"
#include "forward/learned_macs.h"
#include "runtime/event_queue.h"
#include "runtime/snapshot_board.h"
#include "wire/l4.h"

namespace vpc_conn {

namespace {

constexpr uint32_t kPool = 0x0a000005;

template <typename Work>
void InThreads(int count, const Work& work) {
  std::vector<std::thread> threads;
  for (int i = 0; i < count; i++) threads.emplace_back([&work, i] { work(i); });
  for (std::thread& thread : threads) thread.join();
}

std::unique_ptr<forward::Snapshot> MakeSnapshot(uint64_t generation) {
  forward::TableContents contents;
  // Something that a reader of freed or half-built memory would find wrong.
  contents.overlay_mtu = static_cast<uint32_t>(generation);
  auto table = std::make_shared<const forward::ForwardingTable>(std::move(contents));
  return forward::BuildSnapshot(generation, std::move(table), {});
}

}  // namespace

TEST_SUITE("threads") {
  TEST_CASE("bindings: two workers make and look up while a third thread sweeps and lists") {
    forward::Bindings bindings;
    bindings.Configure({1000, 1063, {kPool}, 300});
    std::atomic<uint32_t> now{1};
    std::atomic<int> working{2};
    std::atomic<int> wrong{0};
    std::atomic<int> made{0};
    InThreads(3, [&](int index) {
      if (index == 2) {
        for (uint32_t round = 0; working.load() != 0; round++) {
          bindings.Sweep(now.load());
          for (const auto& row : bindings.Rows(0, 1000, now.load()).rows) {
            if (row.far.address >= 128 || row.near.address >= 16) wrong.fetch_add(1);
          }
          now.fetch_add(1 + forward::kUdpTimeout / 8);
          if (round % 16 == 0)
            bindings.Configure({static_cast<uint16_t>(1000 + round / 16 % 8), 1063, {kPool}, 300});
          std::this_thread::yield();
        }
        return;
      }
      std::mt19937 random(static_cast<unsigned>(index));
      for (int step = 0; step < 20000; step++) {
        const forward::FarEndpoint far{0, static_cast<uint32_t>(random() % 128), 7};
        const forward::NearEndpoint near{static_cast<uint32_t>(random() % 16), 9};
        const uint32_t second = now.load();
        const auto flags = static_cast<uint8_t>(random());
        const auto tcp = bindings.FromFar(forward::NatProtocol::tcp, far, near, flags, second);
        if (tcp.outcome == forward::Bindings::Outcome::mapped) {
          bindings.FromNear(forward::NatProtocol::tcp, tcp.mapping, near, flags, second);
        }
        const auto [outcome, mapping] = bindings.FromFar(forward::NatProtocol::udp, far, near, 0, second);
        if (outcome != forward::Bindings::Outcome::mapped) continue;
        made.fetch_add(1, std::memory_order_relaxed);
        if (mapping.address != kPool || mapping.port < 1000 || mapping.port > 1063) wrong.fetch_add(1);
        bindings.FromNear(forward::NatProtocol::udp, mapping, near, 0, second);
        // It may have been swept meanwhile, but never names a half-written endpoint.
        const auto back = bindings.FarOf(forward::NatProtocol::udp, mapping);
        if (back && (back->peer_id != 0 || back->address >= 128 || back->port != 7)) wrong.fetch_add(1);
      }
      working.fetch_sub(1);
    });
    CHECK(wrong.load() == 0);
    CHECK(made.load() > 1000);
  }

  TEST_CASE("bindings: two workers that meet the same endpoint at once give it one port") {
    forward::Bindings bindings;
    bindings.Configure({1000, 2000, {kPool}, 1000});
    for (uint32_t round = 0; round < 300; round++) {
      std::array<forward::Bindings::Opened, 2> opened{};
      std::atomic<int> ready{0};
      InThreads(2, [&](int index) {
        ready.fetch_add(1);
        while (ready.load() != 2) std::this_thread::yield();
        opened[static_cast<size_t>(index)] = bindings.FromFar(forward::NatProtocol::udp, {0, round, 5},
                                                              {1, static_cast<uint16_t>(index)}, 0, 1);
      });
      REQUIRE(opened[0].outcome == forward::Bindings::Outcome::mapped);
      REQUIRE(opened[0].mapping.port == opened[1].mapping.port);
      REQUIRE(bindings.Sweep(1).bindings == round + 1);
      REQUIRE(bindings.Sweep(1).flows == 2 * round + 2);
    }
  }

  TEST_CASE("bindings: the FINs of both ends, seen by two workers at once, are both kept") {
    forward::Bindings bindings;
    bindings.Configure({1000, 2000, {kPool}, 1000});
    const forward::NearEndpoint near{1, 2};
    for (uint16_t round = 0; round < 300; round++) {
      const forward::FarEndpoint far{0, 1, round};
      const auto mapping = bindings.FromFar(forward::NatProtocol::tcp, far, near, 0, 1).mapping;
      std::atomic<int> ready{0};
      InThreads(2, [&](int index) {
        ready.fetch_add(1);
        while (ready.load() != 2) std::this_thread::yield();
        constexpr uint8_t kFlags = wire::kTcpFin | wire::kTcpAck;
        if (index == 0) {
          bindings.FromFar(forward::NatProtocol::tcp, far, near, kFlags, 1);
        } else {
          bindings.FromNear(forward::NatProtocol::tcp, mapping, near, kFlags, 1);
        }
      });
      // A flow whose FINs were both seen is swept after four minutes, not two hours.
      REQUIRE(bindings.Sweep(2 + forward::kTcpTransitoryTimeout).flows == 0);
    }
  }

  TEST_CASE("learned MACs: a reader sees a whole entry or none") {
    forward::LearnedMacs macs;
    std::atomic<int> working{2};
    std::atomic<int> wrong{0};
    std::atomic<int> found{0};
    InThreads(4, [&](int index) {
      std::mt19937 random(static_cast<unsigned>(index));
      if (index < 2) {
        for (uint32_t step = 1; step < 60000; step++) {
          // Peer, host and time can be told from the MAC; few hosts, so that writers meet.
          const uint32_t host = random() % 8;
          macs.Learn(1, host, uint64_t{host} << 32 | step * 40, step * 40);
        }
        working.fetch_sub(1);
        return;
      }
      while (working.load() != 0) {
        const uint32_t host = random() % 8;
        const auto learned = macs.Find(1, host);
        if (!learned) continue;
        found.fetch_add(1, std::memory_order_relaxed);
        if (learned->mac >> 32 != host || static_cast<uint32_t>(learned->mac) != learned->seconds) {
          wrong.fetch_add(1);
        }
      }
    });
    CHECK(wrong.load() == 0);
    CHECK(found.load() > 0);
  }

  TEST_CASE("snapshots: none is freed under a reader, generations only rise, sleepers hold nothing") {
    constexpr uint64_t kGenerations = 4000;
    runtime::SnapshotBoard board(2);
    board.Publish(MakeSnapshot(1));
    std::atomic<bool> done{false};
    std::atomic<int> wrong{0};
    InThreads(3, [&](int index) {
      if (index == 2) {
        for (uint64_t generation = 2; generation <= kGenerations; generation++) {
          board.Publish(MakeSnapshot(generation));
          if (board.Acknowledged() > generation) wrong.fetch_add(1);
          if (generation % 16 == 0) std::this_thread::yield();
        }
        done.store(true);
        return;
      }
      const auto reader = static_cast<size_t>(index);
      std::mt19937 random(static_cast<unsigned>(index));
      uint64_t last = 0;
      while (!done.load()) {
        const forward::Snapshot& snapshot = board.Enter(reader);
        if (snapshot.generation < last) wrong.fetch_add(1);
        last = snapshot.generation;
        for (int use = 0; use < 20; use++) {
          if (snapshot.table->contents().overlay_mtu != static_cast<uint32_t>(last)) wrong.fetch_add(1);
        }
        if (random() % 4 == 0) board.Leave(reader);
      }
      board.Leave(reader);
    });
    CHECK(wrong.load() == 0);
    CHECK(board.Acknowledged() == kGenerations);
    // A reader that never leaves holds back what is acknowledged.
    CHECK(board.Enter(0).generation == kGenerations);
    board.Publish(MakeSnapshot(kGenerations + 1));
    CHECK(board.Acknowledged() == kGenerations);
    CHECK(board.Enter(0).generation == kGenerations + 1);
    CHECK(board.Acknowledged() == kGenerations + 1);
  }

  TEST_CASE("events: none is lost unless it is counted, and the reader is woken for each batch") {
    std::atomic<int> wakes{0};
    runtime::EventQueue queue([&] { wakes.fetch_add(1); });
    std::array<forward::CounterBlock, 2> counters;
    std::atomic<int> working{2};
    size_t taken = 0;
    InThreads(3, [&](int index) {
      if (index == 2) {
        while (working.load() != 0) {
          taken += queue.Take().size();
          std::this_thread::yield();
        }
        return;
      }
      runtime::WorkerEvents events(queue, counters[static_cast<size_t>(index)]);
      for (uint32_t i = 0; i < 20000; i++) {
        events.SetTime(i + 1);
        events.Unresolved(0, i);
      }
      working.fetch_sub(1);
    });
    taken += queue.Take().size();
    uint64_t lost = 0;
    for (const auto& block : counters) {
      lost += block.values[static_cast<size_t>(forward::Counter::events_lost)].load();
    }
    CHECK(taken + lost == 40000);
    CHECK(wakes.load() > 0);
  }
}

}  // namespace vpc_conn
