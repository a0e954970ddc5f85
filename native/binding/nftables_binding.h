// class Nftables of src/native/addon.ts.
#pragma once

#include <napi.h>

namespace vpc_conn::binding {

// Adds the class Nftables to the addon's exports.
void InitNftables(Napi::Env env, Napi::Object exports);

}  // namespace vpc_conn::binding
