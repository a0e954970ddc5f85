#include "runtime/worker.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <cstring>
#include <utility>

#include "runtime/clock.h"

namespace vpc_conn::runtime {

namespace {

// Slots taken before they are given back: large enough to fill a send batch, small enough that the kernel
// never runs out of free ones meanwhile.
constexpr uint32_t kReceiveBatch = 128;
// Wakes without cause only to expire held frames and to read losses.
constexpr int kSleepMilliseconds = 1000;

}  // namespace

Worker::Worker(WorkerOptions options, forward::SharedState& shared, SnapshotBoard& board, EventQueue& events,
               const io::EventFd& stop)
    : options_(std::move(options)),
      board_(board),
      queue_(events),
      stop_(stop),
      events_(events, counters_),
      receive_(options_.receive_on, io::PacketSocket::Use::receive),
      send_(options_.send_on, io::PacketSocket::Use::send),
      ring_(receive_, receive_.Mtu() + wire::kEthernetHeader),
      transmitter_(send_, counters_),
      replies_(receive_, counters_),
      pipeline_(options_.direction, shared, counters_, events_, transmitter_) {
  if (options_.kernel_segmentation) {
    segmenter_ = std::make_unique<io::KernelSegmenter>(options_.send_on.index, counters_);
    use_segmenter_ = true;
  }
  pipeline_.SetReplySender(&replies_);
  pipeline_.SetStripMarker(options_.strip_marker);
  receive_.Bind();
}

Worker::~Worker() {
  Join();
}

void Worker::Join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::Start(const std::vector<sock_filter>& filter) {
  // Signals belong to the JS thread; the new thread inherits a full mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread_.native_handle(), options_.name.substr(0, 15).c_str());
  receive_.SetFilter(filter);
}

Worker::Segmentation Worker::segmentation() const {
  if (!segmenter_ || !use_segmenter_.load(std::memory_order_relaxed)) return Segmentation::user_space;
  return segmenter_->broken() ? Segmentation::broken : Segmentation::kernel;
}

void Worker::Run() {
  uint64_t generation = 0;
  uint32_t last_second = 0;
  for (;;) {
    const forward::Snapshot& snapshot = board_.Enter(options_.reader);
    const uint32_t now = MonotonicSeconds();
    events_.SetTime(now);
    if (pipeline_.holding() && (snapshot.generation != generation || now != last_second)) {
      pipeline_.RetryHeld(snapshot, now);
    }
    generation = snapshot.generation;
    pipeline_.SetSuperFrameSender(use_segmenter_.load(std::memory_order_relaxed) ? segmenter_.get()
                                                                                 : nullptr);
    if (now != last_second || ring_.losing()) CountLosses();
    last_second = now;
    if (ReceiveBatch(snapshot, now) != 0) continue;
    if (SpinForFrame()) continue;
    board_.Leave(options_.reader);
    if (!Sleep()) break;
  }
  board_.Leave(options_.reader);
}

uint32_t Worker::ReceiveBatch(const forward::Snapshot& snapshot, uint32_t now_seconds) {
  uint32_t count = 0;
  forward::ReceivedFrame frame;
  while (count < kReceiveBatch) {
    const io::RxRing::Next next = ring_.Take(frame);
    if (next == io::RxRing::Next::none) break;
    count++;
    pipeline_.Process(frame, snapshot, now_seconds);
    if (next == io::RxRing::Next::large) pipeline_.Flush();
  }
  if (count != 0) {
    pipeline_.Flush();
    ring_.Release();
    counters_.Add(forward::Counter::batches);
  }
  return count;
}

// A sleeping thread costs 35 to 40 us to wake; frames that follow each other closely are worth waiting for.
bool Worker::SpinForFrame() {
  if (options_.spin_microseconds == 0) return false;
  const uint64_t end = MonotonicNanoseconds() + uint64_t{options_.spin_microseconds} * 1000;
  do {
    sched_yield();
    if (ring_.Ready()) return true;
  } while (MonotonicNanoseconds() < end);
  return false;
}

bool Worker::Sleep() {
  counters_.Add(forward::Counter::sleeps);
  pollfd fds[3] = {{receive_.fd(), POLLIN, 0}, {stop_.get(), POLLIN, 0}, {kick_.get(), POLLIN, 0}};
  if (poll(fds, 3, kSleepMilliseconds) < 0 && errno != EINTR) {
    Fail(errno, "poll");
    return false;
  }
  if (fds[1].revents != 0) return false;
  if (fds[2].revents != 0) kick_.Drain();
  if ((fds[0].revents & POLLNVAL) != 0) {
    Fail(EBADF, "poll");
    return false;
  }
  if ((fds[0].revents & (POLLERR | POLLHUP)) != 0) {
    // The interface went down: the error is told once, and frames come again when it is up. When it is gone
    // for good the control plane learns so from netlink.
    receive_.TakeError();
  }
  return true;
}

void Worker::CountLosses() {
  ring_.ClearLosing();
  if (const uint32_t lost = receive_.TakeRingLosses()) counters_.Add(forward::Counter::ring_lost, lost);
}

void Worker::Fail(int error, const char* what) {
  queue_.Push({.kind = Event::Kind::worker_failed,
               .worker = options_.name,
               .error = error,
               .message = std::string(what) + ": " + std::strerror(error)});
}

}  // namespace vpc_conn::runtime
