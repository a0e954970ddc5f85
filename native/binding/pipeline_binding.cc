#include "binding/pipeline_binding.h"

#include <cstring>
#include <memory>

#include "binding/convert.h"
#include "binding/error.h"
#include "runtime/memory_pipeline.h"

namespace vpc_conn::binding {

namespace {

std::string VerdictName(const forward::Verdict& verdict) {
  switch (verdict.disposition) {
    case forward::Disposition::forwarded:
      return "forwarded";
    case forward::Disposition::punted:
      return "punted";
    case forward::Disposition::held:
    case forward::Disposition::kept:
      return "held";
    default:
      return std::string(forward::DropReasonName(verdict.reason));
  }
}

class Pipeline : public Napi::ObjectWrap<Pipeline> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(env, "Pipeline",
                       {InstanceMethod<&Pipeline::PublishTable>("publishTable"),
                        InstanceMethod<&Pipeline::PublishNeighbors>("publishNeighbors"),
                        InstanceMethod<&Pipeline::Encap>("encap"), InstanceMethod<&Pipeline::Decap>("decap"),
                        InstanceMethod<&Pipeline::SetTime>("setTime"),
                        InstanceMethod<&Pipeline::SweepBindings>("sweepBindings"),
                        InstanceMethod<&Pipeline::ReadFlows>("readFlows"),
                        InstanceMethod<&Pipeline::RestoreFlows>("restoreFlows"),
                        InstanceMethod<&Pipeline::ReadCounters>("readCounters")});
  }

  explicit Pipeline(const Napi::CallbackInfo& info)
      : Napi::ObjectWrap<Pipeline>(info), pipeline_(std::make_unique<runtime::MemoryPipeline>()) {}

 private:
  Napi::Value PublishTable(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&]() -> Napi::Value {
      const uint64_t generation = pipeline_->PublishTable(ToTable(info[0].As<Napi::Object>()));
      return Napi::Number::New(info.Env(), static_cast<double>(generation));
    });
  }

  Napi::Value PublishNeighbors(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&]() -> Napi::Value {
      const uint64_t generation = pipeline_->PublishNeighbors(ToNeighbors(info[0]));
      return Napi::Number::New(info.Env(), static_cast<double>(generation));
    });
  }

  Napi::Value Encap(const Napi::CallbackInfo& info) { return Process(info, forward::Direction::encap); }
  Napi::Value Decap(const Napi::CallbackInfo& info) { return Process(info, forward::Direction::decap); }

  Napi::Value Process(const Napi::CallbackInfo& info, forward::Direction direction) {
    return Guarded(info.Env(), [&]() -> Napi::Value {
      const Napi::Env env = info.Env();
      wire::VirtioNetHeader virtio;
      if (info.Length() > 1 && !info[1].IsUndefined()) {
        const auto bytes = ToBytes(info[1], "virtioHeader");
        if (bytes.size() != sizeof virtio) throw Napi::TypeError::New(env, "virtioHeader must have 10 bytes");
        std::memcpy(&virtio, bytes.data(), sizeof virtio);
      }
      const auto result = pipeline_->Process(direction, ToBytes(info[0], "frame"), virtio);
      Napi::Array frames = Napi::Array::New(env, result.frames.size());
      Napi::Array headers = Napi::Array::New(env, result.frames.size());
      for (uint32_t i = 0; i < result.frames.size(); i++) {
        const auto& sent = result.frames[i];
        frames.Set(i, Napi::Buffer<uint8_t>::Copy(env, sent.bytes.data(), sent.bytes.size()));
        const auto* header = reinterpret_cast<const uint8_t*>(&sent.virtio);
        headers.Set(i, Napi::Buffer<uint8_t>::Copy(env, header, sizeof sent.virtio));
      }
      Napi::Array replies = Napi::Array::New(env, result.replies.size());
      for (uint32_t i = 0; i < result.replies.size(); i++) {
        replies.Set(i, Napi::Buffer<uint8_t>::Copy(env, result.replies[i].data(), result.replies[i].size()));
      }
      Napi::Object verdict = Napi::Object::New(env);
      verdict.Set("verdict", VerdictName(result.verdict));
      verdict.Set("frames", frames);
      verdict.Set("virtioHeaders", headers);
      verdict.Set("replies", replies);
      verdict.Set("events", FromEvents(env, result.events));
      return verdict;
    });
  }

  void SetTime(const Napi::CallbackInfo& info) {
    now_ = info[0].As<Napi::Number>().Uint32Value();
    pipeline_->SetTime(now_);
  }

  Napi::Value SweepBindings(const Napi::CallbackInfo& info) {
    return FromInUse(info.Env(), pipeline_->shared().bindings.Sweep(now_));
  }

  Napi::Value ReadFlows(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&]() -> Napi::Value {
      if (pipeline_->table() == nullptr) throw std::logic_error("no table published");
      const auto page = pipeline_->shared().bindings.Rows(info[0].ToNumber().Uint32Value(),
                                                          info[1].ToNumber().Uint32Value(), now_);
      return FromFlows(info.Env(), page, *pipeline_->table());
    });
  }

  Napi::Value RestoreFlows(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&]() -> Napi::Value {
      if (pipeline_->table() == nullptr) throw std::logic_error("no table published");
      uint32_t restored = 0;
      for (const auto& row : ToFlows(info[0], *pipeline_->table())) {
        if (pipeline_->shared().bindings.Restore(row, now_)) restored++;
      }
      return Napi::Number::New(info.Env(), restored);
    });
  }

  void ReadCounters(const Napi::CallbackInfo& info) {
    auto into = info[0].As<Napi::BigUint64Array>();
    for (size_t i = 0; i < into.ElementLength() && i < forward::kCounters; i++) {
      into[i] = pipeline_->counters().values[i].load(std::memory_order_relaxed);
    }
  }

  std::unique_ptr<runtime::MemoryPipeline> pipeline_;
  uint32_t now_ = 1;
};

}  // namespace

void InitPipeline(Napi::Env env, Napi::Object exports) {
  exports.Set("Pipeline", Pipeline::Define(env));
}

}  // namespace vpc_conn::binding
