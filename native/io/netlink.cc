#include "io/netlink.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string_view>
#include <utility>

#include "io/system_error.h"

namespace vpc_conn::io {
namespace {

using Bytes = std::span<const uint8_t>;

// The kernel fills dump messages up to the size it was offered, 32 KiB at most; more is never needed.
constexpr size_t kReceiveBytes = size_t{64} * 1024;
// A dump that other people's changes interrupt (NLM_F_DUMP_INTR) or that overflows is asked again.
constexpr int kAttempts = 16;
constexpr uint32_t kSequence = 1;

[[noreturn]] void ThrowMalformed() {
  throw SystemError(EBADMSG, "netlink");
}

UniqueFd OpenSocket(int flags) {
  UniqueFd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | flags, NETLINK_ROUTE));
  if (!fd.valid()) throw SystemError(errno, "socket");
  sockaddr_nl local{};
  local.nl_family = AF_NETLINK;
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&local), sizeof local) < 0) {
    throw SystemError(errno, "bind");
  }
  return fd;
}

template <typename T>
T Load(Bytes bytes) {
  if (bytes.size() < sizeof(T)) ThrowMalformed();
  T value;
  std::memcpy(&value, bytes.data(), sizeof value);
  return value;
}

// The rest behind a fixed header of type T, which netlink pads to 4 bytes.
template <typename T>
Bytes Behind(Bytes bytes) {
  constexpr size_t size = NLMSG_ALIGN(sizeof(T));
  if (bytes.size() < size) ThrowMalformed();
  return bytes.subspan(size);
}

template <typename Visit>
void ForEachAttribute(Bytes rest, Visit visit) {
  while (rest.size() >= sizeof(rtattr)) {
    const auto header = Load<rtattr>(rest);
    if (header.rta_len < sizeof(rtattr) || header.rta_len > rest.size()) ThrowMalformed();
    visit(header.rta_type & NLA_TYPE_MASK, rest.subspan(sizeof(rtattr), header.rta_len - sizeof(rtattr)));
    rest = rest.subspan(std::min<size_t>(RTA_ALIGN(header.rta_len), rest.size()));
  }
}

std::string Text(Bytes bytes) {
  const std::string_view text(reinterpret_cast<const char*>(bytes.data()), bytes.size());
  return std::string(text.substr(0, text.find('\0')));
}

std::optional<IpBytes> ToIp(Bytes bytes) {
  if (bytes.size() != 4 && bytes.size() != 16) return std::nullopt;
  IpBytes ip;
  ip.size = static_cast<uint8_t>(bytes.size());
  std::ranges::copy(bytes, ip.bytes.begin());
  return ip;
}

// A request under construction: header, fixed body, attributes.
class Request {
 public:
  template <typename Body>
  Request(uint16_t type, uint16_t flags, const Body& body) {
    Append(nlmsghdr{.nlmsg_len = 0,
                    .nlmsg_type = type,
                    .nlmsg_flags = static_cast<uint16_t>(NLM_F_REQUEST | flags),
                    .nlmsg_seq = kSequence,
                    .nlmsg_pid = 0});
    Append(body);
  }

  void Attribute(uint16_t type, Bytes value) {
    Append(rtattr{.rta_len = static_cast<uint16_t>(RTA_LENGTH(value.size())), .rta_type = type});
    bytes_.insert(bytes_.end(), value.begin(), value.end());
    bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  }

  void Attribute(uint16_t type, uint32_t value) {
    std::array<uint8_t, sizeof value> bytes;
    std::memcpy(bytes.data(), &value, sizeof value);
    Attribute(type, bytes);
  }

  Bytes Finish() {
    const auto length = static_cast<uint32_t>(bytes_.size());
    std::memcpy(bytes_.data(), &length, sizeof length);  // nlmsg_len is the header's first field
    return bytes_;
  }

 private:
  template <typename T>
  void Append(const T& value) {
    const auto* first = reinterpret_cast<const uint8_t*>(&value);
    bytes_.insert(bytes_.end(), first, first + sizeof value);
    bytes_.resize(NLMSG_ALIGN(bytes_.size()));
  }

  std::vector<uint8_t> bytes_;
};

enum class Outcome { kDone, kRefused, kInterrupted };

struct Reply {
  Outcome outcome = Outcome::kDone;
  // kRefused: the kernel's errno.
  int error = 0;
};

// One datagram from the kernel into `buffer`; empty when it came from elsewhere. ENOBUFS is the caller's.
std::optional<Bytes> Receive(int fd, std::vector<uint8_t>& buffer, int& error) {
  for (;;) {
    sockaddr_nl from{};
    iovec part{.iov_base = buffer.data(), .iov_len = buffer.size()};
    msghdr message{};
    message.msg_name = &from;
    message.msg_namelen = sizeof from;
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    const ssize_t received = ::recvmsg(fd, &message, 0);
    if (received < 0) {
      if (errno == EINTR) continue;
      error = errno;
      return std::nullopt;
    }
    if (message.msg_flags & MSG_TRUNC) ThrowMalformed();
    if (from.nl_pid != 0) continue;  // another process wrote to us, not the kernel
    return Bytes(buffer).first(static_cast<size_t>(received));
  }
}

// Sends `request` and hands the body of each answer to `visit` as (message type, body).
template <typename Visit>
Reply Ask(Bytes request, bool dump, Visit visit) {
  const UniqueFd fd = OpenSocket(0);
  const int on = 1;
  // Strict checking makes the kernel refuse what it would otherwise ignore; kernels before 4.20 lack it.
  static_cast<void>(::setsockopt(fd.get(), SOL_NETLINK, NETLINK_GET_STRICT_CHK, &on, sizeof on));
  const timeval timeout{.tv_sec = kAnswerTimeoutSeconds, .tv_usec = 0};
  if (::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout) < 0) {
    throw SystemError(errno, "setsockopt");
  }
  sockaddr_nl kernel{};
  kernel.nl_family = AF_NETLINK;
  while (::sendto(fd.get(), request.data(), request.size(), 0, reinterpret_cast<const sockaddr*>(&kernel),
                  sizeof kernel) < 0) {
    if (errno != EINTR) throw SystemError(errno, "sendto");
  }

  std::vector<uint8_t> buffer(kReceiveBytes);
  bool interrupted = false;
  for (;;) {
    int error = 0;
    const std::optional<Bytes> datagram = Receive(fd.get(), buffer, error);
    if (!datagram) {
      if (error == ENOBUFS) return {.outcome = Outcome::kInterrupted};
      throw SystemError(error, "recvmsg");
    }
    Bytes rest = *datagram;
    while (rest.size() >= sizeof(nlmsghdr)) {
      const auto header = Load<nlmsghdr>(rest);
      if (header.nlmsg_len < sizeof(nlmsghdr) || header.nlmsg_len > rest.size()) ThrowMalformed();
      const Bytes body = rest.subspan(sizeof(nlmsghdr), header.nlmsg_len - sizeof(nlmsghdr));
      rest = rest.subspan(std::min<size_t>(NLMSG_ALIGN(header.nlmsg_len), rest.size()));
      if (header.nlmsg_seq != kSequence) continue;
      interrupted = interrupted || (header.nlmsg_flags & NLM_F_DUMP_INTR) != 0;
      if (header.nlmsg_type == NLMSG_ERROR || header.nlmsg_type == NLMSG_DONE) {
        // Both begin with a negative errno or 0; an empty dump of an old kernel may end without.
        const int status = body.size() >= sizeof(int) ? Load<int>(body) : 0;
        if (interrupted || status == -EINTR) return {.outcome = Outcome::kInterrupted};
        if (status < 0) return {.outcome = Outcome::kRefused, .error = -status};
        return {};
      }
      visit(header.nlmsg_type, body);
      if (!dump) return {};
    }
  }
}

// A whole, consistent dump: `visit` fills `rows`, which start afresh with each attempt.
template <typename Row, typename Visit>
std::vector<Row> Dump(Bytes request, Visit visit) {
  for (int attempt = 0; attempt < kAttempts; ++attempt) {
    std::vector<Row> rows;
    const Reply reply = Ask(request, true, [&](uint16_t type, Bytes body) { visit(type, body, rows); });
    if (reply.outcome == Outcome::kDone) return rows;
    if (reply.outcome == Outcome::kRefused) {
      throw SystemError(reply.error, "recvmsg");
    }
  }
  throw SystemError(EAGAIN, "recvmsg");
}

Link ParseLink(Bytes body) {
  const auto info = Load<ifinfomsg>(body);
  Link link;
  link.ifindex = static_cast<uint32_t>(info.ifi_index);
  link.type = info.ifi_type;
  link.up = (info.ifi_flags & IFF_UP) != 0;
  link.running = (info.ifi_flags & IFF_RUNNING) != 0;
  ForEachAttribute(Behind<ifinfomsg>(body), [&](int type, Bytes value) {
    if (type == IFLA_IFNAME) {
      link.name = Text(value);
    } else if (type == IFLA_ADDRESS) {
      link.mac.assign(value.begin(), value.end());
    } else if (type == IFLA_MTU) {
      link.mtu = Load<uint32_t>(value);
    } else if (type == IFLA_LINKINFO) {
      ForEachAttribute(value, [&](int inner, Bytes text) {
        if (inner == IFLA_INFO_KIND) link.kind = Text(text);
      });
    }
  });
  return link;
}

std::optional<InterfaceAddress> ParseAddress(Bytes body) {
  const auto info = Load<ifaddrmsg>(body);
  if (info.ifa_family != AF_INET && info.ifa_family != AF_INET6) return std::nullopt;
  InterfaceAddress row;
  row.ifindex = info.ifa_index;
  row.prefix_length = info.ifa_prefixlen;
  std::optional<IpBytes> local;
  std::optional<IpBytes> address;
  uint32_t flags = info.ifa_flags;
  ForEachAttribute(Behind<ifaddrmsg>(body), [&](int type, Bytes value) {
    if (type == IFA_LOCAL) local = ToIp(value);
    if (type == IFA_ADDRESS) address = ToIp(value);
    if (type == IFA_FLAGS) flags = Load<uint32_t>(value);
  });
  // On a point-to-point link IFA_ADDRESS is the far end's; IFA_LOCAL is ours wherever it is given.
  if (!local) local = address;
  if (!local) return std::nullopt;
  row.address = *local;
  row.secondary = (flags & IFA_F_SECONDARY) != 0;  // for IPv6 the same bit is IFA_F_TEMPORARY
  return row;
}

std::optional<Route> ParseRoute(Bytes body) {
  const auto info = Load<rtmsg>(body);
  if (info.rtm_type != RTN_UNICAST && info.rtm_type != RTN_LOCAL) return std::nullopt;
  Route route;
  ForEachAttribute(Behind<rtmsg>(body), [&](int type, Bytes value) {
    if (type == RTA_OIF) {
      route.ifindex = Load<uint32_t>(value);
    } else if (type == RTA_GATEWAY) {
      route.gateway = ToIp(value);
    } else if (type == RTA_VIA && value.size() > sizeof(sa_family_t)) {
      route.gateway = ToIp(value.subspan(sizeof(sa_family_t)));
    } else if (type == RTA_PREFSRC) {
      route.source = ToIp(value);
    } else if (type == RTA_METRICS) {
      ForEachAttribute(value, [&](int metric, Bytes number) {
        if (metric == RTAX_MTU) route.mtu = Load<uint32_t>(number);
      });
    }
  });
  if (route.ifindex == 0) return std::nullopt;
  return route;
}

}  // namespace

std::vector<Link> DumpLinks() {
  Request request(RTM_GETLINK, NLM_F_DUMP, ifinfomsg{});
  request.Attribute(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
  return Dump<Link>(request.Finish(), [](uint16_t type, Bytes body, std::vector<Link>& rows) {
    if (type == RTM_NEWLINK) rows.push_back(ParseLink(body));
  });
}

std::vector<InterfaceAddress> DumpAddresses() {
  Request request(RTM_GETADDR, NLM_F_DUMP, ifaddrmsg{});
  return Dump<InterfaceAddress>(request.Finish(), [](uint16_t type, Bytes body, auto& rows) {
    if (type != RTM_NEWADDR) return;
    if (std::optional<InterfaceAddress> row = ParseAddress(body)) rows.push_back(*row);
  });
}

std::optional<Route> LookUpRoute(Bytes destination, uint32_t ifindex, Bytes source) {
  rtmsg body{};
  body.rtm_family = destination.size() == 4 ? AF_INET : AF_INET6;
  body.rtm_dst_len = static_cast<uint8_t>(destination.size() * 8);
  body.rtm_src_len = static_cast<uint8_t>(source.size() * 8);
  Request request(RTM_GETROUTE, 0, body);
  request.Attribute(RTA_DST, destination);
  if (!source.empty()) request.Attribute(RTA_SRC, source);
  if (ifindex != 0) request.Attribute(RTA_OIF, ifindex);

  std::optional<Route> route;
  const Reply reply = Ask(request.Finish(), false, [&](uint16_t type, Bytes answer) {
    if (type == RTM_NEWROUTE) route = ParseRoute(answer);
  });
  if (reply.outcome == Outcome::kRefused) {
    switch (reply.error) {
      case ENETUNREACH:
      case EHOSTUNREACH:
      case ENETDOWN:
      case ENODEV:  // the interface has gone
      case EACCES:  // a prohibit route
      case EINVAL:  // a blackhole route, or a source that this machine does not have
        return std::nullopt;
      default:
        throw SystemError(reply.error, "recvmsg");
    }
  }
  return route;
}

NetlinkWatch::NetlinkWatch(std::function<void()> on_change)
    : on_change_(std::move(on_change)), socket_(OpenSocket(SOCK_NONBLOCK)) {
  for (const int group : {RTNLGRP_LINK, RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR, RTNLGRP_IPV4_ROUTE,
                          RTNLGRP_IPV6_ROUTE, RTNLGRP_IPV4_RULE}) {
    // Without IPv6 in the kernel its groups still exist as numbers, so that a refusal is a real error.
    if (::setsockopt(socket_.get(), SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0) {
      throw SystemError(errno, "setsockopt");
    }
  }
  // libuv's signal handlers may run on any thread: nothing to mask.
  thread_ = std::thread(&NetlinkWatch::Run, this);
}

NetlinkWatch::~NetlinkWatch() {
  stop_.Signal();
  thread_.join();
}

void NetlinkWatch::Run() {
  std::array<pollfd, 2> polled{{{.fd = socket_.get(), .events = POLLIN, .revents = 0},
                                {.fd = stop_.get(), .events = POLLIN, .revents = 0}}};
  for (;;) {
    if (::poll(polled.data(), polled.size(), -1) < 0 && errno != EINTR) return;
    if (polled[1].revents != 0) return;
    if (polled[0].revents != 0 && Drain()) on_change_();
  }
}

// Empties the socket. What the notifications say is not read: the control plane dumps afresh. ENOBUFS means
// that some were lost, which is a change, too.
bool NetlinkWatch::Drain() {
  bool changed = false;
  std::array<uint8_t, 64> sink;  // the kernel discards the rest of each datagram
  for (;;) {
    const ssize_t received = ::recv(socket_.get(), sink.data(), sink.size(), 0);
    if (received > 0 || (received < 0 && errno == ENOBUFS)) {
      changed = true;
    } else if (received == 0 || errno != EINTR) {
      return changed;
    }
  }
}

}  // namespace vpc_conn::io
