// Drop reasons: one list (drop_reason.def) makes the enum and everything that names it.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace vpc_conn::forward {

enum class DropReason : uint8_t {
#define VPC_CONN_DROP(name, meaning, remedy) name,
#include "forward/drop_reason.def"
#undef VPC_CONN_DROP
  count_
};

inline constexpr size_t kDropReasons = static_cast<size_t>(DropReason::count_);

struct DropReasonText {
  std::string_view name;
  std::string_view meaning;
  std::string_view remedy;
};

inline constexpr std::array<DropReasonText, kDropReasons> kDropReasonTexts = {{
#define VPC_CONN_DROP(name, meaning, remedy) {#name, meaning, remedy},
#include "forward/drop_reason.def"
#undef VPC_CONN_DROP
}};

inline constexpr std::string_view DropReasonName(DropReason reason) {
  return kDropReasonTexts[static_cast<size_t>(reason)].name;
}

}  // namespace vpc_conn::forward
