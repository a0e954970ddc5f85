// Counters of one worker: written by its thread alone, read by anyone. One block per worker, on its own
// cache lines.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "forward/drop_reason.h"

namespace vpc_conn::forward {

// VPC_CONN_COUNTER(name): what a worker counts besides drops.
//   carried_by_kernel: those of forwarded that no worker saw (rung full)
//   rx_frames = forwarded + punted + held + drops on reception; held = hold_released + drops after waiting +
//   waiting
#define VPC_CONN_COUNTERS(X) \
  X(rx_frames)               \
  X(rx_bytes)                \
  X(rx_super_frames)         \
  X(forwarded)               \
  X(carried_by_kernel)       \
  X(tx_frames)               \
  X(tx_bytes)                \
  X(tx_super_frames)         \
  X(punted)                  \
  X(held)                    \
  X(hold_released)           \
  X(ring_lost)               \
  X(events_lost)             \
  X(mss_clamped)             \
  X(fragmented)              \
  X(icmp_errors)             \
  X(icmp_errors_withheld)    \
  X(checksums_mended)        \
  X(ecn_unexpected)          \
  X(etherip_reversed)        \
  X(coalesced)               \
  X(batches)                 \
  X(sleeps)

enum class Counter : uint8_t {
#define X(name) name,
  VPC_CONN_COUNTERS(X)
#undef X
      count_
};

inline constexpr size_t kPlainCounters = static_cast<size_t>(Counter::count_);
inline constexpr size_t kCounters = kPlainCounters + kDropReasons;

inline constexpr size_t kMaxPeers = 256;
enum class PeerCounter : uint8_t { rx_packets, rx_bytes, tx_packets, tx_bytes, last_rx_seconds, count_ };
inline constexpr size_t kPeerCounters = static_cast<size_t>(PeerCounter::count_);
inline constexpr std::array<std::string_view, kPeerCounters> kPeerCounterNames = {
    "rx_packets", "rx_bytes", "tx_packets", "tx_bytes", "last_rx_seconds"};

// "rx_frames", ..., "drop_truncated", ...: in the order of CounterBlock::values.
std::vector<std::string> CounterNames();

struct alignas(64) CounterBlock {
  std::array<std::atomic<uint64_t>, kCounters> values{};
  std::array<std::array<std::atomic<uint64_t>, kPeerCounters>, kMaxPeers> peers{};

  // Single writer: a plain load and store, no locked instruction.
  static void Bump(std::atomic<uint64_t>& value, uint64_t by) {
    value.store(value.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  void Add(Counter counter, uint64_t by = 1) { Bump(values[static_cast<size_t>(counter)], by); }
  void Drop(DropReason reason, uint64_t by = 1) {
    Bump(values[kPlainCounters + static_cast<size_t>(reason)], by);
  }
  void AddPeer(uint16_t peer_id, PeerCounter counter, uint64_t by) {
    Bump(peers[peer_id][static_cast<size_t>(counter)], by);
  }
  void SetPeer(uint16_t peer_id, PeerCounter counter, uint64_t value) {
    peers[peer_id][static_cast<size_t>(counter)].store(value, std::memory_order_relaxed);
  }
};

}  // namespace vpc_conn::forward
