#include "binding/netlink_binding.h"

#include <atomic>
#include <memory>
#include <string>

#include "binding/error.h"
#include "io/netlink.h"

namespace vpc_conn::binding {
namespace {

Napi::Buffer<uint8_t> ToBuffer(Napi::Env env, std::span<const uint8_t> bytes) {
  return Napi::Buffer<uint8_t>::Copy(env, bytes.data(), bytes.size());
}

// 4 or 16 bytes; the span lives as long as the JavaScript value.
std::span<const uint8_t> ToAddress(Napi::Value value, const char* name) {
  if (value.IsTypedArray() && value.As<Napi::TypedArray>().TypedArrayType() == napi_uint8_array) {
    const auto array = value.As<Napi::Uint8Array>();
    if (array.ByteLength() == 4 || array.ByteLength() == 16) return {array.Data(), array.ByteLength()};
  }
  throw Napi::TypeError::New(value.Env(), std::string(name) + " must be a Uint8Array of 4 or 16 bytes");
}

// What the watch's thread and the JS thread share: whether a callback is already queued, so that at most one
// is.
struct Pending {
  std::atomic<bool> queued{false};
};

void CallChanged(Napi::Env env, Napi::Function on_change, Pending* pending, void* /*data*/) {
  if (env == nullptr || on_change.IsEmpty()) return;  // aborted with this call still queued
  // Before the call: a change during it queues the next.
  pending->queued.store(false);
  try {
    on_change.Call({});
  } catch (const Napi::Error& error) {
    // Node 20 would only warn about it (DEP0168): an uncaught error like any other is wanted.
    napi_fatal_exception(env, error.Value());
  }
}

using ChangedFunction = Napi::TypedThreadSafeFunction<Pending, void, CallChanged>;

// One subscription. All but the watch's own thread use it on the JS thread.
class Subscription {
 public:
  Subscription(Napi::Env env, Napi::Function on_change) : env_(env) {
    auto pending = std::make_unique<Pending>();
    Pending* shared = pending.get();
    changed_ =
        ChangedFunction::New(env, on_change, "vpc-conn:netlink", 1, 1, shared,
                             [](Napi::Env, void*, Pending* ended) { std::unique_ptr<Pending> free(ended); });
    // The finalizer owns it from here on; it runs after the last call, on the JS thread.
    static_cast<void>(pending.release());
    changed_.Unref(env);
    try {
      watch_ = std::make_unique<io::NetlinkWatch>([this, shared] {
        if (!shared->queued.exchange(true)) changed_.NonBlockingCall();
      });
    } catch (...) {
      changed_.Abort();
      throw;
    }
    // Hooks run in reverse: this one before the thread-safe function's own, which frees it under the thread.
    napi_add_env_cleanup_hook(env_, CleanUp, this);
  }

  ~Subscription() {
    napi_remove_env_cleanup_hook(env_, CleanUp, this);
    Close();
  }

  Subscription(const Subscription&) = delete;
  Subscription& operator=(const Subscription&) = delete;

 private:
  static void CleanUp(void* self) { static_cast<Subscription*>(self)->Close(); }

  void Close() {
    if (!watch_) return;
    watch_.reset();    // stop eventfd, join: the thread uses changed_ no more
    changed_.Abort();  // queued calls come to nothing; releases our one reference
  }

  napi_env env_;
  ChangedFunction changed_;
  std::unique_ptr<io::NetlinkWatch> watch_;
};

class Netlink : public Napi::ObjectWrap<Netlink> {
 public:
  static Napi::Function Class(Napi::Env env) {
    return DefineClass(
        env, "Netlink",
        {InstanceMethod<&Netlink::Links>("links"), InstanceMethod<&Netlink::Addresses>("addresses"),
         InstanceMethod<&Netlink::Route>("route"), InstanceMethod<&Netlink::Watch>("watch"),
         InstanceMethod<&Netlink::Close>("close")});
  }

  explicit Netlink(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Netlink>(info) {}

 private:
  Napi::Value Links(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto links = Guarded(env, [] { return io::DumpLinks(); });
    auto rows = Napi::Array::New(env, links.size());
    uint32_t index = 0;
    for (const io::Link& link : links) {
      auto row = Napi::Object::New(env);
      row.Set("ifindex", link.ifindex);
      row.Set("name", link.name);
      row.Set("mac", ToBuffer(env, link.mac));
      row.Set("mtu", link.mtu);
      row.Set("up", link.up);
      row.Set("running", link.running);
      row.Set("type", link.type);
      row.Set("kind", link.kind);
      rows.Set(index++, row);
    }
    return rows;
  }

  Napi::Value Addresses(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto addresses = Guarded(env, [] { return io::DumpAddresses(); });
    auto rows = Napi::Array::New(env, addresses.size());
    uint32_t index = 0;
    for (const io::InterfaceAddress& held : addresses) {
      auto row = Napi::Object::New(env);
      row.Set("ifindex", held.ifindex);
      row.Set("family", held.address.size == 4 ? 4 : 6);
      row.Set("address", ToBuffer(env, held.address.view()));
      row.Set("prefixLength", held.prefix_length);
      row.Set("secondary", held.secondary);
      rows.Set(index++, row);
    }
    return rows;
  }

  Napi::Value Route(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    const auto destination = ToAddress(info[0], "destination");
    const uint32_t ifindex = info[1].IsNumber() ? info[1].As<Napi::Number>().Uint32Value() : 0;
    std::span<const uint8_t> source;
    if (!info[2].IsUndefined()) source = ToAddress(info[2], "source");
    if (!source.empty() && source.size() != destination.size()) {
      throw Napi::TypeError::New(env, "source and destination must be of one family");
    }
    const auto route = Guarded(env, [&] { return io::LookUpRoute(destination, ifindex, source); });
    if (!route) return env.Undefined();
    auto row = Napi::Object::New(env);
    row.Set("ifindex", route->ifindex);
    if (route->gateway) row.Set("gateway", ToBuffer(env, route->gateway->view()));
    if (route->source) row.Set("source", ToBuffer(env, route->source->view()));
    if (route->mtu) row.Set("mtu", *route->mtu);
    return row;
  }

  void Watch(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsFunction()) throw Napi::TypeError::New(env, "onChange must be a function");
    if (closed_) throw MakeError(env, "CLOSED", "this Netlink is closed");
    if (subscription_) throw MakeError(env, "BUSY", "this Netlink is being watched already");
    subscription_ =
        Guarded(env, [&] { return std::make_unique<Subscription>(env, info[0].As<Napi::Function>()); });
  }

  void Close(const Napi::CallbackInfo& /*info*/) {
    closed_ = true;
    subscription_.reset();
  }

  // Freed by close(), by the garbage collector's finalizer, or emptied before by the environment's end.
  std::unique_ptr<Subscription> subscription_;
  bool closed_ = false;
};

}  // namespace

void InitNetlink(Napi::Env env, Napi::Object exports) {
  exports.Set("Netlink", Netlink::Class(env));
}

}  // namespace vpc_conn::binding
