// The addon's entry: what src/native/addon.ts declares, assembled.
#include <napi.h>

#include "binding/clock_binding.h"
#include "binding/data_plane_binding.h"
#include "binding/netlink_binding.h"
#include "binding/nftables_binding.h"
#include "binding/offload_binding.h"
#include "binding/pipeline_binding.h"
#include "forward/counters.h"

namespace vpc_conn::binding {

namespace {

template <typename Names>
Napi::Array ToStrings(Napi::Env env, const Names& names) {
  Napi::Array list = Napi::Array::New(env, names.size());
  for (uint32_t i = 0; i < names.size(); i++) list.Set(i, std::string(names[i]));
  return list;
}

Napi::Array DropReasons(Napi::Env env) {
  Napi::Array list = Napi::Array::New(env, forward::kDropReasons);
  for (uint32_t i = 0; i < forward::kDropReasons; i++) {
    const auto& text = forward::kDropReasonTexts[i];
    Napi::Object reason = Napi::Object::New(env);
    reason.Set("name", std::string(text.name));
    reason.Set("meaning", std::string(text.meaning));
    reason.Set("remedy", std::string(text.remedy));
    list.Set(i, reason);
  }
  return list;
}

Napi::Object Init(Napi::Env env, Napi::Object exports) {
  InitDataPlane(env, exports);
  InitPipeline(env, exports);
  InitNetlink(env, exports);
  InitNftables(env, exports);
  InitOffload(env, exports);
  InitClock(env, exports);
  exports.Set("counterNames", ToStrings(env, forward::CounterNames()));
  exports.Set("peerCounterNames", ToStrings(env, forward::kPeerCounterNames));
  exports.Set("dropReasons", DropReasons(env));
  exports.Set("version", VPC_CONN_VERSION);
  return exports;
}

NODE_API_MODULE(vpc_conn, Init)

}  // namespace

}  // namespace vpc_conn::binding
