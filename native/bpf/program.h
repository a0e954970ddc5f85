// How a compiled BPF program stands in programs.h.
#pragma once

#include <cstdint>
#include <string_view>

namespace vpc_conn::bpf {

struct MapDefinition {
  uint32_t type;
  uint32_t key_size;
  uint32_t value_size;
  uint32_t max_entries;
  uint32_t flags;
};

// The instruction at `instruction` (a 64-bit immediate load) wants the map of that name.
struct MapUse {
  uint32_t instruction;
  std::string_view map;
};

}  // namespace vpc_conn::bpf
