// The bpf() system call: maps, programs and links that vanish with their file descriptors. Linux only.
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "bpf/program.h"
#include "io/unique_fd.h"

namespace vpc_conn::io {

// Throws SystemError.
UniqueFd CreateBpfMap(const bpf::MapDefinition& definition, std::string_view name);

// xdp_frags: takes packets that lie in several pieces (Linux 5.18).
enum class BpfProgramType { tc, xdp, xdp_frags, socket_filter };
// Fills the maps' descriptors in by name and loads. Throws SystemError, with the verifier's last line.
UniqueFd LoadBpfProgram(BpfProgramType type, std::string_view name, std::span<const uint64_t> code,
                        std::span<const bpf::MapUse> uses, const std::map<std::string_view, int>& maps);

// Links a tc program to an interface's ingress (TCX, Linux 6.6), before those that are there. The link lives
// as long as the descriptor.
UniqueFd LinkTcIngress(const UniqueFd& program, int ifindex, const std::string& interface);

// Links an XDP program to an interface in driver mode; generic XDP runs after GRO and is of no use here.
UniqueFd LinkXdpDriver(const UniqueFd& program, int ifindex, const std::string& interface);

// An XDP link that still is on an interface: it can be taken off from outside (bpftool link detach).
bool XdpLinkAttached(const UniqueFd& link);

void UpdateBpfMap(const UniqueFd& map, const void* key, const void* value);
// A key that is not there is none to delete.
void DeleteFromBpfMap(const UniqueFd& map, const void* key);
// The sum of a per-processor array's 64-bit values at `index`.
uint64_t SumPerCpu(const UniqueFd& map, uint32_t index);
// The same, of values that are structures of 64-bit fields.
void SumPerCpu(const UniqueFd& map, uint32_t index, std::span<uint64_t* const> fields);
void ResetPerCpu(const UniqueFd& map, uint32_t index, size_t value_bytes = sizeof(uint64_t));
// A per-processor array's values at `index`, one for every possible processor; their stride is `value_bytes`
// rounded up to 8. Throws SystemError.
std::vector<uint8_t> ReadPerCpu(const UniqueFd& map, uint32_t index, size_t value_bytes);
// The same value for every processor.
void WritePerCpu(const UniqueFd& map, uint32_t index, std::span<const uint8_t> value);

// What a program does to a packet (BPF_PROG_TEST_RUN). Throws SystemError.
struct BpfResult {
  uint32_t action;
  std::vector<uint8_t> packet;
};
BpfResult RunBpf(const UniqueFd& program, std::span<const uint8_t> packet);

// An array map's values as memory (BPF_F_MMAPABLE).
class MappedBpfArray {
 public:
  // `bytes`: of all values. The mapping outlives the descriptor.
  MappedBpfArray(const UniqueFd& map, size_t bytes);
  ~MappedBpfArray();
  MappedBpfArray(const MappedBpfArray&) = delete;
  MappedBpfArray& operator=(const MappedBpfArray&) = delete;
  void* data() const { return memory_; }

 private:
  void* memory_ = nullptr;
  size_t bytes_ = 0;
};

}  // namespace vpc_conn::io
