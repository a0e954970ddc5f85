// C++ exceptions to JavaScript Errors: NativeError of src/native/addon.ts.
#pragma once

#include <napi.h>

#include <string>
#include <utility>

#include "io/system_error.h"

namespace vpc_conn::binding {

inline Napi::Error MakeError(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", code);
  return error;
}

// code is the errno's name ("EPERM"), as in Node's own errors; errno is positive.
inline Napi::Error MakeError(Napi::Env env, const io::SystemError& cause) {
  const char* name = strerrorname_np(cause.error());
  Napi::Error error = MakeError(env, name != nullptr ? name : "EUNKNOWN", cause.what());
  error.Set("errno", Napi::Number::New(env, cause.error()));
  error.Set("syscall", cause.syscall());
  if (!cause.interface().empty()) error.Set("interface", cause.interface());
  return error;
}

// Runs `body`; what it throws reaches JavaScript.
template <typename Body>
auto Guarded(Napi::Env env, Body body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const io::SystemError& cause) {
    throw MakeError(env, cause);
  } catch (const std::exception& cause) {
    throw MakeError(env, "NATIVE", cause.what());
  }
}

}  // namespace vpc_conn::binding
