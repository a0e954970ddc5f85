#include "binding/data_plane_binding.h"

#include <memory>

#include "binding/convert.h"
#include "binding/error.h"
#include "runtime/clock.h"
#include "runtime/data_plane.h"

namespace vpc_conn::binding {

namespace {

// What queued calls of the thread-safe function still reach after the JavaScript object is gone.
struct EventSource {
  runtime::DataPlane* data_plane = nullptr;  // null: closed
};

void CallEvents(Napi::Env env, Napi::Function on_events, EventSource* source, void* /*data*/) {
  if (env == nullptr || on_events.IsEmpty() || source->data_plane == nullptr) return;
  const auto events = source->data_plane->TakeEvents();
  if (events.empty()) return;
  try {
    on_events.Call({FromEvents(env, events)});
  } catch (const Napi::Error& error) {
    // Node 20 would only warn about it (DEP0168): an uncaught error like any other is wanted.
    napi_fatal_exception(env, error.Value());
  }
}

using EventsFunction = Napi::TypedThreadSafeFunction<EventSource, void, CallEvents>;

// Places of the flow table that one sweep, once a second, looks at: about a millisecond.
constexpr uint32_t kPlacesOfSweep = 262'144;

class DataPlane : public Napi::ObjectWrap<DataPlane> {
 public:
  static Napi::Function Define(Napi::Env env) {
    return DefineClass(
        env, "DataPlane",
        {InstanceMethod<&DataPlane::PublishTable>("publishTable"),
         InstanceMethod<&DataPlane::PublishNeighbors>("publishNeighbors"),
         InstanceMethod<&DataPlane::Start>("start"),
         InstanceMethod<&DataPlane::AcknowledgedGeneration>("acknowledgedGeneration"),
         InstanceMethod<&DataPlane::ReadNeighborUse>("readNeighborUse"),
         InstanceMethod<&DataPlane::Send>("send"), InstanceAccessor<&DataPlane::WorkerNames>("workerNames"),
         InstanceMethod<&DataPlane::ReadCounters>("readCounters"),
         InstanceMethod<&DataPlane::ReadPeerCounters>("readPeerCounters"),
         InstanceMethod<&DataPlane::ReadLoads>("readLoads"),
         InstanceMethod<&DataPlane::SweepBindings>("sweepBindings"),
         InstanceMethod<&DataPlane::ReadFlows>("readFlows"),
         InstanceMethod<&DataPlane::RestoreFlows>("restoreFlows"),
         InstanceMethod<&DataPlane::UseKernelSegmentation>("useKernelSegmentation"),
         InstanceMethod<&DataPlane::Segmentation>("segmentation"),
         InstanceMethod<&DataPlane::StripCounts>("stripCounts"),
         InstanceMethod<&DataPlane::Decapsulation>("decapsulation"),
         InstanceMethod<&DataPlane::Encapsulation>("encapsulation"),
         InstanceMethod<&DataPlane::Close>("close")});
  }

  explicit DataPlane(const Napi::CallbackInfo& info) : Napi::ObjectWrap<DataPlane>(info), env_(info.Env()) {
    const Napi::Env env = info.Env();
    if (info.Length() < 1 || !info[0].IsObject()) throw Napi::TypeError::New(env, "options missing");
    const auto options = info[0].As<Napi::Object>();
    const auto number = [&](const char* name, uint32_t lowest, uint32_t highest) {
      const Napi::Value value = options.Get(name);
      const int64_t n = value.IsNumber() ? value.As<Napi::Number>().Int64Value() : -1;
      if (n < lowest || n > highest) throw Napi::TypeError::New(env, std::string(name) + " is out of range");
      return static_cast<uint32_t>(n);
    };
    const auto text = [&](const char* name) { return options.Get(name).ToString().Utf8Value(); };
    if (!options.Get("onEvents").IsFunction()) throw Napi::TypeError::New(env, "onEvents is no function");
    runtime::DataPlaneOptions native{
        .overlay = {static_cast<int>(number("overlayIfindex", 1, INT32_MAX)), text("overlayName")},
        .underlay = {static_cast<int>(number("underlayIfindex", 1, INT32_MAX)), text("underlayName")},
        .workers = number("workers", 1, runtime::DataPlane::kMaxWorkers),
        .spin_microseconds = number("spinMicroseconds", 0, 1'000'000),
        .kernel_segmentation = options.Get("kernelSegmentation").ToBoolean(),
        .known_encap = options.Get("knownEncap").ToBoolean(),
        .xdp_strip = options.Get("xdpStrip").ToBoolean()};

    auto source = std::make_unique<EventSource>();
    source_ = source.get();
    data_plane_ = Guarded(env, [&] {
      return std::make_unique<runtime::DataPlane>(std::move(native),
                                                  [this] { on_events_.NonBlockingCall(); });
    });
    on_events_ = EventsFunction::New(
        env, options.Get("onEvents").As<Napi::Function>(), "vpc-conn:events", 0, 1, source_,
        [](Napi::Env, void*, EventSource* ended) { const std::unique_ptr<EventSource> free(ended); });
    // The finalizer frees it from here on; it runs on the JS thread after the last call.
    static_cast<void>(source.release());
    on_events_.Unref(env);
    source_->data_plane = data_plane_.get();
    // Hooks run in reverse order: this one before the thread-safe function's own.
    napi_add_env_cleanup_hook(env_, CleanUp, this);
  }

  ~DataPlane() override {
    CloseNow();
    if (env_ != nullptr) napi_remove_env_cleanup_hook(env_, CleanUp, this);
  }

 private:
  static void CleanUp(void* self) {
    auto* data_plane = static_cast<DataPlane*>(self);
    data_plane->CloseNow();
    data_plane->env_ = nullptr;
  }

  // Stop eventfd, join: no worker calls on_events_ any more. Then the function, then the memory.
  void CloseNow() {
    if (!data_plane_) return;
    data_plane_->Close();
    source_->data_plane = nullptr;
    on_events_.Abort();
    data_plane_.reset();
  }

  runtime::DataPlane& Open(const Napi::CallbackInfo& info) {
    if (!data_plane_) throw MakeError(info.Env(), "CLOSED", "the data plane is closed");
    return *data_plane_;
  }

  Napi::Value PublishTable(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&]() -> Napi::Value {
      auto contents = ToTable(info[0].As<Napi::Object>());
      const uint64_t generation = Open(info).PublishTable(std::move(contents));
      return Napi::Number::New(info.Env(), static_cast<double>(generation));
    });
  }

  Napi::Value PublishNeighbors(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&]() -> Napi::Value {
      const uint64_t generation = Open(info).PublishNeighbors(ToNeighbors(info[0]));
      return Napi::Number::New(info.Env(), static_cast<double>(generation));
    });
  }

  void Start(const Napi::CallbackInfo& info) {
    Guarded(info.Env(), [&] { Open(info).Start(); });
  }

  Napi::Value AcknowledgedGeneration(const Napi::CallbackInfo& info) {
    return Napi::Number::New(info.Env(), static_cast<double>(Open(info).AcknowledgedGeneration()));
  }

  void ReadNeighborUse(const Napi::CallbackInfo& info) {
    auto into = info[0].As<Napi::Uint32Array>();
    auto& open = Open(info);
    open.MarkNeighborUse();
    const auto& marks = open.shared().neighbor_use;
    for (size_t i = 0; i < into.ElementLength() && i < forward::kNeighborSlots; i++) {
      into[i] = marks[i].load(std::memory_order_relaxed);
    }
  }

  Napi::Value Send(const Napi::CallbackInfo& info) {
    const auto scope = static_cast<uint16_t>(info[0].As<Napi::Number>().Uint32Value());
    return Napi::Boolean::New(info.Env(), Open(info).Send(scope, ToBytes(info[1], "frame")));
  }

  Napi::Value WorkerNames(const Napi::CallbackInfo& info) {
    const auto& names = Open(info).worker_names();
    Napi::Array list = Napi::Array::New(info.Env(), names.size());
    for (uint32_t i = 0; i < names.size(); i++) list.Set(i, names[i]);
    return list;
  }

  std::span<uint64_t> ToSpan(Napi::Value value, size_t needed) {
    auto into = value.As<Napi::BigUint64Array>();
    if (into.ElementLength() < needed) throw Napi::RangeError::New(value.Env(), "the array is too short");
    return {into.Data(), into.ElementLength()};
  }

  void ReadCounters(const Napi::CallbackInfo& info) {
    const auto& open = Open(info);
    open.ReadCounters(ToSpan(info[0], (open.worker_names().size() + 1) * forward::kCounters));
  }

  void ReadPeerCounters(const Napi::CallbackInfo& info) {
    const auto& open = Open(info);
    open.ReadPeerCounters(ToSpan(info[0], open.peer_count() * forward::kPeerCounters));
  }

  void ReadLoads(const Napi::CallbackInfo& info) {
    const auto& open = Open(info);
    open.ReadLoads(ToSpan(info[0], open.worker_names().size() * runtime::kLoadValues));
  }

  Napi::Value SweepBindings(const Napi::CallbackInfo& info) {
    auto& bindings = Open(info).shared().bindings;
    return FromInUse(info.Env(), bindings.Sweep(runtime::MonotonicSeconds(), kPlacesOfSweep));
  }

  Napi::Value ReadFlows(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&]() -> Napi::Value {
      auto& open = Open(info);
      if (open.table() == nullptr) throw std::logic_error("no table published");
      const auto page = open.shared().bindings.Rows(
          info[0].ToNumber().Uint32Value(), info[1].ToNumber().Uint32Value(), runtime::MonotonicSeconds());
      return FromFlows(info.Env(), page, *open.table());
    });
  }

  Napi::Value RestoreFlows(const Napi::CallbackInfo& info) {
    return Guarded(info.Env(), [&]() -> Napi::Value {
      auto& open = Open(info);
      if (open.table() == nullptr) throw std::logic_error("no table published");
      uint32_t restored = 0;
      for (const auto& row : ToFlows(info[0], *open.table())) {
        if (open.shared().bindings.Restore(row, runtime::MonotonicSeconds())) restored++;
      }
      return Napi::Number::New(info.Env(), restored);
    });
  }

  void UseKernelSegmentation(const Napi::CallbackInfo& info) {
    Open(info).UseKernelSegmentation(info[0].ToBoolean());
  }

  Napi::Value Segmentation(const Napi::CallbackInfo& info) {
    const auto segmentation = Open(info).segmentation();
    return Napi::String::New(info.Env(), segmentation == runtime::Worker::Segmentation::kernel ? "kernel"
                                         : segmentation == runtime::Worker::Segmentation::broken
                                             ? "broken"
                                             : "user-space");
  }

  Napi::Value StripCounts(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto counts = Open(info).strip_counts();
    if (!counts) return env.Undefined();
    Napi::Object object = Napi::Object::New(env);
    object.Set("stripped", Napi::BigInt::New(env, counts->stripped));
    object.Set("spoofed", Napi::BigInt::New(env, counts->spoofed));
    return object;
  }

  Napi::Value Decapsulation(const Napi::CallbackInfo& info) {
    using Part = runtime::DataPlane::Decapsulation::Part;
    const Napi::Env env = info.Env();
    const auto now = Open(info).decapsulation();
    Napi::Object object = Napi::Object::New(env);
    object.Set("part", now.part == Part::none ? "none" : now.part == Part::stripped ? "stripped" : "carried");
    object.Set("why", now.why);
    const char* code = now.error == 0 ? "" : strerrorname_np(now.error);
    object.Set("code", code == nullptr ? "EUNKNOWN" : code);
    return object;
  }

  Napi::Value Encapsulation(const Napi::CallbackInfo& info) {
    const auto now = Open(info).encapsulation();
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("carried", now.carried);
    object.Set("why", now.why);
    return object;
  }

  void Close(const Napi::CallbackInfo&) { CloseNow(); }

  napi_env env_;
  EventSource* source_ = nullptr;  // owned by on_events_'s finalizer
  EventsFunction on_events_;
  std::unique_ptr<runtime::DataPlane> data_plane_;
};

}  // namespace

void InitDataPlane(Napi::Env env, Napi::Object exports) {
  exports.Set("DataPlane", DataPlane::Define(env));
}

}  // namespace vpc_conn::binding
