// JavaScript values to the data plane's structures (src/native/addon.ts describes both sides).
#pragma once

#include <napi.h>

#include <span>
#include <vector>

#include "forward/bindings.h"
#include "forward/forwarding_table.h"
#include "forward/snapshot.h"
#include "runtime/event_queue.h"

namespace vpc_conn::binding {

// Each throws Napi::TypeError on a value of another shape: TypeScript has checked them, so that is a bug
// there.
std::span<const uint8_t> ToBytes(Napi::Value value, const char* name);
forward::TableContents ToTable(const Napi::Object& table);
std::vector<forward::NeighborRecord> ToNeighbors(Napi::Value records);

// A page of flows: { records, next }, the records as native/addon.ts describes them; and back, without those
// that cannot be right.
Napi::Object FromFlows(Napi::Env env, const forward::Bindings::Page& page,
                       const forward::ForwardingTable& table);
std::vector<forward::Bindings::Row> ToFlows(Napi::Value records, const forward::ForwardingTable& table);
Napi::Object FromInUse(Napi::Env env, const forward::Bindings::InUse& in_use);

// NativeEvent[].
Napi::Array FromEvents(Napi::Env env, const std::vector<runtime::Event>& events);
Napi::Buffer<uint8_t> FromAddress(Napi::Env env, uint32_t address);
Napi::Buffer<uint8_t> FromAddress(Napi::Env env, const wire::Ipv6Address& address);

}  // namespace vpc_conn::binding
