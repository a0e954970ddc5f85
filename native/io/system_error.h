// A system call that failed: what JavaScript gets as an Error with code, errno, syscall and interface.
#pragma once

#include <cerrno>
#include <cstring>
#include <stdexcept>
#include <string>

namespace vpc_conn::io {

class SystemError : public std::runtime_error {
 public:
  SystemError(int error, std::string syscall, std::string interface = "")
      : std::runtime_error(syscall + (interface.empty() ? "" : " on " + interface) + ": " +
                           std::strerror(error)),
        error_(error),
        syscall_(std::move(syscall)),
        interface_(std::move(interface)) {}

  int error() const { return error_; }
  const std::string& syscall() const { return syscall_; }
  const std::string& interface() const { return interface_; }

 private:
  int error_;
  std::string syscall_;
  std::string interface_;
};

}  // namespace vpc_conn::io
