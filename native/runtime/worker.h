// A worker: one thread, one direction, its own receive socket and ring, its own send socket and counters.
#pragma once

#include <array>
#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "forward/pipeline.h"
#include "io/event_fd.h"
#include "io/kernel_segmenter.h"
#include "io/known_encap.h"
#include "io/packet_socket.h"
#include "io/reply_socket.h"
#include "io/rx_ring.h"
#include "io/transmitter.h"
#include "runtime/event_queue.h"
#include "runtime/load.h"
#include "runtime/snapshot_board.h"
#include "runtime/worth.h"

namespace vpc_conn::runtime {

struct WorkerOptions {
  std::string name;  // "encap/0"
  forward::Direction direction;
  io::Interface receive_on;
  io::Interface send_on;
  uint32_t spin_microseconds;
  size_t reader;             // index on the snapshot board
  bool kernel_segmentation;  // encap: super-frames go to the kernel whole
  uint32_t strip_marker;     // decap: how frames that XDP stripped are known; 0: there are none
  // Decap where the kernel carries known flows: the account, which outlives the worker.
  forward::FlowHandover* handover = nullptr;
  // Encap where the kernel carries known pairs; outlives the worker.
  io::KnownEncap* known_encap = nullptr;
};

class Worker {
 public:
  // Opens sockets and maps the ring on the calling thread; throws io::SystemError. All references outlive it.
  Worker(WorkerOptions options, forward::SharedState& shared, SnapshotBoard& board, EventQueue& events,
         const io::EventFd& stop);
  // The stop eventfd was signalled; joins.
  ~Worker();

  // Starts the thread. A snapshot has been published. Frames flow when a filter lets them in.
  void Start();
  // Decap. JS thread. The second: through a program, where the kernel carries known flows.
  void SetUnderlayFilter(std::optional<uint32_t> strip_marker, bool over_ipv6) {
    receive_.SetFilter(io::UnderlayFilter(strip_marker, over_ipv6));
  }
  void SetUnderlayFilter(const io::UniqueFd& program) { receive_.SetFilter(program); }
  // Encap. JS thread.
  void SetOverlayFilter(const io::OverlayFilterOptions& options, const wire::Mac& overlay_mac);
  // A new snapshot is there: held frames are tried again. Any thread.
  void Kick() const { kick_.Signal(); }
  // Whether the kernel takes part in encapsulation, or user space does all of it; frames in flight are not
  // touched. JS thread.
  void UseKernelSegmentation(bool use);
  enum class Segmentation { user_space, kernel, broken };
  Segmentation segmentation() const;
  void Join();

  // The worker of the other direction, which answers will come to: woken along with this one, so that it is
  // up when they do. Before Start; outlives the thread.
  void SetSibling(Worker& sibling) { sibling_ = &sibling; }

  io::PacketSocket& receive_socket() { return receive_; }
  const std::string& name() const { return options_.name; }
  const forward::CounterBlock& counters() const { return counters_; }
  const LatencyHistogram& latency() const { return latency_; }
  // CPU time of the thread so far; 0: it does not run. JS thread.
  uint64_t CpuNanoseconds();

 private:
  void Run();
  // `woken`: the thread slept until just now.
  uint32_t ReceiveBatch(const forward::Snapshot& snapshot, uint32_t now_seconds, bool woken);
  void TimeBatch(bool woken);
  bool SpinForFrame();
  void WakeSibling();
  // Sleeps until a frame, a kick or stop. False: stop, or the socket is dead.
  bool Sleep();
  void CountLosses();
  void Fail(int error, const char* what);

  // Teardown order: the owner signals `stop_`, ~Worker joins the thread; then, in reverse order of these
  // members, ring and sockets go. The event queue and the board belong to the group and go last.
  const WorkerOptions options_;
  forward::SharedState& shared_;
  SnapshotBoard& board_;
  EventQueue& queue_;
  const io::EventFd& stop_;
  io::EventFd kick_;
  forward::CounterBlock counters_;
  LatencyHistogram latency_;
  LatencySampling latency_sampling_;
  WorkerEvents events_;
  io::PacketSocket receive_;
  io::PacketSocket send_;
  io::RxRing ring_;
  io::Transmitter transmitter_;
  io::ReplySocket replies_;
  std::unique_ptr<io::KernelSegmenter> segmenter_;
  std::atomic<bool> use_segmenter_{false};
  uint64_t taken_ = 0;  // frames of the ring that are done with
  uint64_t lost_ = 0;
  Worker* sibling_ = nullptr;
  std::atomic<bool> asleep_{false};
  std::atomic<bool> expecting_{false};  // woken by the sibling, no frame has come yet
  std::atomic<bool> worth_waking_{true};
  Worth spinning_;
  Worth waking_;
  uint32_t not_woken_ = 0;
  bool choosing_ = false;  // the known pairs' filter is in place; JS thread
  forward::Pipeline pipeline_;
  std::array<forward::ReceivedFrame, forward::kLookAhead> group_;  // taken, handled next
  std::thread thread_;
};

}  // namespace vpc_conn::runtime
