#include "binding/convert.h"

#include <cstring>
#include <string>

namespace vpc_conn::binding {

namespace {

constexpr size_t kProxiedRecord = 12;
constexpr size_t kProxiedRecord6 = 36;
constexpr size_t kNeighborRecord = 28;
constexpr uint8_t kNeighborFailed = 2;
constexpr size_t kFlowRecord = 28;
constexpr uint8_t kFamilyIpv6 = 6;

uint16_t LoadLe16(const uint8_t* p) {
  return static_cast<uint16_t>(p[0] | p[1] << 8);
}

std::span<const uint8_t> ToFixed(const Napi::Object& object, const char* name, size_t length) {
  const auto bytes = ToBytes(object.Get(name), name);
  if (bytes.size() != length) {
    throw Napi::TypeError::New(object.Env(), std::string(name) + " has the wrong length");
  }
  return bytes;
}

uint32_t ToIpv4(const Napi::Object& object, const char* name) {
  return wire::LoadBe32(ToFixed(object, name, 4).data());
}

wire::Mac ToMac(const Napi::Object& object, const char* name) {
  wire::Mac mac;
  std::memcpy(mac.data(), ToFixed(object, name, 6).data(), 6);
  return mac;
}

uint32_t ToNumber(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsNumber()) throw Napi::TypeError::New(object.Env(), std::string(name) + " must be a number");
  return value.As<Napi::Number>().Uint32Value();
}

bool ToBoolean(const Napi::Object& object, const char* name) {
  const Napi::Value value = object.Get(name);
  if (!value.IsBoolean()) throw Napi::TypeError::New(object.Env(), std::string(name) + " must be a boolean");
  return value.As<Napi::Boolean>().Value();
}

// Both of one family, which their length tells.
void ToTunnelEnds(const Napi::Object& value, forward::Peer& peer) {
  if (ToBytes(value.Get("address"), "address").size() == 4) {
    peer.local_address = ToIpv4(value, "localAddress");
    peer.address = ToIpv4(value, "address");
    return;
  }
  peer.ends6 = {wire::LoadIpv6(ToFixed(value, "localAddress", 16).data()),
                wire::LoadIpv6(ToFixed(value, "address", 16).data())};
}

void ToTable6(const Napi::Object& table, forward::TableContents& contents) {
  if (!table.Get("overlayAddress6").IsUndefined()) {
    contents.overlay_address6 = wire::LoadIpv6(ToFixed(table, "overlayAddress6", 16).data());
  }
  const auto proxied = ToBytes(table.Get("proxied6"), "proxied6");
  if (proxied.size() % kProxiedRecord6 != 0) {
    throw Napi::TypeError::New(table.Env(), "proxied6 has the wrong length");
  }
  for (size_t at = 0; at < proxied.size(); at += kProxiedRecord6) {
    const uint8_t* record = &proxied[at];
    const forward::ProxiedEntry6 entry{wire::LoadIpv6(record), wire::LoadIpv6(record + 16), record[32],
                                       LoadLe16(record + 34)};
    if (entry.prefix_length > 128 || entry.peer >= contents.peers.size()) {
      throw Napi::TypeError::New(table.Env(), "proxied6 has a record out of range");
    }
    contents.proxied6.push_back(entry);
  }
  const auto reserved = ToBytes(table.Get("reserved6"), "reserved6");
  for (size_t at = 0; at + 16 <= reserved.size(); at += 16) {
    contents.reserved6.push_back(wire::LoadIpv6(&reserved[at]));
  }
}

}  // namespace

std::span<const uint8_t> ToBytes(Napi::Value value, const char* name) {
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array) {
    const auto array = value.As<Napi::Uint8Array>();
    return {array.Data(), array.ByteLength()};
  }
  throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a Uint8Array");
}

forward::TableContents ToTable(const Napi::Object& table) {
  forward::TableContents contents;
  contents.overlay_mac = ToMac(table, "overlayMac");
  contents.overlay_address = ToIpv4(table, "overlayAddress");
  contents.overlay_mtu = ToNumber(table, "overlayMtu");
  contents.underlay_mac = ToMac(table, "underlayMac");
  contents.icmp_errors_per_second = ToNumber(table, "icmpErrorsPerSecond");
  contents.masquerade_first_port = static_cast<uint16_t>(ToNumber(table, "masqueradeFirstPort"));
  contents.masquerade_last_port = static_cast<uint16_t>(ToNumber(table, "masqueradeLastPort"));
  contents.masquerade_flows = ToNumber(table, "masqueradeFlows");
  const auto pool = ToBytes(table.Get("masqueradeAddresses"), "masqueradeAddresses");
  if (pool.size() % 4 != 0 || pool.size() > forward::Bindings::kAddresses * 4) {
    throw Napi::TypeError::New(table.Env(), "masqueradeAddresses has the wrong length");
  }
  for (size_t at = 0; at < pool.size(); at += 4) {
    contents.masquerade_addresses.push_back(wire::LoadBe32(&pool[at]));
  }

  if (const Napi::Value dscp = table.Get("dscp"); !dscp.IsUndefined()) {
    const uint32_t value = ToNumber(table, "dscp");
    if (value > 63) throw Napi::TypeError::New(table.Env(), "dscp is out of range");
    contents.dscp = static_cast<uint8_t>(value);
  }
  contents.accept_reversed = ToBoolean(table, "acceptReversed");
  if (contents.overlay_mtu < wire::kSmallestMtu) {
    throw Napi::TypeError::New(table.Env(), "overlayMtu is out of range");
  }

  const Napi::Value peers = table.Get("peers");
  if (!peers.IsArray()) throw Napi::TypeError::New(table.Env(), "peers must be an array");
  const auto list = peers.As<Napi::Array>();
  for (uint32_t i = 0; i < list.Length(); i++) {
    const auto value = list.Get(i).As<Napi::Object>();
    forward::Peer peer;
    ToTunnelEnds(value, peer);
    peer.inner_mtu = static_cast<uint16_t>(ToNumber(value, "innerMtu"));
    peer.masquerade_unlisted = ToBoolean(value, "masqueradeUnlisted");
    peer.resolve_through_tunnel = ToBoolean(value, "resolveThroughTunnel");
    if (peer.inner_mtu < wire::kSmallestMtu) {
      throw Napi::TypeError::New(table.Env(), "innerMtu is out of range");
    }
    contents.peers.push_back(peer);
  }

  const auto proxied = ToBytes(table.Get("proxied"), "proxied");
  if (proxied.size() % kProxiedRecord != 0) {
    throw Napi::TypeError::New(table.Env(), "proxied has the wrong length");
  }
  for (size_t at = 0; at < proxied.size(); at += kProxiedRecord) {
    const uint8_t* record = &proxied[at];
    const forward::ProxiedEntry entry{wire::LoadBe32(record), wire::LoadBe32(record + 4), record[8],
                                      LoadLe16(record + 10)};
    if (entry.prefix_length > 32 || entry.peer >= contents.peers.size()) {
      throw Napi::TypeError::New(table.Env(), "proxied has a record out of range");
    }
    contents.proxied.push_back(entry);
  }

  const auto reserved = ToBytes(table.Get("reserved"), "reserved");
  for (size_t at = 0; at + 4 <= reserved.size(); at += 4) {
    contents.reserved.push_back(wire::LoadBe32(&reserved[at]));
  }
  ToTable6(table, contents);
  return contents;
}

std::vector<forward::NeighborRecord> ToNeighbors(Napi::Value records) {
  const auto bytes = ToBytes(records, "records");
  if (bytes.size() % kNeighborRecord != 0) {
    throw Napi::TypeError::New(records.Env(), "records has the wrong length");
  }
  std::vector<forward::NeighborRecord> neighbors;
  neighbors.reserve(bytes.size() / kNeighborRecord);
  for (size_t at = 0; at < bytes.size(); at += kNeighborRecord) {
    const uint8_t* record = &bytes[at];
    forward::NeighborRecord neighbor{};
    neighbor.scope = LoadLe16(record);
    neighbor.neighbor.failed = record[2] == kNeighborFailed;
    if (record[3] == kFamilyIpv6) {
      neighbor.address6 = wire::LoadIpv6(record + 4);
    } else {
      neighbor.address = wire::LoadBe32(record + 4);
    }
    neighbor.neighbor.mac = wire::MacToInteger(record + 20);
    neighbor.neighbor.slot = LoadLe16(record + 26);
    if (neighbor.neighbor.slot >= forward::kNeighborSlots) {
      throw Napi::TypeError::New(records.Env(), "records has a slot out of range");
    }
    neighbors.push_back(neighbor);
  }
  return neighbors;
}

Napi::Object FromFlows(Napi::Env env, const forward::Bindings::Page& page,
                       const forward::ForwardingTable& table) {
  std::vector<uint8_t> records;
  records.reserve(page.rows.size() * kFlowRecord);
  for (const auto& row : page.rows) {
    const forward::Peer* peer = table.PeerById(row.far.peer_id);
    if (peer == nullptr) continue;
    records.resize(records.size() + kFlowRecord);
    uint8_t* record = &records[records.size() - kFlowRecord];
    record[0] = static_cast<uint8_t>(row.protocol);
    record[1] = row.tcp_seen;
    record[2] = static_cast<uint8_t>(forward::FlowStateOf(row.protocol, row.tcp_seen));
    wire::StoreBe16(record + 4, table.PeerIndex(*peer));
    wire::StoreBe16(record + 6, row.far.port);
    wire::StoreBe32(record + 8, row.far.address);
    wire::StoreBe32(record + 12, row.mapping.address);
    wire::StoreBe32(record + 16, row.near.address);
    wire::StoreBe16(record + 20, row.mapping.port);
    wire::StoreBe16(record + 22, row.near.port);
    wire::StoreBe32(record + 24, row.idle_seconds);
  }
  Napi::Object result = Napi::Object::New(env);
  result.Set("records", Napi::Buffer<uint8_t>::Copy(env, records.data(), records.size()));
  result.Set("next", Napi::Number::New(env, page.next));
  return result;
}

std::vector<forward::Bindings::Row> ToFlows(Napi::Value records, const forward::ForwardingTable& table) {
  const auto bytes = ToBytes(records, "records");
  if (bytes.size() % kFlowRecord != 0) {
    throw Napi::TypeError::New(records.Env(), "records has the wrong length");
  }
  std::vector<forward::Bindings::Row> rows;
  for (size_t at = 0; at < bytes.size(); at += kFlowRecord) {
    const uint8_t* record = &bytes[at];
    const uint16_t peer = wire::LoadBe16(record + 4);
    if (peer >= table.peers().size() || record[0] >= static_cast<uint8_t>(forward::NatProtocol::count_)) {
      continue;
    }
    rows.push_back({static_cast<forward::NatProtocol>(record[0]),
                    {table.peers()[peer].id, wire::LoadBe32(record + 8), wire::LoadBe16(record + 6)},
                    {wire::LoadBe32(record + 16), wire::LoadBe16(record + 22)},
                    {wire::LoadBe32(record + 12), wire::LoadBe16(record + 20)},
                    record[1],
                    wire::LoadBe32(record + 24)});
  }
  return rows;
}

Napi::Object FromInUse(Napi::Env env, const forward::Bindings::InUse& in_use) {
  Napi::Object object = Napi::Object::New(env);
  object.Set("bindings", Napi::Number::New(env, in_use.bindings));
  object.Set("flows", Napi::Number::New(env, in_use.flows));
  return object;
}

Napi::Buffer<uint8_t> FromAddress(Napi::Env env, uint32_t address) {
  uint8_t bytes[4];
  wire::StoreBe32(bytes, address);
  return Napi::Buffer<uint8_t>::Copy(env, bytes, sizeof bytes);
}

Napi::Buffer<uint8_t> FromAddress(Napi::Env env, const wire::Ipv6Address& address) {
  uint8_t bytes[16];
  wire::StoreIpv6(bytes, address);
  return Napi::Buffer<uint8_t>::Copy(env, bytes, sizeof bytes);
}

Napi::Array FromEvents(Napi::Env env, const std::vector<runtime::Event>& events) {
  using Kind = runtime::Event::Kind;
  Napi::Array list = Napi::Array::New(env, events.size());
  for (uint32_t i = 0; i < events.size(); i++) {
    const runtime::Event& event = events[i];
    Napi::Object object = Napi::Object::New(env);
    switch (event.kind) {
      case Kind::unresolved:
      case Kind::heard:
      case Kind::unlisted:
        object.Set("kind", event.kind == Kind::heard      ? "heard"
                           : event.kind == Kind::unlisted ? "unlisted"
                                                          : "unresolved");
        object.Set("scope", Napi::Number::New(env, event.scope));
        object.Set("address",
                   event.address6 ? FromAddress(env, *event.address6) : FromAddress(env, event.address));
        break;
      case Kind::arp:
      case Kind::neighbor_discovery:
        object.Set("kind", event.kind == Kind::arp ? "arp" : "neighbor-discovery");
        object.Set("scope", Napi::Number::New(env, event.scope));
        object.Set("frame", Napi::Buffer<uint8_t>::Copy(env, event.frame.data(), event.frame.size()));
        break;
      case Kind::path_report:
        object.Set("kind", "path-report");
        object.Set("scope", Napi::Number::New(env, event.scope));
        object.Set("router",
                   event.address6 ? FromAddress(env, *event.address6) : FromAddress(env, event.address));
        object.Set("mtu", Napi::Number::New(env, event.mtu));
        object.Set("sent", Napi::Number::New(env, event.sent));
        break;
      case Kind::keepalive:
        object.Set("kind", "keepalive");
        object.Set("scope", Napi::Number::New(env, event.scope));
        object.Set("frame", Napi::Buffer<uint8_t>::Copy(env, event.frame.data(), event.frame.size()));
        object.Set("length", Napi::Number::New(env, event.length));
        object.Set("receivedAt", Napi::Number::New(env, static_cast<double>(event.received_ns) / 1e6));
        break;
      case Kind::worker_failed: {
        const char* name = strerrorname_np(event.error);
        object.Set("kind", "worker-failed");
        object.Set("worker", event.worker);
        object.Set("code", name != nullptr ? name : "EUNKNOWN");
        object.Set("message", event.message);
        break;
      }
    }
    list.Set(i, object);
  }
  return list;
}

}  // namespace vpc_conn::binding
