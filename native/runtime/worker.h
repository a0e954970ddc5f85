// A worker: one thread, one direction, its own receive socket and ring, its own send socket and counters.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>

#include "forward/pipeline.h"
#include "io/event_fd.h"
#include "io/kernel_segmenter.h"
#include "io/packet_socket.h"
#include "io/reply_socket.h"
#include "io/rx_ring.h"
#include "io/transmitter.h"
#include "runtime/event_queue.h"
#include "runtime/snapshot_board.h"

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
};

class Worker {
 public:
  // Opens sockets and maps the ring on the calling thread; throws io::SystemError. All references outlive it.
  Worker(WorkerOptions options, forward::SharedState& shared, SnapshotBoard& board, EventQueue& events,
         const io::EventFd& stop);
  // The stop eventfd was signalled; joins.
  ~Worker();

  // Starts the thread, then the flow of frames. A snapshot has been published.
  void Start(const std::vector<sock_filter>& filter);
  void SetFilter(const std::vector<sock_filter>& filter) { receive_.SetFilter(filter); }
  // A new snapshot is there: held frames are tried again. Any thread.
  void Kick() const { kick_.Signal(); }
  // Steps down to, or up from, segmentation in user space; frames in flight are not touched. Any thread.
  void UseKernelSegmentation(bool use) { use_segmenter_.store(use, std::memory_order_relaxed); }
  enum class Segmentation { user_space, kernel, broken };
  Segmentation segmentation() const;
  void Join();

  io::PacketSocket& receive_socket() { return receive_; }
  const std::string& name() const { return options_.name; }
  const forward::CounterBlock& counters() const { return counters_; }

 private:
  void Run();
  uint32_t ReceiveBatch(const forward::Snapshot& snapshot, uint32_t now_seconds);
  bool SpinForFrame();
  // Sleeps until a frame, a kick or stop. False: stop, or the socket is dead.
  bool Sleep();
  void CountLosses();
  void Fail(int error, const char* what);

  // Teardown order: the owner signals `stop_`, ~Worker joins the thread; then, in reverse order of these
  // members, ring and sockets go. The event queue and the board belong to the group and go last.
  const WorkerOptions options_;
  SnapshotBoard& board_;
  EventQueue& queue_;
  const io::EventFd& stop_;
  io::EventFd kick_;
  forward::CounterBlock counters_;
  WorkerEvents events_;
  io::PacketSocket receive_;
  io::PacketSocket send_;
  io::RxRing ring_;
  io::Transmitter transmitter_;
  io::ReplySocket replies_;
  std::unique_ptr<io::KernelSegmenter> segmenter_;
  std::atomic<bool> use_segmenter_{false};
  forward::Pipeline pipeline_;
  std::thread thread_;
};

}  // namespace vpc_conn::runtime
