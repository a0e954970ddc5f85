#include "runtime/peer_ids.h"

#include <doctest/doctest.h>

#include <set>

#include "forward/counters.h"

namespace vpc_conn::runtime {

using forward::Peer;

TEST_SUITE("peer_ids") {
  TEST_CASE("a peer keeps its id wherever it stands in the list") {
    PeerIds ids;
    std::vector<Peer> peers = {{.local_address = 1, .address = 2}, {.local_address = 1, .address = 3}};
    CHECK(ids.Assign(peers)->empty());
    const uint16_t first = peers[0].id;
    const uint16_t second = peers[1].id;
    CHECK(first != second);
    std::vector<Peer> turned = {{.local_address = 1, .address = 3}, {.local_address = 1, .address = 2}};
    CHECK(ids.Assign(turned)->empty());
    CHECK(turned[0].id == second);
    CHECK(turned[1].id == first);
  }

  TEST_CASE("over IPv6 a peer is its pair of addresses, too, and no bit of them is left out") {
    PeerIds ids;
    const auto peer = [](wire::Ipv6Address local, wire::Ipv6Address remote) {
      Peer one;
      one.ends6 = {local, remote};
      return one;
    };
    std::vector<Peer> peers = {peer({8, 1}, {8, 2}), peer({9, 1}, {8, 2}),
                               peer({8, 3}, {8, 2}), peer({8, 1}, {9, 2}),
                               peer({8, 1}, {8, 3}), {.local_address = 1, .address = 2}};
    CHECK(ids.Assign(peers)->empty());
    std::set<uint16_t> distinct;
    for (const Peer& one : peers) distinct.insert(one.id);
    CHECK(distinct.size() == peers.size());
    std::vector<Peer> turned(peers.rbegin(), peers.rend());
    CHECK(ids.Assign(turned)->empty());
    CHECK(turned.back().id == peers.front().id);
  }

  TEST_CASE("ids of peers that are gone are told") {
    PeerIds ids;
    std::vector<Peer> peers = {{.local_address = 1, .address = 2}, {.local_address = 1, .address = 3}};
    ids.Assign(peers);
    std::vector<Peer> fewer = {{.local_address = 1, .address = 3}};
    const auto gone = ids.Assign(fewer);
    REQUIRE(gone->size() == 1);
    CHECK(gone->front() == peers[0].id);
  }

  TEST_CASE("as many peers as there are ids, each with its own; one more is refused and changes nothing") {
    PeerIds ids;
    std::vector<Peer> peers(forward::kMaxPeers);
    for (uint32_t i = 0; i < peers.size(); i++) peers[i] = {.local_address = 1, .address = i};
    REQUIRE(ids.Assign(peers));
    std::set<uint16_t> distinct;
    for (const Peer& peer : peers) distinct.insert(peer.id);
    CHECK(distinct.size() == forward::kMaxPeers);
    CHECK(*distinct.rbegin() < forward::kMaxPeers);
    std::vector<Peer> more(forward::kMaxPeers + 1);
    CHECK(!ids.Assign(more));
    std::vector<Peer> again = peers;
    CHECK(ids.Assign(again)->empty());
    CHECK(again[200].id == peers[200].id);
  }
}

}  // namespace vpc_conn::runtime
