#include "runtime/worker.h"

#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>

#include <cstring>
#include <span>
#include <utility>

#include "runtime/clock.h"

namespace vpc_conn::runtime {

namespace {

// Slots taken before they are given back: large enough to fill a send batch, small enough that the kernel
// never runs out of free ones meanwhile.
constexpr uint32_t kReceiveBatch = 128;
// Wakes without cause only to expire held frames and to read losses.
constexpr int kSleepMilliseconds = 1000;
// How many times the spin an answer is waited for.
constexpr uint32_t kAnswerSpins = 4;

}  // namespace

Worker::Worker(WorkerOptions options, forward::SharedState& shared, SnapshotBoard& board, EventQueue& events,
               const io::EventFd& stop)
    : options_(std::move(options)),
      shared_(shared),
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
  pipeline_.SetKnownPairs(options_.known_encap);
  pipeline_.SetStripMarker(options_.strip_marker);
  pipeline_.SetHandover(options_.handover);
  receive_.Bind();
}

Worker::~Worker() {
  Join();
}

void Worker::Join() {
  if (thread_.joinable()) thread_.join();
}

void Worker::Start() {
  // Signals belong to the JS thread; the new thread inherits a full mask.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(thread_.native_handle(), options_.name.substr(0, 15).c_str());
}

void Worker::SetOverlayFilter(const io::OverlayFilterOptions& options, const wire::Mac& overlay_mac) {
  if (options_.known_encap == nullptr) {
    receive_.SetFilter(io::OverlayFilter(options));
    return;
  }
  options_.known_encap->SetTable(options, overlay_mac);
  if (choosing_) return;
  receive_.SetFilter(options_.known_encap->filter());
  choosing_ = true;
  options_.known_encap->SetActive(use_segmenter_.load(std::memory_order_relaxed));
}

void Worker::UseKernelSegmentation(bool use) {
  use_segmenter_.store(use, std::memory_order_relaxed);
  // It relies on the same features of the underlay interface.
  if (options_.known_encap != nullptr) options_.known_encap->SetActive(use && choosing_);
}

Worker::Segmentation Worker::segmentation() const {
  if (!segmenter_ || !use_segmenter_.load(std::memory_order_relaxed)) return Segmentation::user_space;
  return segmenter_->broken() ? Segmentation::broken : Segmentation::kernel;
}

void Worker::Run() {
  uint64_t generation = 0;
  uint32_t last_second = 0;
  bool woken = false;  // by a frame, which was the first one after a pause
  for (;;) {
    const forward::Snapshot& snapshot = board_.Enter(options_.reader);
    const uint32_t now = MonotonicSeconds();
    events_.SetTime(now);
    if (pipeline_.holding() && (snapshot.generation != generation || now != last_second)) {
      pipeline_.RetryHeld(snapshot, now);
    }
    if (options_.known_encap != nullptr && (snapshot.generation != generation || now != last_second)) {
      options_.known_encap->Review(snapshot, shared_, now);
    }
    generation = snapshot.generation;
    pipeline_.SetSuperFrameSender(use_segmenter_.load(std::memory_order_relaxed) ? segmenter_.get()
                                                                                 : nullptr);
    if (now != last_second || ring_.losing()) CountLosses();
    last_second = now;
    if (ReceiveBatch(snapshot, now, woken) != 0) {
      if (expecting_.load(std::memory_order_relaxed)) {
        expecting_.store(false, std::memory_order_relaxed);
        waking_.Tried(true);
      }
      if (woken) WakeSibling();
      woken = false;
      continue;
    }
    if (options_.handover != nullptr) options_.handover->Heal(MonotonicNanoseconds());
    if (SpinForFrame()) continue;
    board_.Leave(options_.reader);
    if (!Sleep()) break;
    woken = true;
  }
  board_.Leave(options_.reader);
}

uint32_t Worker::ReceiveBatch(const forward::Snapshot& snapshot, uint32_t now_seconds, bool woken) {
  uint32_t count = 0;
  auto next = io::RxRing::Next::frame;
  while (next != io::RxRing::Next::none && count < kReceiveBatch) {
    uint32_t group = 0;
    // A large frame ends its group: there is but one buffer for them.
    do {
      next = ring_.Take(group_[group]);
      if (next != io::RxRing::Next::none) group++;
    } while (group < group_.size() && next != io::RxRing::Next::none && next != io::RxRing::Next::large);
    const auto frames = std::span(group_).first(group);
    pipeline_.LookAhead(frames, snapshot);
    for (forward::ReceivedFrame& frame : frames) pipeline_.Process(frame, snapshot, now_seconds);
    if (next == io::RxRing::Next::large) pipeline_.Flush();
    count += group;
  }
  if (count != 0) {
    pipeline_.Flush();
    TimeBatch(woken);
    ring_.Release();
    taken_ += count;
    if (options_.known_encap != nullptr) options_.known_encap->Done(taken_, lost_);
    counters_.Add(forward::Counter::batches);
  }
  return count;
}

void Worker::TimeBatch(bool woken) {
  const uint32_t weight = latency_sampling_.Weight(woken);
  if (weight == 0) return;
  const uint64_t arrival = ring_.OldestArrival();
  const uint64_t now = RealtimeNanoseconds();
  if (now >= arrival) latency_.Add(now - arrival, weight);  // else somebody has set the clock back
}

uint64_t Worker::CpuNanoseconds() {
  clockid_t clock;
  timespec used;
  if (!thread_.joinable() || pthread_getcpuclockid(thread_.native_handle(), &clock) != 0) return 0;
  if (clock_gettime(clock, &used) != 0) return 0;  // the thread has ended
  return static_cast<uint64_t>(used.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(used.tv_nsec);
}

// A sleeping thread costs 35 to 40 us to wake; frames that follow each other closely are worth waiting for.
bool Worker::SpinForFrame() {
  if (options_.spin_microseconds == 0) return false;
  const bool expecting = expecting_.exchange(false, std::memory_order_relaxed);
  Worth& worth = expecting ? waking_ : spinning_;
  if (!expecting && !worth.ShouldTry()) return false;
  // An answer is further away than the next frame of a burst: it passes two gateways and a host.
  const uint64_t microseconds = uint64_t{options_.spin_microseconds} * (expecting ? kAnswerSpins : 1);
  const uint64_t end = MonotonicNanoseconds() + microseconds * 1000;
  bool ready = false;
  do {
    sched_yield();
    ready = ring_.Ready();
  } while (!ready && MonotonicNanoseconds() < end);
  worth.Tried(ready);
  if (expecting) worth_waking_.store(waking_.worth_it(), std::memory_order_relaxed);
  return ready;
}

void Worker::WakeSibling() {
  if (sibling_ == nullptr || options_.spin_microseconds == 0) return;
  if (!sibling_->asleep_.load(std::memory_order_relaxed)) return;
  if (!sibling_->worth_waking_.load(std::memory_order_relaxed) && ++not_woken_ % Worth::kTryEvery != 0) {
    return;
  }
  sibling_->expecting_.store(true, std::memory_order_relaxed);
  sibling_->Kick();
}

bool Worker::Sleep() {
  counters_.Add(forward::Counter::sleeps);
  asleep_.store(true, std::memory_order_relaxed);
  pollfd fds[3] = {{receive_.fd(), POLLIN, 0}, {stop_.get(), POLLIN, 0}, {kick_.get(), POLLIN, 0}};
  const int ready = poll(fds, 3, kSleepMilliseconds);
  asleep_.store(false, std::memory_order_relaxed);
  if (ready < 0 && errno != EINTR) {
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
  if (const uint32_t lost = receive_.TakeRingLosses()) {
    counters_.Add(forward::Counter::ring_lost, lost);
    lost_ += lost;
    if (options_.handover != nullptr) options_.handover->Lost();
  }
  if (options_.known_encap != nullptr) options_.known_encap->Done(taken_, lost_);
}

void Worker::Fail(int error, const char* what) {
  queue_.Push({.kind = Event::Kind::worker_failed,
               .worker = options_.name,
               .error = error,
               .message = std::string(what) + ": " + std::strerror(error)});
}

}  // namespace vpc_conn::runtime
