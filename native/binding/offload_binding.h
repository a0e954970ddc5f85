// Functions of src/native/addon.ts about what the kernel can do for the data plane: readFeatures,
// setFeatures, probeKernelSegmentation.
#pragma once

#include <napi.h>

namespace vpc_conn::binding {

void InitOffload(Napi::Env env, Napi::Object exports);

}  // namespace vpc_conn::binding
