// Whether waiting busily has been worth it lately: a running mean of how often a frame came in time.
#pragma once

#include <cstdint>

namespace vpc_conn::runtime {

class Worth {
 public:
  // True: try. Where it hardly ever helps it is tried once in a while only, so that an interface with a frame
  // now and then costs no more than the frames.
  bool ShouldTry() { return worth_it() || ++skipped_ % kTryEvery == 0; }
  bool worth_it() const { return mean_ >= kWorthIt; }
  void Tried(bool helped) {
    mean_ -= mean_ / 8;
    if (helped) mean_ += kOne / 8;
  }

  static constexpr uint32_t kTryEvery = 16;

 private:
  static constexpr uint32_t kOne = 1024;
  static constexpr uint32_t kWorthIt = kOne / 8;
  uint32_t mean_ = kOne;
  uint32_t skipped_ = 0;
};

}  // namespace vpc_conn::runtime
