// Rare events on their way from the workers to the control plane: bounded, with a lock (they are rare), and
// with repeats of one address held down to one a second per worker.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "forward/counters.h"
#include "forward/flat_map.h"
#include "forward/frame.h"

namespace vpc_conn::runtime {

struct Event {
  enum class Kind : uint8_t {
    unresolved,
    heard,
    arp,
    neighbor_discovery,
    path_report,
    keepalive,
    unlisted,
    worker_failed
  };
  Kind kind;
  uint16_t scope = 0;
  uint32_t address = 0;                         // path_report: the router
  std::optional<wire::Ipv6Address> address6{};  // present: this, and not `address`
  uint16_t mtu = 0;                             // path_report
  uint16_t sent = 0;                            // path_report
  std::vector<uint8_t> frame{};                 // arp, neighbor_discovery; keepalive: its beginning
  uint32_t length = 0;                          // keepalive: of the whole frame
  uint64_t received_ns = 0;                     // keepalive: CLOCK_MONOTONIC
  std::string worker{};                         // worker_failed
  int error = 0;
  std::string message{};
};

class EventQueue {
 public:
  static constexpr size_t kEvents = 1024;

  // `wake` is called, on the thread that pushed, when the queue stops being empty. It must not block.
  explicit EventQueue(std::function<void()> wake) : wake_(std::move(wake)) {}

  // False: full, the event is lost (count it). Any thread.
  bool Push(Event event);
  // All events so far. JS thread.
  std::vector<Event> Take();

 private:
  std::mutex mutex_;
  std::vector<Event> events_;
  std::function<void()> wake_;
};

// One worker's end of the queue.
class WorkerEvents : public forward::EventSink {
 public:
  static constexpr size_t kLargestArp = 128;  // an ARP frame has 42 bytes, 60 with padding
  // A second; whoever forges more does not fill the queue with them.
  static constexpr uint32_t kPathReports = 32;
  // A message between gateways; what follows is the padding of a path MTU probe.
  static constexpr size_t kLargestKeepalive = 640;
  // A gateway sends one or two a second, and a few more when it compares lists.
  static constexpr uint32_t kKeepalivesPerSecond = 32;
  static constexpr uint32_t kUnlistedPerSecond = 32;
  // NS and NA have 86 with one option; a longer one is handed over cut, and no longer right.
  static constexpr size_t kLargestNeighborDiscovery = 512;

  WorkerEvents(EventQueue& queue, forward::CounterBlock& counters) : queue_(queue), counters_(counters) {}

  void SetTime(uint32_t now_seconds) { now_seconds_ = now_seconds; }
  void Unresolved(uint16_t scope, uint32_t address) override;
  void Heard(uint16_t scope, uint32_t address) override;
  void Arp(uint16_t scope, std::span<const uint8_t> frame) override;
  void PathReport(uint16_t scope, uint32_t router, uint16_t mtu, uint16_t sent) override;
  void PathReport(uint16_t scope, const wire::Ipv6Address& router, uint16_t mtu, uint16_t sent) override;
  bool Keepalive(uint16_t scope, std::span<const uint8_t> frame) override;
  void Unlisted(uint16_t scope, uint32_t address) override;
  void Unresolved(uint16_t scope, const wire::Ipv6Address& address) override;
  void Heard(uint16_t scope, const wire::Ipv6Address& address) override;
  void NeighborDiscovery(uint16_t scope, std::span<const uint8_t> frame) override;

 private:
  struct Recent {
    uint64_t key = 0;
    uint32_t seconds = 0;
  };
  struct Budget {
    uint32_t seconds = 0;
    uint32_t spent = 0;
  };
  // Of one peer in one second; what is beyond costs no more than this question.
  bool Spend(std::array<Budget, forward::kMaxPeers>& budgets, uint16_t scope, uint32_t per_second);
  // `key`: of scope and address. A hash that meets another's only delays an event by a second.
  bool Repeats(std::array<Recent, 256>& recent, uint64_t key);
  // Whether another path report fits this second.
  bool MayReportPath();
  void Push(Event event);

  EventQueue& queue_;
  forward::CounterBlock& counters_;
  uint32_t now_seconds_ = 0;
  std::array<Recent, 256> unresolved_;
  std::array<Recent, 256> heard_;
  uint32_t path_report_second_ = 0;
  uint32_t path_reports_ = 0;
  std::array<Recent, 256> unlisted_;
  std::array<Budget, forward::kMaxPeers> keepalive_budget_;
  std::array<Budget, forward::kMaxPeers> unlisted_budget_;
};

}  // namespace vpc_conn::runtime
