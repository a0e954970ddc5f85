// An eventfd: how a thread in poll() is told to stop (never drained: it stays readable for all) or to look
// up.
#pragma once

#include <sys/eventfd.h>

#include <cstdint>

#include "io/system_error.h"
#include "io/unique_fd.h"

namespace vpc_conn::io {

class EventFd {
 public:
  EventFd() : fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
    if (!fd_.valid()) throw SystemError(errno, "eventfd");
  }
  int get() const { return fd_.get(); }
  void Signal() const {
    const uint64_t one = 1;
    // Full means signalled already.
    [[maybe_unused]] const ssize_t written = write(fd_.get(), &one, sizeof one);
  }
  void Drain() const {
    uint64_t count;
    [[maybe_unused]] const ssize_t got = read(fd_.get(), &count, sizeof count);
  }

 private:
  UniqueFd fd_;
};

}  // namespace vpc_conn::io
