#include "binding/offload_binding.h"

#include <map>
#include <string>

#include "binding/error.h"
#include "io/ethtool.h"
#include "io/kernel_segmenter.h"

namespace vpc_conn::binding {

namespace {

Napi::Value ReadFeatures(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    Napi::Object result = Napi::Object::New(env);
    for (const auto& [name, feature] : io::ReadFeatures(info[0].ToString())) {
      Napi::Object value = Napi::Object::New(env);
      value.Set("active", Napi::Boolean::New(env, feature.active));
      value.Set("changeable", Napi::Boolean::New(env, feature.changeable));
      result.Set(name, value);
    }
    return result;
  });
}

void SetFeatures(const Napi::CallbackInfo& info) {
  Guarded(info.Env(), [&] {
    const auto object = info[1].As<Napi::Object>();
    const Napi::Array names = object.GetPropertyNames();
    std::map<std::string, bool> wanted;
    for (uint32_t i = 0; i < names.Length(); i++) {
      const std::string name = names.Get(i).ToString();
      wanted[name] = object.Get(name).ToBoolean();
    }
    io::SetFeatures(info[0].ToString(), wanted);
  });
}

Napi::Value ReadStatistics(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    Napi::Object result = Napi::Object::New(env);
    for (const auto& [name, value] : io::ReadStatistics(info[0].ToString())) {
      result.Set(name, Napi::Number::New(env, static_cast<double>(value)));
    }
    return result;
  });
}

// undefined: it works; else why not.
Napi::Value ProbeKernelSegmentation(const Napi::CallbackInfo& info) {
  try {
    io::KernelSegmenter::Probe();
    return info.Env().Undefined();
  } catch (const std::exception& cause) {
    return Napi::String::New(info.Env(), cause.what());
  }
}

}  // namespace

void InitOffload(Napi::Env env, Napi::Object exports) {
  exports.Set("readFeatures", Napi::Function::New<ReadFeatures>(env));
  exports.Set("setFeatures", Napi::Function::New<SetFeatures>(env));
  exports.Set("readStatistics", Napi::Function::New<ReadStatistics>(env));
  exports.Set("probeKernelSegmentation", Napi::Function::New<ProbeKernelSegmentation>(env));
}

}  // namespace vpc_conn::binding
