// class DataPlane of src/native/addon.ts.
#pragma once

#include <napi.h>

namespace vpc_conn::binding {

void InitDataPlane(Napi::Env env, Napi::Object exports);

}  // namespace vpc_conn::binding
