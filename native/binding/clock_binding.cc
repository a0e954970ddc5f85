#include "binding/clock_binding.h"

#include <sys/timex.h>

#include <cerrno>

#include "binding/error.h"
#include "io/system_error.h"

namespace vpc_conn::binding {

namespace {

// Asks only: with modes 0 adjtimex needs no privileges and changes nothing.
Napi::Value ClockSynchronized(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  return Guarded(env, [&]() -> Napi::Value {
    timex state{};
    const int result = adjtimex(&state);
    if (result < 0) throw io::SystemError(errno, "adjtimex", "");
    return Napi::Boolean::New(env, result != TIME_ERROR && (state.status & STA_UNSYNC) == 0);
  });
}

}  // namespace

void InitClock(Napi::Env env, Napi::Object exports) {
  exports.Set("clockSynchronized", Napi::Function::New<ClockSynchronized>(env));
}

}  // namespace vpc_conn::binding
