// An AF_PACKET socket bound to one interface, with virtio headers (PACKET_VNET_HDR) on what it sends and
// receives. It starts deaf: a filter lets nothing in until SetFilter.
#pragma once

#include <linux/filter.h>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "io/unique_fd.h"

namespace vpc_conn::io {

struct Interface {
  int index = 0;
  std::string name;
};

class PacketSocket {
 public:
  // Opens for receiving (every EtherType, what the interface receives only, not what the machine sends) or
  // for sending only. Throws SystemError.
  enum class Use { receive, send };
  PacketSocket(Interface interface, Use use);

  // Starts delivery. Receivers only, after their ring is mapped.
  void Bind();
  void SetFilter(const std::vector<sock_filter>& program);
  // The same with a loaded BPF program.
  void SetFilter(const UniqueFd& program);
  // Joins fanout group `id` (nullopt: makes one) that spreads by `program`; returns the group's id, which may
  // be 0.
  uint16_t JoinFanout(std::optional<uint16_t> id, const std::vector<sock_filter>& program);

  // Whether the interface takes up frames to every multicast MAC, as long as this socket lives: neighbor
  // solicitations for proxied IPv6 addresses go to groups that the kernel has not joined. Throws SystemError.
  void SetAllMulticast(bool on);

  // Frames that the kernel dropped since the last call because ring or buffer were full.
  uint32_t TakeRingLosses();
  // Clears a pending error (interface went down) and returns it; 0: none.
  int TakeError();

  // The interface's MTU now. Throws SystemError.
  uint32_t Mtu() const;

  int fd() const { return fd_.get(); }
  const Interface& interface() const { return interface_; }

 private:
  void SetOption(int level, int name, const void* value, unsigned length, const char* what);

  Interface interface_;
  UniqueFd fd_;
  bool all_multicast_ = false;
};

}  // namespace vpc_conn::io
