// rtnetlink for the control plane: what links, addresses and routes this network namespace has, and a watch
// that says when they change. Linux only, no napi.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "io/event_fd.h"
#include "io/unique_fd.h"

namespace vpc_conn::io {

// An IPv4 (4) or IPv6 (16) address in network order.
struct IpBytes {
  std::array<uint8_t, 16> bytes{};
  uint8_t size = 0;

  std::span<const uint8_t> view() const { return {bytes.data(), size}; }
};

struct Link {
  uint32_t ifindex = 0;
  std::string name;
  // Hardware address, as long as the link's type makes it: 6 for Ethernet, empty for a tunnel.
  std::vector<uint8_t> mac;
  uint32_t mtu = 0;
  bool up = false;
  // IFF_RUNNING: administratively up and the carrier is there.
  bool running = false;
  // ARPHRD_*.
  uint16_t type = 0;
  // IFLA_INFO_KIND ("veth", "bridge", "vlan"); empty for hardware.
  std::string kind;
};

struct InterfaceAddress {
  uint32_t ifindex = 0;
  IpBytes address;
  uint8_t prefix_length = 0;
  // IPv4 only: the kernel's IFA_F_SECONDARY.
  bool secondary = false;
};

struct Route {
  uint32_t ifindex = 0;
  // Absent: the destination is on-link. May be IPv6 for an IPv4 destination (RTA_VIA).
  std::optional<IpBytes> gateway;
  std::optional<IpBytes> source;
  // Absent: the interface's own. Includes what the kernel has learnt by path MTU discovery.
  std::optional<uint32_t> mtu;
};

// Each function opens a socket of its own, asks and closes it, so that no answer can be left over from an
// earlier question. Blocks for the kernel's answer only, at most kAnswerTimeoutSeconds. Throws SystemError,
// EBADMSG for an answer that makes no sense.
inline constexpr int kAnswerTimeoutSeconds = 2;

std::vector<Link> DumpLinks();
std::vector<InterfaceAddress> DumpAddresses();

// The kernel's own choice (RTM_GETROUTE). `ifindex` 0 and an empty `source` mean any. Nothing when the kernel
// has no unicast or local route. With an ifindex the kernel takes a destination without a route for on-link.
std::optional<Route> LookUpRoute(std::span<const uint8_t> destination, uint32_t ifindex,
                                 std::span<const uint8_t> source);

// Calls `on_change` on a thread of its own whenever links, addresses, routes or rules changed, also when
// notifications were lost. A burst may be one call or several; the callee coalesces.
class NetlinkWatch {
 public:
  explicit NetlinkWatch(std::function<void()> on_change);
  // Stops and joins the thread; no call is under way afterwards. Not from within on_change.
  ~NetlinkWatch();
  NetlinkWatch(const NetlinkWatch&) = delete;
  NetlinkWatch& operator=(const NetlinkWatch&) = delete;

 private:
  void Run();
  bool Drain();

  // Teardown: write the stop eventfd, join the thread, then the descriptors close as members do.
  std::function<void()> on_change_;
  UniqueFd socket_;
  EventFd stop_;
  std::thread thread_;
};

}  // namespace vpc_conn::io
