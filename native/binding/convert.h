// JavaScript values to the data plane's structures (src/native/addon.ts describes both sides).
#pragma once

#include <napi.h>

#include <span>
#include <vector>

#include "forward/forwarding_table.h"
#include "forward/snapshot.h"
#include "runtime/event_queue.h"

namespace vpc_conn::binding {

// Each throws Napi::TypeError on a value of another shape: TypeScript has checked them, so that is a bug
// there.
std::span<const uint8_t> ToBytes(Napi::Value value, const char* name);
forward::TableContents ToTable(const Napi::Object& table);
std::vector<forward::NeighborRecord> ToNeighbors(Napi::Value records);

// NativeEvent[].
Napi::Array FromEvents(Napi::Env env, const std::vector<runtime::Event>& events);
Napi::Buffer<uint8_t> FromAddress(Napi::Env env, uint32_t address);

}  // namespace vpc_conn::binding
