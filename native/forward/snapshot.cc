#include "forward/snapshot.h"

#include <algorithm>
#include <utility>

#include "wire/checksum.h"

namespace vpc_conn::forward {

namespace {

constexpr uint8_t kHopLimit = 64;

void FillIpv4(uint8_t* ip, const Peer& peer) {
  ip[0] = 0x45;
  // DF and identification 0: an atomic datagram (RFC 6864 4.1), never fragmented underway.
  wire::StoreBe16(ip + wire::kIpv4FragmentOffset, wire::kDontFragment);
  ip[wire::kIpv4TtlOffset] = kHopLimit;
  ip[wire::kIpv4ProtocolOffset] = wire::kProtocolEtherIp;
  wire::StoreBe32(ip + wire::kIpv4SourceOffset, peer.local_address);
  wire::StoreBe32(ip + wire::kIpv4DestinationOffset, peer.address);
  const uint16_t sum = wire::Fold(wire::AddBytes(0, ip, wire::kIpv4Header));
  wire::StoreChecksum(ip + wire::kIpv4ChecksumOffset, static_cast<uint16_t>(~sum));
}

// No extension headers: routers never fragment IPv6, and nothing else needs one.
void FillIpv6(uint8_t* ip, const TunnelEnds6& ends) {
  ip[0] = 0x60;
  ip[wire::kIpv6NextHeaderOffset] = wire::kProtocolEtherIp;
  ip[wire::kIpv6HopLimitOffset] = kHopLimit;
  wire::StoreIpv6(ip + wire::kIpv6SourceOffset, ends.local);
  wire::StoreIpv6(ip + wire::kIpv6DestinationOffset, ends.remote);
}

}  // namespace

OuterHeader MakeOuterHeader(const TableContents& contents, const Peer& peer, const Neighbor* next_hop) {
  OuterHeader header;
  if (next_hop == nullptr || next_hop->failed) {
    header.failed = next_hop != nullptr;
    return header;
  }
  header.resolved = true;
  if (contents.dscp) {
    header.tos_mask = 3;  // ECN is always copied (RFC 6040 4.1)
    header.tos_fixed = static_cast<uint8_t>(*contents.dscp << 2);
  }
  header.neighbor_slot = next_hop->slot;
  uint8_t* ethernet = header.bytes.data();
  wire::StoreMac(ethernet, next_hop->mac);
  wire::SetSourceMac(ethernet, contents.underlay_mac);
  uint8_t* ip = ethernet + wire::kEthernetHeader;
  if (peer.ends6) {
    header.length = wire::kOuterHeaders6;
    wire::StoreBe16(ethernet + 12, wire::kEtherTypeIpv6);
    FillIpv6(ip, *peer.ends6);
  } else {
    wire::StoreBe16(ethernet + 12, wire::kEtherTypeIpv4);
    FillIpv4(ip, peer);
  }
  wire::StoreBe16(ethernet + header.length - wire::kEtherIpHeader, wire::kEtherIpFirstWord);
  return header;
}

std::unique_ptr<Snapshot> BuildSnapshot(uint64_t generation, std::shared_ptr<const ForwardingTable> table,
                                        const std::vector<NeighborRecord>& records) {
  auto snapshot = std::make_unique<Snapshot>();
  snapshot->generation = generation;
  const auto count6 = static_cast<size_t>(std::count_if(
      records.begin(), records.end(), [](const auto& one) { return one.address6.has_value(); }));
  snapshot->neighbors.Reserve(records.size() - count6);
  snapshot->neighbors6.Reserve(count6);
  for (const NeighborRecord& record : records) {
    if (record.address6) {
      snapshot->neighbors6.Put(NeighborKey(record.scope, *record.address6), record.neighbor);
    } else {
      snapshot->neighbors.Put(NeighborKey(record.scope, record.address), record.neighbor);
    }
    snapshot->any_failed = snapshot->any_failed || record.neighbor.failed;
  }
  for (const Peer& peer : table->peers()) {
    const Neighbor* next_hop =
        peer.ends6 ? snapshot->neighbors6.Find(NeighborKey(kScopeUnderlay, peer.ends6->remote))
                   : snapshot->neighbors.Find(NeighborKey(kScopeUnderlay, peer.address));
    snapshot->outer.push_back(MakeOuterHeader(table->contents(), peer, next_hop));
  }
  snapshot->table = std::move(table);
  return snapshot;
}

}  // namespace vpc_conn::forward
