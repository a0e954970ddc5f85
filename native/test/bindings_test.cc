#include "forward/bindings.h"

#include <doctest/doctest.h>

#include "bindings_run.h"

namespace vpc_conn::forward {

namespace {

Bindings::Row Restorable(uint32_t i) {
  return {NatProtocol::udp, {1, i, 1}, kNear, {kPool, static_cast<uint16_t>(2000 + i)}, 0, 10};
}

void Connect(Bindings& bindings, const FarEndpoint& far, const NearEndpoint& near, uint32_t now) {
  const auto mapping = bindings.FromFar(NatProtocol::tcp, far, near, kSyn, now).mapping;
  bindings.FromNear(NatProtocol::tcp, mapping, near, kSyn | kAck, now);
  bindings.FromFar(NatProtocol::tcp, far, near, kAck, now);
}

FlowState OnlyState(const Bindings& bindings) {
  const auto rows = AllRows(bindings, 1);
  REQUIRE(rows.size() == 1);
  return FlowStateOf(rows[0].protocol, rows[0].tcp_seen);
}

}  // namespace

TEST_SUITE("bindings") {
  TEST_CASE("random packets and time against a simple model: mapping, filtering, timers, full tables") {
    for (unsigned seed = 1; seed <= 60; seed++) {
      CAPTURE(seed);
      RandomRun run(seed);
      for (int step = 0; step < 600; step++) {
        CAPTURE(step);
        run.Step();
      }
    }
  }

  TEST_CASE("no range, no binding") {
    Bindings bindings;
    CHECK(!PortOf(bindings, NatProtocol::udp, {0, 1, 2}, 1));
    CHECK(bindings.Sweep(1).flows == 0);
    CHECK(bindings.Rows(0, 10, 1).rows.empty());
    bindings.Configure({0, 0, {kPool}, 100});
    CHECK(!PortOf(bindings, NatProtocol::udp, {0, 1, 2}, 1));
    CHECK(!bindings.FarOf(NatProtocol::udp, {kPool, 2}));
    CHECK(!bindings.FarOf(NatProtocol::udp, {0, 2}));
  }

  TEST_CASE("checklist 27: TCP timers by the state of each connection (RFC 5382 REQ-5)") {
    const auto bindings = Make(1000, 1999);
    const FarEndpoint far{0, 1, 1000};
    const auto mapping = bindings->FromFar(NatProtocol::tcp, far, kNear, kSyn, 1).mapping;
    CHECK(OnlyState(*bindings) == FlowState::transitory);
    SUBCASE("half open: four minutes") {
      CHECK(bindings->Sweep(1 + 240).flows == 1);
      CHECK(bindings->Sweep(2 + 240).flows == 0);
      CHECK(!bindings->MappingOf(NatProtocol::tcp, far));
    }
    SUBCASE("established: two hours and four minutes") {
      Connect(*bindings, far, kNear, 1);
      CHECK(OnlyState(*bindings) == FlowState::established);
      CHECK(bindings->Sweep(1 + 7440).flows == 1);
      CHECK(bindings->Sweep(2 + 7440).flows == 0);
    }
    SUBCASE("closed by both ends: four minutes, and not after one FIN alone") {
      Connect(*bindings, far, kNear, 1);
      bindings->FromFar(NatProtocol::tcp, far, kNear, kFin | kAck, 10);
      CHECK(OnlyState(*bindings) == FlowState::established);
      bindings->FromNear(NatProtocol::tcp, mapping, kNear, kFin | kAck, 10);
      CHECK(OnlyState(*bindings) == FlowState::closing);
      CHECK(bindings->Sweep(10 + 240).flows == 1);
      CHECK(bindings->Sweep(11 + 240).flows == 0);
    }
    SUBCASE("a RST that both ends ignore was forged") {
      Connect(*bindings, far, kNear, 1);
      bindings->FromNear(NatProtocol::tcp, mapping, kNear, kRst, 10);
      CHECK(OnlyState(*bindings) == FlowState::closing);
      bindings->FromNear(NatProtocol::tcp, mapping, kNear, kAck, 11);
      CHECK(OnlyState(*bindings) == FlowState::closing);
      bindings->FromFar(NatProtocol::tcp, far, kNear, kAck, 11);
      CHECK(OnlyState(*bindings) == FlowState::established);
    }
    SUBCASE("a new connection between the same ports starts afresh") {
      bindings->FromNear(NatProtocol::tcp, mapping, kNear, kRst, 10);
      Connect(*bindings, far, kNear, 11);
      CHECK(OnlyState(*bindings) == FlowState::established);
    }
    SUBCASE("the end of one connection of a port says nothing about its others") {
      const NearEndpoint other{kNear.address, 444};
      Connect(*bindings, far, kNear, 1);
      Connect(*bindings, far, other, 1);
      bindings->FromNear(NatProtocol::tcp, mapping, kNear, kRst, 1);
      CHECK(bindings->Sweep(1 + 241).flows == 1);
      CHECK(bindings->FarOf(NatProtocol::tcp, mapping).has_value());
      CHECK(bindings->FromFar(NatProtocol::tcp, far, other, kAck, 500).mapping.port == mapping.port);
    }
  }

  TEST_CASE("checklist 25: simultaneous open, a split handshake, and a connection taken up in its middle") {
    const auto bindings = Make(1000, 1999);
    const FarEndpoint far{0, 1, 1000};
    const auto mapping = bindings->FromFar(NatProtocol::tcp, far, kNear, kSyn, 1).mapping;
    SUBCASE("both SYN, both SYN-ACK") {
      bindings->FromNear(NatProtocol::tcp, mapping, kNear, kSyn, 1);
      bindings->FromFar(NatProtocol::tcp, far, kNear, kSyn | kAck, 1);
      bindings->FromNear(NatProtocol::tcp, mapping, kNear, kSyn | kAck, 1);
    }
    SUBCASE("the answer's SYN and ACK apart") {
      bindings->FromNear(NatProtocol::tcp, mapping, kNear, kAck, 1);
      bindings->FromNear(NatProtocol::tcp, mapping, kNear, kSyn, 1);
      bindings->FromFar(NatProtocol::tcp, far, kNear, kSyn | kAck, 1);
    }
    SUBCASE("only data") {
      bindings->FromFar(NatProtocol::tcp, far, kNear, kAck, 1);
      bindings->FromNear(NatProtocol::tcp, mapping, kNear, kAck, 1);
    }
    CHECK(OnlyState(*bindings) == FlowState::established);
  }

  TEST_CASE("every port of every address is used for each protocol, and then a flow is refused") {
    const auto bindings = Make(1024, 2047, 10'000, {kPool, kPool + 1});
    for (const NatProtocol protocol : {NatProtocol::tcp, NatProtocol::udp, NatProtocol::icmp}) {
      for (uint32_t i = 0; i < 2048; i++) REQUIRE(PortOf(*bindings, protocol, {3, i, 7}, 1).has_value());
      CHECK(bindings->FromFar(protocol, {4, 1, 7}, kNear, 0, 1).outcome == Outcome::bindings_full);
    }
    CHECK(bindings->Sweep(1).bindings == 3 * 2048);
    for (const auto& row : AllRows(*bindings, 1)) {
      REQUIRE(bindings->FarOf(row.protocol, row.mapping)->address == row.far.address);
    }
  }

  TEST_CASE("no single far host can take it all: an eighth is left for the others") {
    SUBCASE("ports") {
      const auto bindings = Make(1000, 1079);
      uint32_t given = 0;
      for (uint16_t port = 1; port < 500; port++) {
        given += PortOf(*bindings, NatProtocol::udp, {0, 1, port}, 1).has_value() ? 1 : 0;
      }
      CHECK(given == 70);
      for (uint32_t host = 2; host < 12; host++) CHECK(PortOf(*bindings, NatProtocol::udp, {0, host, 5}, 1));
    }
    SUBCASE("flows") {
      const auto bindings = Make(1000, 1999, 80);
      uint32_t given = 0;
      for (uint16_t port = 1; port < 500; port++) {
        given += PortOf(*bindings, NatProtocol::udp, {0, 1, 1}, 1, {7, port}).has_value() ? 1 : 0;
      }
      CHECK(given == 70);
      for (uint32_t host = 2; host < 12; host++) CHECK(PortOf(*bindings, NatProtocol::udp, {0, host, 5}, 1));
    }
    SUBCASE("half-open connections of the one that floods give way, its own and for others") {
      const auto bindings = Make(1000, 1999, 80);
      for (uint16_t port = 1; port < 500; port++) {
        REQUIRE(PortOf(*bindings, NatProtocol::tcp, {0, 1, 1}, port, {7, port}, kSyn).has_value());
      }
      for (uint32_t host = 2; host < 32; host++) {
        REQUIRE(PortOf(*bindings, NatProtocol::tcp, {0, host, 5}, 600, kNear, kSyn));
        Connect(*bindings, {0, host, 5}, kNear, 600);
      }
      for (uint16_t port = 1; port < 500; port++) {
        static_cast<void>(PortOf(*bindings, NatProtocol::tcp, {0, 1, 1}, 601, {8, port}, kSyn));
      }
      for (uint32_t host = 2; host < 32; host++) {
        REQUIRE(bindings->MappingOf(NatProtocol::tcp, {0, host, 5}).has_value());
      }
    }
  }

  TEST_CASE("a full table takes the connection that was closed longest ago, and never a live one") {
    const auto bindings = Make(1000, 1003);
    for (uint32_t i = 0; i < 4; i++) Connect(*bindings, {0, i, 1}, kNear, 1);
    CHECK(!PortOf(*bindings, NatProtocol::tcp, {0, 0, 9}, 2));
    const auto reset = [&](uint32_t host, uint32_t now) {
      bindings->FromFar(NatProtocol::tcp, {0, host, 1}, kNear, kRst, now);
      return bindings->MappingOf(NatProtocol::tcp, {0, host, 1})->port;
    };
    // Each gives way to its own host only: nobody holds more than a share of one.
    const uint16_t second = reset(2, 5), first = reset(1, 6);
    CHECK(PortOf(*bindings, NatProtocol::tcp, {0, 2, 9}, 7) == second);
    CHECK(PortOf(*bindings, NatProtocol::tcp, {0, 1, 9}, 7) == first);
    CHECK(!PortOf(*bindings, NatProtocol::tcp, {0, 3, 9}, 8));
    CHECK(bindings->MappingOf(NatProtocol::tcp, {0, 0, 1}).has_value());
  }

  TEST_CASE("a sweep in pieces gets everywhere; one with an older clock frees nothing") {
    const auto bindings = Make(1000, 1999, 300);
    for (uint16_t i = 0; i < 100; i++) REQUIRE(PortOf(*bindings, NatProtocol::udp, {0, 1, i}, 100));
    CHECK(bindings->Sweep(99).flows == 100);
    CHECK(bindings->Rows(0, 1, 99).rows.front().idle_seconds == 0);
    const uint32_t some = bindings->Sweep(401, 64).flows;
    CHECK(some > 0);
    CHECK(some < 100);
    for (int i = 0; i < 20; i++) bindings->Sweep(401, 64);
    CHECK(bindings->Sweep(401, 0).flows == 0);
  }

  TEST_CASE("endpoints that come and go for ever cost the same each time") {
    const auto bindings = Make(5000, 5003, 64);
    uint32_t now = 1;
    for (uint32_t round = 0; round < 300000; round++) {
      const FarEndpoint far{0, round, static_cast<uint16_t>(round)};
      const auto port = PortOf(*bindings, NatProtocol::udp, far, now, {round, 1});
      REQUIRE(port.has_value());
      REQUIRE(bindings->MappingOf(NatProtocol::udp, far)->port == port);
      now += kUdpTimeout + 1;
      REQUIRE(bindings->Sweep(now).flows == 0);
    }
  }

  TEST_CASE("pages tell every flow once, whatever their size") {
    const auto bindings = Make(1000, 1999, 5000);
    for (uint16_t i = 0; i < 800; i++) {
      for (uint16_t j = 0; j < 5; j++) PortOf(*bindings, NatProtocol::udp, {0, 1, i}, 1, {9, j});
    }
    for (const uint32_t most : {1u, 7u, 1000u, 100'000u}) {
      std::set<std::tuple<uint16_t, uint16_t>> seen;
      for (uint32_t from = 0;;) {
        const auto page = bindings->Rows(from, most, 1);
        REQUIRE(page.rows.size() <= most);
        for (const auto& row : page.rows) REQUIRE(seen.insert({row.far.port, row.near.port}).second);
        if (page.next == 0) break;
        from = page.next;
      }
      CHECK(seen.size() == 4000);
    }
    CHECK(bindings->Rows(~0u, 10, 1).rows.empty());
  }

  TEST_CASE("what one process has told, the next takes up: the same ports, states and ages") {
    std::mt19937 random(3);
    const auto before = Make(2000, 2100, 500, {kPool, kPool + 1});
    for (int i = 0; i < 400; i++) {
      const auto protocol = static_cast<NatProtocol>(random() % 3);
      const FarEndpoint far{0, static_cast<uint32_t>(random() % 8), static_cast<uint16_t>(random() % 8)};
      const NearEndpoint near{static_cast<uint32_t>(random() % 8), 0};
      before->FromFar(protocol, far, near, kAck, 5000 + random() % 40);
    }
    const auto rows = AllRows(*before, 5040);
    const auto after = Make(2000, 2100, 500, {kPool + 1, kPool});
    for (const auto& row : rows) REQUIRE(after->Restore(row, 70));  // another clock, younger than the flows
    CHECK(after->Sweep(70).flows == rows.size());
    CHECK(after->Sweep(70).bindings == before->Sweep(5040).bindings);
    for (const auto& row : rows) {
      CHECK(!after->Restore(row, 70));
      const auto mapping = after->MappingOf(row.protocol, row.far);
      REQUIRE(mapping.has_value());
      CHECK(mapping->port == row.mapping.port);
      CHECK(mapping->address == row.mapping.address);
    }
    const auto idle = [](const auto& list) {
      uint64_t sum = 0;
      for (const auto& row : list) sum += row.idle_seconds * (1 + row.far.port) + row.tcp_seen;
      return sum;
    };
    CHECK(idle(AllRows(*after, 70)) == idle(rows));
  }

  TEST_CASE("only what fits is taken up") {
    const auto bindings = Make(2000, 2009, 4);
    const auto refused = [&](auto&& change) {
      auto row = Restorable(1);
      change(row);
      return !bindings->Restore(row, 100) && bindings->Sweep(100).flows == 0;
    };
    CHECK(refused([](auto& row) { row.mapping.port = 1999; }));
    CHECK(refused([](auto& row) { row.mapping.port = 2010; }));
    CHECK(refused([](auto& row) { row.mapping.address = kPool + 1; }));
    CHECK(refused([](auto& row) { row.mapping.address = 0; }));
    CHECK(refused([](auto& row) { row.protocol = NatProtocol::count_; }));
    CHECK(refused([](auto& row) { row.far.peer_id = 0x8000; }));
    CHECK(refused([](auto& row) { row.tcp_seen = 1; }));
    CHECK(refused([](auto& row) { row.idle_seconds = kUdpTimeout + 1; }));
    CHECK(refused([](auto& row) {
      row.protocol = NatProtocol::tcp;
      row.tcp_seen = 32;
    }));
    REQUIRE(bindings->Restore(Restorable(1), 100));
    auto other_far = Restorable(1);
    other_far.far.address = 99;
    CHECK(!bindings->Restore(other_far, 100));
    auto other_port = Restorable(1);
    other_port.mapping.port = 2005;
    CHECK(!bindings->Restore(other_port, 100));
    for (uint32_t i = 2; i <= 4; i++) REQUIRE(bindings->Restore(Restorable(i), 100));
    CHECK(!bindings->Restore(Restorable(5), 100));
  }
}

}  // namespace vpc_conn::forward
