#include "io/packet_socket.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/time.h>

#include "io/socket_filter.h"
#include "io/system_error.h"

#ifndef PACKET_IGNORE_OUTGOING
#define PACKET_IGNORE_OUTGOING 23
#endif

namespace vpc_conn::io {

namespace {

// A send waits this long for room in the interface's queue before the frame is dropped as tx_busy.
constexpr timeval kSendTimeout = {0, 10'000};
// Enough for several full batches; more would only be delay.
constexpr int kSendBuffer = 4 << 20;
// Bounds the frames too large for a ring slot that wait in the socket's own queue: about 60 super-frames.
constexpr int kReceiveBuffer = 8 << 20;
// A fanout group does not inherit from its sockets that they ignore what the machine sends. The flag is
// younger than some kernels, which take no notice of it, and their headers.
constexpr uint32_t kFanoutIgnoreOutgoing = 0x4000;

}  // namespace

PacketSocket::PacketSocket(Interface interface, Use use) : interface_(std::move(interface)) {
  // Protocol 0: receives nothing before Bind.
  fd_ = UniqueFd(socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0));
  if (!fd_.valid()) throw SystemError(errno, "socket(AF_PACKET)", interface_.name);
  const int on = 1;
  SetOption(SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on, "setsockopt(PACKET_VNET_HDR)");
  if (use == Use::receive) {
    const int version = TPACKET_V2;
    SetOption(SOL_PACKET, PACKET_VERSION, &version, sizeof version, "setsockopt(PACKET_VERSION)");
    SetOption(SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on, "setsockopt(PACKET_IGNORE_OUTGOING)");
    SetOption(SOL_SOCKET, SO_RCVBUFFORCE, &kReceiveBuffer, sizeof kReceiveBuffer,
              "setsockopt(SO_RCVBUFFORCE)");
    SetFilter(NothingFilter());
    return;
  }
  SetOption(SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof kSendBuffer, "setsockopt(SO_SNDBUFFORCE)");
  SetOption(SOL_SOCKET, SO_SNDTIMEO, &kSendTimeout, sizeof kSendTimeout, "setsockopt(SO_SNDTIMEO)");
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  address.sll_ifindex = interface_.index;
  if (bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw SystemError(errno, "bind", interface_.name);
  }
}

void PacketSocket::SetOption(int level, int name, const void* value, unsigned length, const char* what) {
  if (setsockopt(fd_.get(), level, name, value, length) != 0) {
    throw SystemError(errno, what, interface_.name);
  }
}

void PacketSocket::Bind() {
  sockaddr_ll address{};
  address.sll_family = AF_PACKET;
  // ETH_P_ALL: delivered before tc and nft ingress, so that the kernel guard does not hide frames from us.
  address.sll_protocol = htons(ETH_P_ALL);
  address.sll_ifindex = interface_.index;
  if (bind(fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    throw SystemError(errno, "bind", interface_.name);
  }
  // Binding to an interface that is down succeeds and leaves ENETDOWN behind; it delivers when it comes up.
  TakeError();
}

void PacketSocket::SetFilter(const std::vector<sock_filter>& program) {
  const sock_fprog filter{static_cast<unsigned short>(program.size()),
                          const_cast<sock_filter*>(program.data())};
  SetOption(SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof filter, "setsockopt(SO_ATTACH_FILTER)");
}

void PacketSocket::SetFilter(const UniqueFd& program) {
  const int fd = program.get();
  SetOption(SOL_SOCKET, SO_ATTACH_BPF, &fd, sizeof fd, "setsockopt(SO_ATTACH_BPF)");
}

uint16_t PacketSocket::JoinFanout(std::optional<uint16_t> id, const std::vector<sock_filter>& program) {
  uint32_t type = PACKET_FANOUT_CBPF | kFanoutIgnoreOutgoing;
  if (!id) type |= PACKET_FANOUT_FLAG_UNIQUEID;
  const uint32_t argument = id.value_or(0) | (type << 16);
  SetOption(SOL_PACKET, PACKET_FANOUT, &argument, sizeof argument, "setsockopt(PACKET_FANOUT)");
  if (!id) {
    uint32_t joined = 0;
    socklen_t length = sizeof joined;
    if (getsockopt(fd_.get(), SOL_PACKET, PACKET_FANOUT, &joined, &length) != 0) {
      throw SystemError(errno, "getsockopt(PACKET_FANOUT)", interface_.name);
    }
    id = static_cast<uint16_t>(joined);
    const sock_fprog data{static_cast<unsigned short>(program.size()),
                          const_cast<sock_filter*>(program.data())};
    SetOption(SOL_PACKET, PACKET_FANOUT_DATA, &data, sizeof data, "setsockopt(PACKET_FANOUT_DATA)");
  }
  return *id;
}

void PacketSocket::SetAllMulticast(bool on) {
  if (on == all_multicast_) return;
  packet_mreq membership{};
  membership.mr_ifindex = interface_.index;
  membership.mr_type = PACKET_MR_ALLMULTI;
  SetOption(SOL_PACKET, on ? PACKET_ADD_MEMBERSHIP : PACKET_DROP_MEMBERSHIP, &membership, sizeof membership,
            on ? "setsockopt(PACKET_ADD_MEMBERSHIP)" : "setsockopt(PACKET_DROP_MEMBERSHIP)");
  all_multicast_ = on;
}

uint32_t PacketSocket::Mtu() const {
  ifreq request{};
  interface_.name.copy(request.ifr_name, IFNAMSIZ - 1);
  if (ioctl(fd_.get(), SIOCGIFMTU, &request) != 0) {
    throw SystemError(errno, "ioctl(SIOCGIFMTU)", interface_.name);
  }
  return static_cast<uint32_t>(request.ifr_mtu);
}

uint32_t PacketSocket::TakeRingLosses() {
  tpacket_stats statistics{};
  socklen_t length = sizeof statistics;
  if (getsockopt(fd_.get(), SOL_PACKET, PACKET_STATISTICS, &statistics, &length) != 0) return 0;
  return statistics.tp_drops;
}

int PacketSocket::TakeError() {
  int error = 0;
  socklen_t length = sizeof error;
  if (getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &length) != 0) return errno;
  return error;
}

}  // namespace vpc_conn::io
