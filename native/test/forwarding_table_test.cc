#include "forward/forwarding_table.h"

#include <doctest/doctest.h>

#include <optional>
#include <random>

namespace vpc_conn::forward {

namespace {

uint32_t MaskOf(int length) {
  uint32_t mask = 0;
  for (int bit = 0; bit < length; bit++) mask |= 0x80000000u >> bit;
  return mask;
}

// Reads the whole list and keeps the longest match.
std::optional<ForwardingTable::FarHost> NaiveFarHost(const TableContents& contents, uint32_t address) {
  const ProxiedEntry* best = nullptr;
  for (const ProxiedEntry& entry : contents.proxied) {
    if (((address ^ entry.address) & MaskOf(entry.prefix_length)) != 0) continue;
    if (best == nullptr || entry.prefix_length > best->prefix_length) best = &entry;
  }
  if (best == nullptr) return std::nullopt;
  const uint32_t mask = MaskOf(best->prefix_length);
  return ForwardingTable::FarHost{best->peer, (best->host & mask) | (address & ~mask)};
}

std::optional<uint32_t> NaiveProxied(const TableContents& contents, uint16_t peer, uint32_t host) {
  const ProxiedEntry* best = nullptr;
  for (const ProxiedEntry& entry : contents.proxied) {
    if (entry.peer != peer || ((host ^ entry.host) & MaskOf(entry.prefix_length)) != 0) continue;
    if (best == nullptr || entry.prefix_length > best->prefix_length) best = &entry;
  }
  if (best == nullptr) return std::nullopt;
  const uint32_t mask = MaskOf(best->prefix_length);
  const uint32_t proxied = (best->address & mask) | (host & ~mask);
  // Answers must come back to the same host, which a longer prefix can prevent.
  const auto back = NaiveFarHost(contents, proxied);
  if (!back || back->peer != peer || back->address != host) return std::nullopt;
  return proxied;
}

// Random entries without two of one prefix, which the settings forbid.
TableContents RandomContents(std::mt19937& random) {
  TableContents contents;
  const auto peers = static_cast<uint16_t>(1 + random() % 4);
  for (uint16_t i = 0; i < peers; i++) {
    contents.peers.push_back({.id = static_cast<uint16_t>(i + 10), .local_address = 1, .address = 2u + i});
  }
  const size_t count = random() % 40;
  while (contents.proxied.size() < count) {
    ProxiedEntry entry;
    entry.prefix_length = static_cast<uint8_t>(random() % 3 == 0 ? 32 : random() % 33);
    const uint32_t mask = MaskOf(entry.prefix_length);
    // Few leading bytes, so that prefixes nest.
    entry.address = (0x0a000000 | (random() & 0x0001ffff)) & mask;
    entry.host = (0x0a000000 | (random() & 0x0001ffff)) & mask;
    entry.peer = static_cast<uint16_t>(random() % peers);
    bool taken = false;
    for (const ProxiedEntry& other : contents.proxied) {
      if (other.prefix_length != entry.prefix_length) continue;
      taken =
          taken || other.address == entry.address || (other.host == entry.host && other.peer == entry.peer);
    }
    if (!taken) contents.proxied.push_back(entry);
  }
  return contents;
}

}  // namespace

TEST_SUITE("forwarding_table") {
  TEST_CASE("longest match and prefix mapping in both directions, against reading the whole list") {
    std::mt19937 random(1);
    size_t matched = 0;
    for (int round = 0; round < 300; round++) {
      const TableContents contents = RandomContents(random);
      const ForwardingTable table(contents);
      for (int look = 0; look < 200; look++) {
        const uint32_t address =
            random() % 8 == 0 ? static_cast<uint32_t>(random()) : 0x0a000000 | (random() & 0x0001ffff);
        const auto expected = NaiveFarHost(contents, address);
        const auto found = table.FarHostOf(address);
        REQUIRE(found.has_value() == expected.has_value());
        REQUIRE(table.IsProxied(address) == expected.has_value());
        if (found) {
          matched++;
          REQUIRE(found->peer == expected->peer);
          REQUIRE(found->address == expected->address);
        }
        for (uint16_t peer = 0; peer < contents.peers.size(); peer++) {
          const auto proxied = table.ProxiedAddressOf(peer, address);
          const auto naive = NaiveProxied(contents, peer, address);
          REQUIRE(proxied.value_or(0) == naive.value_or(0));
          REQUIRE(proxied.has_value() == naive.has_value());
        }
      }
    }
    CHECK(matched > 1000);
  }

  TEST_CASE("a one-to-one table is its own inverse") {
    std::mt19937 random(2);
    TableContents contents;
    contents.peers.resize(2);
    contents.peers[1].address = 1;
    for (uint32_t i = 0; i < 200; i++) {
      contents.proxied.push_back({.address = 0x0a000000 + i,
                                  .host = 0x0a000000 + (i * 77 + 3) % 256,
                                  .peer = static_cast<uint16_t>(i % 2)});
    }
    const ForwardingTable table(contents);
    for (uint32_t i = 0; i < 200; i++) {
      const auto far = table.FarHostOf(0x0a000000 + i);
      REQUIRE(far);
      CHECK(table.ProxiedAddressOf(far->peer, far->address) == 0x0a000000 + i);
      CHECK(!table.ProxiedAddressOf(1 - far->peer, far->address).has_value());
    }
  }

  TEST_CASE("the longest and the shortest prefix there are") {
    TableContents contents;
    contents.peers.resize(1);
    contents.proxied = {{.address = 0, .host = 0, .prefix_length = 0, .peer = 0},
                        {.address = 0xffffffff, .host = 1, .prefix_length = 32, .peer = 0}};
    const ForwardingTable table(contents);
    CHECK(table.FarHostOf(0x12345678)->address == 0x12345678);
    CHECK(table.FarHostOf(0xffffffff)->address == 1);
    CHECK(table.FarHostOf(0)->address == 0);
    CHECK(*table.ProxiedAddressOf(0, 1) == 0xffffffff);
    CHECK(*table.ProxiedAddressOf(0, 2) == 2);
  }

  TEST_CASE("peers by address pair and by id, tunnel addresses, reserved ones, masquerade range") {
    TableContents contents;
    contents.peers = {{.id = 7, .local_address = 1, .address = 2},
                      {.id = 3, .local_address = 2, .address = 1, .masquerade_unlisted = true}};
    contents.reserved = {0, 0xffffffff, 9};
    contents.masquerade_first_port = 100;
    contents.masquerade_last_port = 200;
    const ForwardingTable table(contents);
    CHECK(table.PeerOf(1, 2)->id == 7);
    CHECK(table.PeerOf(2, 1)->id == 3);
    CHECK(table.PeerOf(1, 1) == nullptr);
    CHECK(table.PeerIndex(*table.PeerById(3)) == 1);
    CHECK(table.PeerById(0) == nullptr);
    CHECK(table.IsTunnelAddress(1));
    CHECK(!table.IsTunnelAddress(3));
    CHECK(table.IsReserved(0));
    CHECK(table.IsReserved(0xffffffff));
    CHECK(!table.IsReserved(8));
    CHECK(table.masquerades());
    CHECK(!table.InMasqueradeRange(99));
    CHECK(table.InMasqueradeRange(100));
    CHECK(table.InMasqueradeRange(200));
    CHECK(!table.InMasqueradeRange(201));
    contents.peers[1].masquerade_unlisted = false;
    CHECK(!ForwardingTable(contents).masquerades());
  }

  TEST_CASE("peers over IPv6: both addresses count, all their bits, and nothing is the unspecified address") {
    const wire::Ipv6Address here{0x20010db800000000, 1};
    const wire::Ipv6Address there{0x20010db800000000, 2};
    TableContents contents;
    contents.peers = {{.id = 7, .ends6 = TunnelEnds6{here, there}},
                      {.id = 8, .local_address = 1, .address = 2}};
    const ForwardingTable table(contents);
    CHECK(table.tunnels_over_ipv6());
    CHECK(table.PeerOf({here, there})->id == 7);
    CHECK(table.PeerOf({there, here}) == nullptr);
    CHECK(table.PeerOf({here, {there.high ^ 1, there.low}}) == nullptr);
    CHECK(table.PeerOf({{here.high, here.low ^ (uint64_t{1} << 63)}, there}) == nullptr);
    CHECK(table.PeerOf(TunnelEnds6{}) == nullptr);
    CHECK(table.PeerOf(1, 2)->id == 8);
    CHECK(table.PeerOf(0, 0) == nullptr);
    CHECK(table.IsTunnelAddress(here));
    CHECK(table.IsTunnelAddress(there));
    CHECK(!table.IsTunnelAddress(wire::Ipv6Address{}));
    CHECK(!table.IsTunnelAddress(0));
    contents.peers.erase(contents.peers.begin());
    CHECK(!ForwardingTable(contents).tunnels_over_ipv6());
  }
}

}  // namespace vpc_conn::forward
