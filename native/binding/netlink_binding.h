// class Netlink of src/native/addon.ts.
#pragma once

#include <napi.h>

namespace vpc_conn::binding {

// Adds the class Netlink to the addon's exports.
void InitNetlink(Napi::Env env, Napi::Object exports);

}  // namespace vpc_conn::binding
