// A private tap device with virtio headers. It exists as long as its descriptor; frames written to it enter
// the kernel as if received there.
#pragma once

#include <cstdint>
#include <string>

#include "io/unique_fd.h"

namespace vpc_conn::io {

class Tap {
 public:
  // Makes the device, named by the kernel after `pattern` ("vpcc%d"), without addresses, and brings it up.
  // Throws SystemError.
  explicit Tap(const std::string& pattern);

  int fd() const { return fd_.get(); }
  int ifindex() const { return ifindex_; }
  const std::string& name() const { return name_; }

 private:
  UniqueFd fd_;
  std::string name_;
  int ifindex_ = 0;
};

}  // namespace vpc_conn::io
