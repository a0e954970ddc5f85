// addon.clockSynchronized; see src/native/addon.ts.
#pragma once

#include <napi.h>

namespace vpc_conn::binding {

void InitClock(Napi::Env env, Napi::Object exports);

}  // namespace vpc_conn::binding
