// The one place where bounds are checked: a cursor hands out pieces of a frame and remembers failure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace vpc_conn::wire {

class Cursor {
 public:
  explicit Cursor(std::span<uint8_t> bytes) : position_(bytes.data()), left_(bytes.size()) {}

  // The next `length` bytes, or nullptr when fewer are left. After a failure every call fails.
  uint8_t* Take(size_t length) {
    if (length > left_) {
      left_ = 0;
      return nullptr;
    }
    uint8_t* piece = position_;
    position_ += length;
    left_ -= length;
    return piece;
  }

  uint8_t* position() const { return position_; }
  size_t left() const { return left_; }

  // Forgets what lies behind the first `length` bytes from here (Ethernet padding). False: fewer are left.
  bool Limit(size_t length) {
    if (length > left_) return false;
    left_ = length;
    return true;
  }

 private:
  uint8_t* position_;
  size_t left_;
};

}  // namespace vpc_conn::wire
