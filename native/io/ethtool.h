// An interface's offload features, by their ethtool names ("tx-tcp-segmentation"), and its driver's
// statistics. Linux only.
#pragma once

#include <cstdint>
#include <map>
#include <string>

namespace vpc_conn::io {

struct Feature {
  bool active = false;
  bool changeable = false;
};

// All features the kernel names. Throws SystemError.
std::map<std::string, Feature> ReadFeatures(const std::string& interface);

// Switches features (ETHTOOL_SFEATURES); unknown names are ignored. Throws SystemError; a feature that the
// driver keeps as it was shows in the next ReadFeatures.
void SetFeatures(const std::string& interface, const std::map<std::string, bool>& wanted);

// What `ethtool -S` shows; empty where the driver has none, or changes them just now. Throws SystemError.
std::map<std::string, uint64_t> ReadStatistics(const std::string& interface);

}  // namespace vpc_conn::io
