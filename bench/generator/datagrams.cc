// Sends and counts UDP datagrams for the bench: batches of sendmmsg and recvmmsg, so that the generator
// itself costs as little as a user-space program can, and the same for every contender.
//
//   datagrams send ADDRESS PORT RUN SIZES RATE SECONDS
//       SIZES: payload bytes, repeated in turn, e.g. 64 or 36,36,548 (at least 12). RATE: datagrams a second,
//       0 = flat out. Ends with one line of JSON: { sent, refused, bytes, seconds }.
//   datagrams receive ADDRESS PORT RUN
//       Prints "listening". When its standard input ends it waits until nothing has arrived for 100 ms and
//       ends with { packets, bytes, reordered, socketDrops, seconds } of that run.
//
// A datagram carries the number of its run and its place in it: stragglers of an earlier run do not count.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cinttypes>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

namespace {

constexpr size_t kBatch = 64;
constexpr size_t kLargest = 9216;
constexpr int kQuietMilliseconds = 100;

struct Stamp {
  uint32_t run;
  uint64_t sequence;
} __attribute__((packed));

[[noreturn]] void Fail(const char* what) {
  std::fprintf(stderr, "datagrams: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

double Now() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<double>(now.tv_sec) + static_cast<double>(now.tv_nsec) / 1e9;
}

sockaddr_in Address(const char* host, const char* port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  if (inet_pton(AF_INET, host, &address.sin_addr) != 1) {
    errno = EINVAL;
    Fail(host);
  }
  return address;
}

int Socket() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) Fail("socket");
  return fd;
}

// One batch: its messages point into its own buffers.
class Batch {
 public:
  Batch() : storage_(kBatch * kLargest) {
    for (size_t i = 0; i < kBatch; i++) {
      pieces_[i] = {storage_.data() + i * kLargest, kLargest};
      messages_[i].msg_hdr.msg_iov = &pieces_[i];
      messages_[i].msg_hdr.msg_iovlen = 1;
    }
  }
  Batch(const Batch&) = delete;
  Batch& operator=(const Batch&) = delete;

  uint8_t* data(size_t i) { return static_cast<uint8_t*>(pieces_[i].iov_base); }
  void set_length(size_t i, size_t length) { pieces_[i].iov_len = length; }
  size_t length(size_t i) const { return messages_[i].msg_len; }
  msghdr& header(size_t i) { return messages_[i].msg_hdr; }
  mmsghdr* messages() { return messages_.data(); }

 private:
  std::vector<uint8_t> storage_;
  std::array<iovec, kBatch> pieces_{};
  std::array<mmsghdr, kBatch> messages_{};
};

std::vector<size_t> Sizes(std::string_view text) {
  std::vector<size_t> sizes;
  while (!text.empty()) {
    const size_t comma = std::min(text.find(','), text.size());
    const size_t size = std::strtoul(std::string(text.substr(0, comma)).c_str(), nullptr, 10);
    sizes.push_back(std::clamp(size, sizeof(Stamp), kLargest));
    text.remove_prefix(std::min(comma + 1, text.size()));
  }
  if (sizes.empty()) sizes.push_back(64);
  return sizes;
}

int Send(char** arguments) {
  const sockaddr_in to = Address(arguments[0], arguments[1]);
  const uint32_t run = static_cast<uint32_t>(std::strtoul(arguments[2], nullptr, 10));
  const std::vector<size_t> sizes = Sizes(arguments[3]);
  const double rate = std::atof(arguments[4]);
  const double seconds = std::atof(arguments[5]);

  const int fd = Socket();
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) Fail("connect");
  // Paced runs sleep until the next datagram is due; the default slack of 50 us would make bursts of it.
  prctl(PR_SET_TIMERSLACK, 1000UL, 0UL, 0UL, 0UL);

  Batch batch;
  uint64_t sent = 0;
  uint64_t refused = 0;
  uint64_t bytes = 0;
  const double start = Now();
  double now = start;
  while ((now = Now()) - start < seconds) {
    size_t count = kBatch;
    if (rate > 0) {
      const double due = (now - start) * rate - static_cast<double>(sent + refused);
      if (due < 1) {
        const double wait = std::min((1 - due) / rate, seconds);
        timespec pause{};
        pause.tv_sec = static_cast<time_t>(wait);
        pause.tv_nsec = static_cast<long>((wait - static_cast<double>(pause.tv_sec)) * 1e9);
        nanosleep(&pause, nullptr);
        continue;
      }
      count = std::min(static_cast<size_t>(due), kBatch);
    }
    for (size_t i = 0; i < count; i++) {
      const uint64_t sequence = sent + refused + i;
      const Stamp stamp{run, sequence};
      std::memcpy(batch.data(i), &stamp, sizeof stamp);
      batch.set_length(i, sizes[sequence % sizes.size()]);
    }
    const int accepted = sendmmsg(fd, batch.messages(), static_cast<unsigned>(count), 0);
    if (accepted < 0) {
      // ECONNREFUSED and the like are answers to earlier datagrams; this one was not sent.
      if (errno != EINTR) refused++;
      continue;
    }
    for (int i = 0; i < accepted; i++) bytes += batch.length(static_cast<size_t>(i));
    sent += static_cast<uint64_t>(accepted);
  }
  std::printf("{\"sent\":%" PRIu64 ",\"refused\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"seconds\":%.6f}\n", sent,
              refused, bytes, now - start);
  return 0;
}

class Receiver {
 public:
  Receiver(const sockaddr_in& at, uint32_t run) : fd_(Socket()), run_(run) {
    const int room = 32 << 20;
    const int on = 1;
    setsockopt(fd_, SOL_SOCKET, SO_RCVBUFFORCE, &room, sizeof room);
    setsockopt(fd_, SOL_SOCKET, SO_RXQ_OVFL, &on, sizeof on);
    if (bind(fd_, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0) Fail("bind");
  }
  ~Receiver() { close(fd_); }
  Receiver(const Receiver&) = delete;
  Receiver& operator=(const Receiver&) = delete;

  int fd() const { return fd_; }

  // Takes whatever is there.
  void Drain() {
    for (;;) {
      for (size_t i = 0; i < kBatch; i++) {
        batch_.header(i).msg_control = controls_[i].data();
        batch_.header(i).msg_controllen = controls_[i].size();
      }
      const int count = recvmmsg(fd_, batch_.messages(), kBatch, MSG_DONTWAIT, nullptr);
      if (count <= 0) return;
      const double now = Now();
      for (size_t i = 0; i < static_cast<size_t>(count); i++) Count(i, now);
      if (static_cast<size_t>(count) < kBatch) return;
    }
  }

  void Report() const {
    std::printf("{\"packets\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"reordered\":%" PRIu64
                ",\"socketDrops\":%" PRIu32 ",\"seconds\":%.6f}\n",
                packets_, bytes_, reordered_, drops_, last_ - first_);
  }

 private:
  void Count(size_t i, double now) {
    msghdr& header = batch_.header(i);
    for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
      if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_RXQ_OVFL) {
        std::memcpy(&drops_, CMSG_DATA(c), sizeof drops_);
      }
    }
    if (batch_.length(i) < sizeof(Stamp)) return;
    Stamp stamp;
    std::memcpy(&stamp, batch_.data(i), sizeof stamp);
    if (stamp.run != run_) return;
    if (packets_++ == 0) first_ = now;
    last_ = now;
    bytes_ += batch_.length(i);
    if (stamp.sequence < next_) reordered_++;
    next_ = std::max(next_, stamp.sequence + 1);
  }

  const int fd_;
  const uint32_t run_;
  Batch batch_;
  std::array<std::array<char, CMSG_SPACE(sizeof(uint32_t))>, kBatch> controls_{};
  uint64_t packets_ = 0;
  uint64_t bytes_ = 0;
  uint64_t reordered_ = 0;
  uint64_t next_ = 0;
  uint32_t drops_ = 0;
  double first_ = 0;
  double last_ = 0;
};

int Receive(char** arguments) {
  const auto run = static_cast<uint32_t>(std::strtoul(arguments[2], nullptr, 10));
  Receiver receiver(Address(arguments[0], arguments[1]), run);
  std::puts("listening");
  std::fflush(stdout);
  bool ending = false;
  for (;;) {
    // A negative descriptor is skipped by poll.
    pollfd fds[2] = {{receiver.fd(), POLLIN, 0}, {ending ? -1 : STDIN_FILENO, POLLIN, 0}};
    const int ready = poll(fds, 2, ending ? kQuietMilliseconds : -1);
    if (ready < 0 && errno != EINTR) Fail("poll");
    if (ready == 0) break;
    if ((fds[0].revents & POLLIN) != 0) receiver.Drain();
    if ((fds[1].revents & (POLLIN | POLLHUP)) != 0) {
      char ignored[64];
      ending = read(STDIN_FILENO, ignored, sizeof ignored) <= 0;
    }
  }
  receiver.Report();
  return 0;
}

}  // namespace

int main(int count, char** arguments) {
  if (count == 8 && std::strcmp(arguments[1], "send") == 0) return Send(arguments + 2);
  if (count == 5 && std::strcmp(arguments[1], "receive") == 0) return Receive(arguments + 2);
  std::fputs(
      "usage: datagrams send ADDRESS PORT RUN SIZES RATE SECONDS | datagrams receive ADDRESS PORT RUN\n",
      stderr);
  return 2;
}
