#include "forward/bindings.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <map>
#include <random>
#include <tuple>

#include "wire/l4.h"

namespace vpc_conn::forward {

namespace {

using Key = std::tuple<uint16_t, uint32_t, uint16_t>;
using FarEndpoint = Bindings::FarEndpoint;

Key KeyOf(const FarEndpoint& far) {
  return {far.peer_id, far.address, far.port};
}

constexpr NatProtocol kProtocols[] = {NatProtocol::tcp, NatProtocol::udp, NatProtocol::icmp};

// What is promised, without a word on how: who has which port, and when it was last used.
struct Model {
  struct Entry {
    FarEndpoint far;
    uint32_t used;
  };
  std::map<uint16_t, Entry> by_port[3];

  const Entry* Find(int protocol, const FarEndpoint& far, uint16_t& port) const {
    for (const auto& [number, entry] : by_port[protocol]) {
      if (KeyOf(entry.far) != KeyOf(far)) continue;
      port = number;
      return &entry;
    }
    return nullptr;
  }
};

// UDP and ICMP keep no state: their timeouts are plain. TCP here stays transitory (no flags are shown).
constexpr uint32_t kTimeouts[] = {Bindings::kTcpTransitoryTimeout, Bindings::kUdpTimeout,
                                  Bindings::kIcmpTimeout};

void Connect(Bindings& bindings, uint16_t port, uint32_t now) {
  bindings.TouchTcp(port, wire::kTcpSyn, true, now);
  bindings.TouchTcp(port, wire::kTcpSyn | wire::kTcpAck, false, now);
  bindings.TouchTcp(port, wire::kTcpAck, true, now);
}

Bindings::State StateOf(const Bindings& bindings, uint16_t port, uint32_t now) {
  for (const auto& row : bindings.Rows(now)) {
    if (row.protocol == NatProtocol::tcp && row.port == port) return row.state;
  }
  throw std::logic_error("no such binding");
}

}  // namespace

TEST_SUITE("bindings") {
  TEST_CASE("random use against a simple model: mapping, ports, expiry, a full table") {
    std::mt19937 random(1);
    for (int round = 0; round < 30; round++) {
      Bindings bindings;
      Model model;
      const auto first = static_cast<uint16_t>(1024 + random() % 1000);
      const auto last = static_cast<uint16_t>(first + random() % 40);
      bindings.SetRange(first, last);
      uint32_t now = 1 + random() % 1000;
      for (int step = 0; step < 3000; step++) {
        const int p = static_cast<int>(random() % 3);
        const NatProtocol protocol = kProtocols[p];
        const FarEndpoint far{static_cast<uint16_t>(random() % 2), static_cast<uint32_t>(random() % 4),
                              static_cast<uint16_t>(first - 5 + random() % 60)};
        uint16_t known = 0;
        const bool exists = model.Find(p, far, known) != nullptr;
        const auto port = static_cast<uint16_t>(first - 3 + random() % 50);
        switch (random() % 8) {
          case 0:
          case 1:
          case 2: {
            const auto given = bindings.PortOf(protocol, far, now);
            auto& ports = model.by_port[p];
            if (exists) {
              // RFC 4787 REQ-1: endpoint-independent, the same port as long as it lives.
              REQUIRE(given == known);
              break;
            }
            if (ports.size() == static_cast<size_t>(last - first + 1)) {
              REQUIRE(!given.has_value());
              break;
            }
            REQUIRE(given.has_value());
            REQUIRE(*given >= first);
            REQUIRE(*given <= last);
            REQUIRE(ports.count(*given) == 0);  // RFC 4787 REQ-3: no overloading
            if (far.port >= first && far.port <= last && ports.count(far.port) == 0)
              REQUIRE(*given == far.port);
            ports[*given] = {far, now};
            break;
          }
          case 3:
            REQUIRE(bindings.FindPort(protocol, far) == (exists ? std::optional(known) : std::nullopt));
            break;
          case 4: {
            const auto found = bindings.FarOf(protocol, port);
            const auto entry = model.by_port[p].find(port);
            REQUIRE(found.has_value() == (entry != model.by_port[p].end()));
            if (found) REQUIRE(KeyOf(*found) == KeyOf(entry->second.far));
            break;
          }
          case 5:
            if (exists) {
              bindings.Touch(protocol, known, now);
              model.by_port[p][known].used = now;
            }
            break;
          case 6: {
            now += random() % 40;
            size_t in_use = 0;
            for (int q = 0; q < 3; q++) {
              std::erase_if(model.by_port[q],
                            [&](const auto& entry) { return now - entry.second.used > kTimeouts[q]; });
              in_use += model.by_port[q].size();
            }
            REQUIRE(bindings.Sweep(now) == in_use);
            REQUIRE(bindings.Rows(now).size() == in_use);
            break;
          }
          default:
            if (random() % 50 != 0) break;
            bindings.DropPeer(far.peer_id);
            for (auto& ports : model.by_port) {
              std::erase_if(ports,
                            [&](const auto& entry) { return entry.second.far.peer_id == far.peer_id; });
            }
        }
      }
    }
  }

  TEST_CASE("no range, no binding") {
    Bindings bindings;
    CHECK(!bindings.PortOf(NatProtocol::udp, {0, 1, 2}, 1));
    CHECK(bindings.Sweep(1) == 0);
    CHECK(bindings.Rows(1).empty());
  }

  TEST_CASE("a smaller range drops what lies outside, the rest stays") {
    Bindings bindings;
    bindings.SetRange(1000, 2000);
    CHECK(bindings.PortOf(NatProtocol::udp, {0, 1, 1000}, 1) == 1000);
    CHECK(bindings.PortOf(NatProtocol::udp, {0, 1, 2000}, 1) == 2000);
    bindings.SetRange(1500, 2000);
    CHECK(!bindings.FarOf(NatProtocol::udp, 1000));
    CHECK(bindings.FindPort(NatProtocol::udp, {0, 1, 2000}) == 2000);
    CHECK(bindings.Sweep(1) == 1);
  }

  TEST_CASE("the whole range of ports is used, to the last one, and a free one is found again") {
    Bindings bindings;
    bindings.SetRange(1, 65535);
    for (uint32_t i = 1; i <= 65535; i++) {
      REQUIRE(bindings.PortOf(NatProtocol::udp, {3, i, 7}, 1).has_value());
    }
    CHECK(!bindings.PortOf(NatProtocol::udp, {4, 1, 7}, 1));
    for (uint32_t i = 1; i <= 65535; i += 97) {
      const auto port = bindings.FindPort(NatProtocol::udp, {3, i, 7});
      REQUIRE(port.has_value());
      REQUIRE(bindings.FarOf(NatProtocol::udp, *port)->address == i);
    }
    CHECK(bindings.Sweep(2 + Bindings::kUdpTimeout) == 0);
    CHECK(bindings.PortOf(NatProtocol::udp, {4, 1, 7}, 400) == 7);
  }

  TEST_CASE("one endpoint that comes and goes for ever costs the same each time") {
    Bindings bindings;
    bindings.SetRange(5000, 5003);
    uint32_t now = 1;
    // Cells of the index that only filled up would make this quadratic, and the test time out.
    for (int round = 0; round < 300000; round++) {
      REQUIRE(bindings.PortOf(NatProtocol::icmp, {0, 0x0a000001, 5000}, now) == 5000);
      now += Bindings::kIcmpTimeout + 1;
      REQUIRE(bindings.Sweep(now) == 0);
    }
  }

  TEST_CASE("the index survives far more endpoints than it has cells") {
    Bindings bindings;
    bindings.SetRange(5000, 5003);
    uint32_t now = 1;
    for (uint32_t round = 0; round < 300000; round++) {
      const auto port = bindings.PortOf(NatProtocol::udp, {0, round, static_cast<uint16_t>(round)}, now);
      REQUIRE(port.has_value());
      REQUIRE(bindings.FindPort(NatProtocol::udp, {0, round, static_cast<uint16_t>(round)}) == port);
      now += Bindings::kUdpTimeout + 1;
      bindings.Sweep(now);
    }
  }

  TEST_CASE("TCP timers follow the connection (RFC 5382 REQ-5)") {
    Bindings bindings;
    bindings.SetRange(1000, 1999);
    const uint16_t port = *bindings.PortOf(NatProtocol::tcp, {0, 1, 1000}, 1);
    bindings.TouchTcp(port, wire::kTcpSyn, true, 1);
    CHECK(StateOf(bindings, port, 1) == Bindings::State::transitory);
    Connect(bindings, port, 1);
    CHECK(StateOf(bindings, port, 1) == Bindings::State::established);
    CHECK(bindings.Sweep(1 + Bindings::kTcpEstablishedTimeout) == 1);
    SUBCASE("established ones stay for 2 h 4 min") {
      CHECK(bindings.Sweep(2 + Bindings::kTcpEstablishedTimeout) == 0);
    }
    SUBCASE("closed by both ends: four minutes, also after one FIN alone was seen") {
      bindings.TouchTcp(port, wire::kTcpFin | wire::kTcpAck, true, 10);
      CHECK(StateOf(bindings, port, 10) == Bindings::State::established);
      bindings.TouchTcp(port, wire::kTcpFin | wire::kTcpAck, false, 10);
      CHECK(StateOf(bindings, port, 10) == Bindings::State::closing);
      CHECK(bindings.Sweep(10 + Bindings::kTcpTransitoryTimeout) == 1);
      CHECK(bindings.Sweep(11 + Bindings::kTcpTransitoryTimeout) == 0);
    }
    SUBCASE("reset") {
      bindings.TouchTcp(port, wire::kTcpRst, false, 10);
      CHECK(StateOf(bindings, port, 10) == Bindings::State::closing);
    }
    SUBCASE("a new connection from the same far port starts afresh") {
      bindings.TouchTcp(port, wire::kTcpRst, false, 10);
      bindings.TouchTcp(port, wire::kTcpSyn, true, 11);
      CHECK(StateOf(bindings, port, 11) == Bindings::State::transitory);
    }
  }

  TEST_CASE("a full table takes the connection that was closed longest ago, and never a live one") {
    Bindings bindings;
    bindings.SetRange(1000, 1003);
    for (uint32_t i = 0; i < 4; i++) {
      REQUIRE(bindings.PortOf(NatProtocol::tcp, {0, i, 1}, 1).has_value());
      Connect(bindings, static_cast<uint16_t>(1000 + i), 1);
    }
    CHECK(!bindings.PortOf(NatProtocol::tcp, {0, 9, 1}, 2));
    bindings.TouchTcp(1002, wire::kTcpRst, false, 5);
    bindings.TouchTcp(1001, wire::kTcpRst, false, 6);
    // A worker's clock may be a moment ahead of the one that looks for a port.
    CHECK(bindings.PortOf(NatProtocol::tcp, {0, 9, 1}, 5) == 1002);
    CHECK(bindings.PortOf(NatProtocol::tcp, {0, 10, 1}, 7) == 1001);
    CHECK(!bindings.PortOf(NatProtocol::tcp, {0, 11, 1}, 8));
    CHECK(bindings.FindPort(NatProtocol::tcp, {0, 0, 1}) == 1000);
  }

  TEST_CASE("a sweep with an older clock frees nothing") {
    Bindings bindings;
    bindings.SetRange(1000, 1003);
    bindings.PortOf(NatProtocol::udp, {0, 1, 1000}, 100);
    CHECK(bindings.Sweep(99) == 1);
    CHECK(bindings.Rows(99).front().idle_seconds == 0);
  }
}

}  // namespace vpc_conn::forward
