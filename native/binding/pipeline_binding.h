// class Pipeline of src/native/addon.ts: the workers' pipelines on frames in memory.
#pragma once

#include <napi.h>

namespace vpc_conn::binding {

void InitPipeline(Napi::Env env, Napi::Object exports);

}  // namespace vpc_conn::binding
