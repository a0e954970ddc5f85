// ICMP errors that the gateway itself sends about packets it cannot carry (RFC 792, RFC 1812 section 4.3.2).
#pragma once

#include <cstdint>

#include "forward/counters.h"
#include "forward/packet.h"
#include "forward/packet6.h"
#include "forward/rate_limit.h"
#include "forward/snapshot.h"

namespace vpc_conn::forward {

// Sends a frame back out of the interface that the worker receives on. Implemented by the ports in io/.
class ReplySender {
 public:
  virtual ~ReplySender() = default;
  // `frame` has sizeof(wire::VirtioNetHeader) writable bytes in front of it. False: not sent. Worker thread.
  virtual bool Reply(uint8_t* frame, uint32_t length) = 0;
};

struct IcmpError {
  uint8_t type;
  uint8_t code;
  uint32_t rest;  // bytes 4 to 7 of the ICMP header
};

// RFC 1191 section 4: the next hop's MTU stands in the low half.
constexpr IcmpError TooBigError(uint32_t mtu) {
  return {wire::kIcmpUnreachable, wire::kIcmpFragmentationNeeded, mtu};
}

// Which way an error goes back.
struct IcmpErrorRoute {
  uint64_t destination_mac;
  const OuterHeader* outer;  // nullptr: to a host of this VPC
  uint32_t mtu;              // of the way back
};

// What one worker sends.
class IcmpErrors {
 public:
  static constexpr uint32_t kLargestPacket = 576;  // RFC 1812 section 4.3.2.3

  explicit IcmpErrors(CounterBlock& counters) : counters_(counters) {}

  // nullptr, the initial state: none are sent.
  void SetSender(ReplySender* sender) { sender_ = sender; }

  // Sends `error` about `packet`, from the gateway's own overlay address (the only one that the VPC lets it
  // use) to the packet's source. Not about what RFC 1812 4.3.2.7 forbids, and no more than
  // TableContents::icmp_errors_per_second; the caller has checked both addresses and the destination MAC.
  // `total_length`: of the packet as its sender knows it, of which `packet` may be an aggregate.
  void Send(const IcmpError& error, const Packet& packet, uint32_t total_length, const IcmpErrorRoute& route,
            const TableContents& contents, uint32_t now_seconds);

  // The same for IPv6: ICMPv6 packet too big with `mtu` (RFC 4443 section 3.2), within the same rate. None
  // below 1280, which no host goes under (RFC 8201 section 4). IPv6 is carried.
  void SendTooBig(const Packet6& packet, uint32_t total_length, uint32_t mtu, const IcmpErrorRoute& route,
                  const TableContents& contents, uint32_t now_seconds);

 private:
  CounterBlock& counters_;
  ReplySender* sender_ = nullptr;
  RateLimit limit_;
};

}  // namespace vpc_conn::forward
