#include "forward/counters.h"

namespace vpc_conn::forward {

std::vector<std::string> CounterNames() {
  std::vector<std::string> names = {
#define X(name) #name,
      VPC_CONN_COUNTERS(X)
#undef X
  };
  for (const auto& text : kDropReasonTexts) names.push_back("drop_" + std::string(text.name));
  return names;
}

}  // namespace vpc_conn::forward
