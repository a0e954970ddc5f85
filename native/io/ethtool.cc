#include "io/ethtool.h"

#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <cstring>
#include <vector>

#include "io/system_error.h"
#include "io/unique_fd.h"

namespace vpc_conn::io {

namespace {

class Ethtool {
 public:
  explicit Ethtool(std::string interface)
      : interface_(std::move(interface)), fd_(socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0)) {
    if (!fd_.valid()) throw SystemError(errno, "socket", interface_);
  }

  void Call(void* command, const char* what) const {
    ifreq request{};
    interface_.copy(request.ifr_name, IFNAMSIZ - 1);
    request.ifr_data = static_cast<char*>(command);
    if (ioctl(fd_.get(), SIOCETHTOOL, &request) < 0) throw SystemError(errno, what, interface_);
  }

  std::vector<std::string> Names(ethtool_stringset set) const {
    std::vector<uint32_t> info(sizeof(ethtool_sset_info) / sizeof(uint32_t) + 1);
    auto* sets = reinterpret_cast<ethtool_sset_info*>(info.data());
    sets->cmd = ETHTOOL_GSSET_INFO;
    sets->sset_mask = uint64_t{1} << set;
    Call(sets, "ioctl(ETHTOOL_GSSET_INFO)");
    const uint32_t count = sets->sset_mask == 0 ? 0 : sets->data[0];
    if (count == 0) return {};
    std::vector<char> buffer(sizeof(ethtool_gstrings) + size_t{count} * ETH_GSTRING_LEN);
    auto* strings = reinterpret_cast<ethtool_gstrings*>(buffer.data());
    strings->cmd = ETHTOOL_GSTRINGS;
    strings->string_set = set;
    strings->len = count;
    Call(strings, "ioctl(ETHTOOL_GSTRINGS)");
    std::vector<std::string> names;
    for (uint32_t i = 0; i < count; i++) {
      const char* name = reinterpret_cast<const char*>(strings->data) + size_t{i} * ETH_GSTRING_LEN;
      names.emplace_back(name, strnlen(name, ETH_GSTRING_LEN));
    }
    return names;
  }

 private:
  std::string interface_;
  UniqueFd fd_;
};

uint32_t Blocks(size_t features) {
  return static_cast<uint32_t>((features + 31) / 32);
}

}  // namespace

std::map<std::string, Feature> ReadFeatures(const std::string& interface) {
  const Ethtool ethtool(interface);
  const auto names = ethtool.Names(ETH_SS_FEATURES);
  std::vector<char> buffer(sizeof(ethtool_gfeatures) +
                           Blocks(names.size()) * sizeof(ethtool_get_features_block));
  auto* get = reinterpret_cast<ethtool_gfeatures*>(buffer.data());
  get->cmd = ETHTOOL_GFEATURES;
  get->size = Blocks(names.size());
  ethtool.Call(get, "ioctl(ETHTOOL_GFEATURES)");
  std::map<std::string, Feature> features;
  for (size_t i = 0; i < names.size(); i++) {
    const ethtool_get_features_block& block = get->features[i / 32];
    const uint32_t bit = uint32_t{1} << (i % 32);
    features[names[i]] = {(block.active & bit) != 0, (block.available & ~block.never_changed & bit) != 0};
  }
  return features;
}

void SetFeatures(const std::string& interface, const std::map<std::string, bool>& wanted) {
  const Ethtool ethtool(interface);
  const auto names = ethtool.Names(ETH_SS_FEATURES);
  std::vector<char> buffer(sizeof(ethtool_sfeatures) +
                           Blocks(names.size()) * sizeof(ethtool_set_features_block));
  auto* set = reinterpret_cast<ethtool_sfeatures*>(buffer.data());
  set->cmd = ETHTOOL_SFEATURES;
  set->size = Blocks(names.size());
  for (size_t i = 0; i < names.size(); i++) {
    const auto feature = wanted.find(names[i]);
    if (feature == wanted.end()) continue;
    const uint32_t bit = uint32_t{1} << (i % 32);
    set->features[i / 32].valid |= bit;
    if (feature->second) set->features[i / 32].requested |= bit;
  }
  ethtool.Call(set, "ioctl(ETHTOOL_SFEATURES)");
}

std::map<std::string, uint64_t> ReadStatistics(const std::string& interface) {
  const Ethtool ethtool(interface);
  const auto names = ethtool.Names(ETH_SS_STATS);
  if (names.empty()) return {};
  // The kernel asks the driver again how many there are, and older ones write that many: room for queues that
  // were added meanwhile.
  static_assert(sizeof(ethtool_stats) % sizeof(uint64_t) == 0);
  std::vector<uint64_t> buffer(sizeof(ethtool_stats) / sizeof(uint64_t) + 2 * names.size() + 1024);
  auto* get = reinterpret_cast<ethtool_stats*>(buffer.data());
  get->cmd = ETHTOOL_GSTATS;
  get->n_stats = static_cast<uint32_t>(names.size());
  ethtool.Call(get, "ioctl(ETHTOOL_GSTATS)");
  std::map<std::string, uint64_t> statistics;
  if (get->n_stats != names.size()) return statistics;
  for (size_t i = 0; i < names.size(); i++) statistics[names[i]] = get->data[i];
  return statistics;
}

}  // namespace vpc_conn::io
