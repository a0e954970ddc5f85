// Kernel segmentation for EtherIP: a tap whose ingress program (bpf/encap.bpf.c) puts the outer headers into
// a super-frame's link-layer header and sends it on to the underlay, where the kernel's GSO cuts it. Tap,
// program and link live as long as this object; one per encap worker.
#pragma once

#include <atomic>
#include <cstdint>
#include <span>

#include "bpf/layout.h"
#include "forward/counters.h"
#include "forward/super_frame_sender.h"
#include "io/bpf.h"
#include "io/tap.h"

namespace vpc_conn::io {

class KernelSegmenter : public forward::SuperFrameSender {
 public:
  // Throws SystemError: no /dev/net/tun, no TCX (Linux 6.6), no privileges. Counts what it sends; `counters`
  // outlives it.
  KernelSegmenter(int underlay_ifindex, forward::CounterBlock& counters);

  bool Send(std::span<const uint8_t> outer, const uint8_t* head, uint32_t head_length, const uint8_t* payload,
            uint32_t payload_length, uint32_t segment_size) override;

  // The program did not take a frame: it is gone. Send returns false from then on. Any
  // thread.
  bool broken() const { return broken_.load(std::memory_order_relaxed); }

  // Sends test super-frames, with outer headers of either family, into a second private tap and compares what
  // comes out with user-space segmentation, byte for byte. Throws SystemError, or std::runtime_error with
  // what differs.
  static void Probe();

 private:
  encap_slot& slot() const { return *static_cast<encap_slot*>(slots_.data()); }

  Tap tap_;
  UniqueFd map_;
  MappedBpfArray slots_;
  UniqueFd program_;
  UniqueFd link_;
  forward::CounterBlock& counters_;
  std::atomic<bool> broken_{false};
};

}  // namespace vpc_conn::io
