#include "binding/nftables_binding.h"

#include <memory>
#include <string>

#include "binding/error.h"
#include "io/nftables.h"

namespace vpc_conn::binding {
namespace {

template <typename Body>
auto Translated(Napi::Env env, Body body) {
  return Guarded(env, [&] {
    try {
      return body();
    } catch (const io::NftablesMissing& cause) {
      throw MakeError(env, "NFTABLES_MISSING", cause.what());
    } catch (const io::NftablesRefused& cause) {
      Napi::Error error = MakeError(env, "NFTABLES_REFUSED", cause.what());
      if (cause.error() != 0) error.Set("errno", Napi::Number::New(env, cause.error()));
      error.Set("syscall", "nft_run_cmd_from_buffer");
      throw error;
    }
  });
}

class Nftables : public Napi::ObjectWrap<Nftables> {
 public:
  static Napi::Function Class(Napi::Env env) {
    return DefineClass(env, "Nftables",
                       {InstanceMethod<&Nftables::Run>("run"), InstanceMethod<&Nftables::Close>("close")});
  }

  explicit Nftables(const Napi::CallbackInfo& info) : Napi::ObjectWrap<Nftables>(info) {
    Translated(info.Env(), [&] { context_ = std::make_unique<io::Nftables>(); });
  }

 private:
  Napi::Value Run(const Napi::CallbackInfo& info) {
    const Napi::Env env = info.Env();
    if (!info[0].IsString()) throw Napi::TypeError::New(env, "commands must be a string");
    if (!context_) throw MakeError(env, "CLOSED", "this Nftables is closed");
    const std::string commands = info[0].As<Napi::String>();
    return Napi::String::New(env, Translated(env, [&] { return context_->Run(commands); }));
  }

  void Close(const Napi::CallbackInfo& /*info*/) { context_.reset(); }

  // Owns the tables with `flags owner`: they end with it, at the latest with the process.
  std::unique_ptr<io::Nftables> context_;
};

}  // namespace

void InitNftables(Napi::Env env, Napi::Object exports) {
  exports.Set("Nftables", Nftables::Class(env));
}

}  // namespace vpc_conn::binding
