#include "io/bpf.h"

#include <linux/bpf.h>
#include <linux/if_link.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <vector>

#include "io/system_error.h"

namespace vpc_conn::io {

namespace {

constexpr uint32_t kTcxIngress = 46;       // BPF_TCX_INGRESS; older headers lack it
constexpr uint32_t kBefore = 1 << 3;       // BPF_F_BEFORE: in front of all others
constexpr uint32_t kXdpHasFrags = 1 << 5;  // BPF_F_XDP_HAS_FRAGS
constexpr char kLicense[] = "Dual MIT/GPL";
// BPF_LINK_CREATE's attributes, as far as they are used here.
struct LinkAttributes {
  uint32_t program;
  uint32_t ifindex;
  uint32_t attach_type;
  uint32_t flags;
  uint64_t rest[6];
};

int Bpf(int command, void* attributes, size_t size) {
  return static_cast<int>(syscall(SYS_bpf, command, attributes, size));
}

void CopyName(char* to, std::string_view name) {
  std::memcpy(to, name.data(), std::min<size_t>(name.size(), BPF_OBJ_NAME_LEN - 1));
}

std::string LastLine(const std::vector<char>& log) {
  std::string text(log.data());
  while (!text.empty() && text.back() == '\n') text.pop_back();
  const size_t at = text.rfind("\nprocessed");
  if (at != std::string::npos) text.resize(at);
  const size_t line = text.rfind('\n');
  return line == std::string::npos ? text : text.substr(line + 1);
}

}  // namespace

UniqueFd CreateBpfMap(const bpf::MapDefinition& definition, std::string_view name) {
  bpf_attr attributes{};
  attributes.map_type = definition.type;
  attributes.key_size = definition.key_size;
  attributes.value_size = definition.value_size;
  attributes.max_entries = definition.max_entries;
  attributes.map_flags = definition.flags;
  CopyName(attributes.map_name, name);
  UniqueFd fd(Bpf(BPF_MAP_CREATE, &attributes, sizeof attributes));
  if (!fd.valid()) throw SystemError(errno, "bpf(BPF_MAP_CREATE)");
  return fd;
}

UniqueFd LoadBpfProgram(BpfProgramType type, std::string_view name, std::span<const uint64_t> code,
                        std::span<const bpf::MapUse> uses, const std::map<std::string_view, int>& maps) {
  std::vector<uint64_t> instructions(code.begin(), code.end());
  for (const bpf::MapUse& use : uses) {
    // A 64-bit immediate load whose source register says "map descriptor".
    bpf_insn load;
    std::memcpy(&load, &instructions[use.instruction], sizeof load);
    load.src_reg = BPF_PSEUDO_MAP_FD;
    load.imm = maps.at(use.map);
    std::memcpy(&instructions[use.instruction], &load, sizeof load);
  }
  std::vector<char> log(size_t{64} * 1024);
  bpf_attr attributes{};
  attributes.prog_type = type == BpfProgramType::tc              ? BPF_PROG_TYPE_SCHED_CLS
                         : type == BpfProgramType::socket_filter ? BPF_PROG_TYPE_SOCKET_FILTER
                                                                 : BPF_PROG_TYPE_XDP;
  if (type == BpfProgramType::xdp_frags) attributes.prog_flags = kXdpHasFrags;
  attributes.insns = reinterpret_cast<uint64_t>(instructions.data());
  attributes.insn_cnt = static_cast<uint32_t>(instructions.size());
  attributes.license = reinterpret_cast<uint64_t>(kLicense);
  CopyName(attributes.prog_name, name);
  UniqueFd fd(Bpf(BPF_PROG_LOAD, &attributes, sizeof attributes));
  if (fd.valid()) return fd;
  // Again with the verifier's log, to say why.
  const int error = errno;
  attributes.log_buf = reinterpret_cast<uint64_t>(log.data());
  attributes.log_size = static_cast<uint32_t>(log.size());
  attributes.log_level = 1;
  fd = UniqueFd(Bpf(BPF_PROG_LOAD, &attributes, sizeof attributes));
  if (fd.valid()) return fd;
  const std::string line = LastLine(log);
  throw SystemError(error,
                    "bpf(BPF_PROG_LOAD " + std::string(name) + ")" + (line.empty() ? "" : ": " + line));
}

namespace {

UniqueFd Link(const UniqueFd& program, int ifindex, const std::string& interface, uint32_t type,
              uint32_t flags) {
  LinkAttributes attributes{};
  attributes.program = static_cast<uint32_t>(program.get());
  attributes.ifindex = static_cast<uint32_t>(ifindex);
  attributes.attach_type = type;
  attributes.flags = flags;
  UniqueFd fd(Bpf(BPF_LINK_CREATE, &attributes, sizeof attributes));
  if (!fd.valid()) throw SystemError(errno, "bpf(BPF_LINK_CREATE)", interface);
  return fd;
}

}  // namespace

UniqueFd LinkTcIngress(const UniqueFd& program, int ifindex, const std::string& interface) {
  return Link(program, ifindex, interface, kTcxIngress, kBefore);
}

UniqueFd LinkXdpDriver(const UniqueFd& program, int ifindex, const std::string& interface) {
  return Link(program, ifindex, interface, BPF_XDP, XDP_FLAGS_DRV_MODE);
}

bool XdpLinkAttached(const UniqueFd& link) {
  bpf_link_info info{};
  bpf_attr attributes{};
  attributes.info.bpf_fd = static_cast<uint32_t>(link.get());
  attributes.info.info_len = sizeof info;
  attributes.info.info = reinterpret_cast<uint64_t>(&info);
  // A link without its interface stays, and names none.
  return Bpf(BPF_OBJ_GET_INFO_BY_FD, &attributes, sizeof attributes) == 0 && info.xdp.ifindex != 0;
}

void UpdateBpfMap(const UniqueFd& map, const void* key, const void* value) {
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(map.get());
  attributes.key = reinterpret_cast<uint64_t>(key);
  attributes.value = reinterpret_cast<uint64_t>(value);
  if (Bpf(BPF_MAP_UPDATE_ELEM, &attributes, sizeof attributes) != 0) {
    throw SystemError(errno, "bpf(BPF_MAP_UPDATE_ELEM)");
  }
}

void DeleteFromBpfMap(const UniqueFd& map, const void* key) {
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(map.get());
  attributes.key = reinterpret_cast<uint64_t>(key);
  if (Bpf(BPF_MAP_DELETE_ELEM, &attributes, sizeof attributes) != 0 && errno != ENOENT) {
    throw SystemError(errno, "bpf(BPF_MAP_DELETE_ELEM)");
  }
}

namespace {

// The kernel copies one value per possible processor, of which there may be more than are configured.
size_t MostProcessors() {
  return static_cast<size_t>(get_nprocs_conf()) + 64;
}

size_t PerCpuStride(size_t bytes) {
  return (bytes + 7) / 8 * 8;
}

}  // namespace

std::vector<uint8_t> ReadPerCpu(const UniqueFd& map, uint32_t index, size_t value_bytes) {
  std::vector<uint8_t> values(MostProcessors() * PerCpuStride(value_bytes));
  bpf_attr attributes{};
  attributes.map_fd = static_cast<uint32_t>(map.get());
  attributes.key = reinterpret_cast<uint64_t>(&index);
  attributes.value = reinterpret_cast<uint64_t>(values.data());
  if (Bpf(BPF_MAP_LOOKUP_ELEM, &attributes, sizeof attributes) != 0) {
    throw SystemError(errno, "bpf(BPF_MAP_LOOKUP_ELEM)");
  }
  return values;
}

void WritePerCpu(const UniqueFd& map, uint32_t index, std::span<const uint8_t> value) {
  const size_t stride = PerCpuStride(value.size());
  std::vector<uint8_t> values(MostProcessors() * stride);
  for (size_t at = 0; at < values.size(); at += stride) std::copy(value.begin(), value.end(), &values[at]);
  UpdateBpfMap(map, &index, values.data());
}

uint64_t SumPerCpu(const UniqueFd& map, uint32_t index) {
  uint64_t sum = 0;
  uint64_t* const fields[] = {&sum};
  SumPerCpu(map, index, fields);
  return sum;
}

void SumPerCpu(const UniqueFd& map, uint32_t index, std::span<uint64_t* const> fields) {
  const std::vector<uint8_t> values = ReadPerCpu(map, index, fields.size() * sizeof(uint64_t));
  for (uint64_t* const field : fields) *field = 0;
  for (size_t i = 0; i < values.size() / sizeof(uint64_t); i++) {
    uint64_t value;
    std::memcpy(&value, &values[i * sizeof value], sizeof value);
    *fields[i % fields.size()] += value;
  }
}

void ResetPerCpu(const UniqueFd& map, uint32_t index, size_t value_bytes) {
  WritePerCpu(map, index, std::vector<uint8_t>(value_bytes));
}

BpfResult RunBpf(const UniqueFd& program, std::span<const uint8_t> packet) {
  std::vector<uint8_t> out(packet.size() + 256);
  bpf_attr attributes{};
  attributes.test.prog_fd = static_cast<uint32_t>(program.get());
  attributes.test.data_in = reinterpret_cast<uint64_t>(packet.data());
  attributes.test.data_size_in = static_cast<uint32_t>(packet.size());
  attributes.test.data_out = reinterpret_cast<uint64_t>(out.data());
  attributes.test.data_size_out = static_cast<uint32_t>(out.size());
  if (Bpf(BPF_PROG_TEST_RUN, &attributes, sizeof attributes) != 0) {
    throw SystemError(errno, "bpf(BPF_PROG_TEST_RUN)");
  }
  out.resize(attributes.test.data_size_out);
  return {attributes.test.retval, std::move(out)};
}

MappedBpfArray::MappedBpfArray(const UniqueFd& map, size_t bytes) {
  const auto page = static_cast<size_t>(sysconf(_SC_PAGESIZE));
  bytes_ = (bytes + page - 1) / page * page;
  void* memory = mmap(nullptr, bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, map.get(), 0);
  if (memory == MAP_FAILED) throw SystemError(errno, "mmap(bpf map)");
  memory_ = memory;
}

MappedBpfArray::~MappedBpfArray() {
  munmap(memory_, bytes_);
}

}  // namespace vpc_conn::io
