// The program that strips outer headers in the driver (bpf/strip.bpf.c), attached to the underlay interface
// as long as this object lives.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "bpf/layout.h"
#include "forward/forwarding_table.h"
#include "io/bpf.h"
#include "io/packet_socket.h"
#include "wire/ethernet.h"

namespace vpc_conn::io {

class XdpStrip {
 public:
  // Loads and attaches in driver mode. Throws SystemError: the driver has no XDP, the MTU is too large for
  // it, another program is attached, no privileges; std::runtime_error: the self-test failed. Nothing is
  // stripped before SetPeers.
  explicit XdpStrip(const Interface& underlay);

  // The peers whose packets are stripped, and the interface's MAC. JS thread.
  void SetPeers(std::span<const forward::Peer> peers, const wire::Mac& underlay_mac);

  // First four bytes of stripped frames' source MAC, as LoadBe32 reads them; the peer's id follows.
  uint32_t marker() const { return marker_; }

  struct Counts {
    uint64_t stripped = 0;
    uint64_t spoofed = 0;
  };
  Counts ReadCounts() const;

  // False: somebody took the program off the interface.
  bool attached() const { return XdpLinkAttached(link_); }

 private:
  void Attach(BpfProgramType type, const Interface& underlay);
  // Runs the loaded program on a test packet. Throws std::runtime_error when it does not strip as it should.
  void Test();

  uint32_t marker_;
  UniqueFd peers_map_;
  UniqueFd settings_map_;
  UniqueFd counts_map_;
  MappedBpfArray settings_;
  UniqueFd program_;
  UniqueFd link_;
  std::vector<strip_pair> pairs_;
};

}  // namespace vpc_conn::io
