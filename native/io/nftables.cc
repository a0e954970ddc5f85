#include "io/nftables.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>
#include <cstdint>
#include <cstring>
#include <mutex>
#include <string_view>

#include "io/system_error.h"
#include "io/unique_fd.h"

namespace vpc_conn::io {
namespace {

// The few functions of libnftables(3) that are used; the ABI of libnftables.so.1.
struct Library {
  nft_ctx* (*ctx_new)(uint32_t flags);
  void (*ctx_free)(nft_ctx* context);
  int (*ctx_buffer_output)(nft_ctx* context);
  int (*ctx_buffer_error)(nft_ctx* context);
  const char* (*ctx_get_output_buffer)(nft_ctx* context);
  const char* (*ctx_get_error_buffer)(nft_ctx* context);
  int (*run_cmd_from_buffer)(nft_ctx* context, const char* commands);
};

constexpr const char* kMissing =
    "libnftables is missing; install the package nftables (apt-get install nftables)";

template <typename Function>
void Resolve(void* handle, const char* name, Function& function) {
  void* const symbol = ::dlsym(handle, name);
  if (symbol == nullptr) throw NftablesMissing(kMissing);
  function = reinterpret_cast<Function>(symbol);
}

Library Load() {
  // Never closed: the library keeps data of its own that contexts share.
  void* const handle = ::dlopen("libnftables.so.1", RTLD_NOW | RTLD_LOCAL);
  if (handle == nullptr) throw NftablesMissing(kMissing);
  Library library;
  Resolve(handle, "nft_ctx_new", library.ctx_new);
  Resolve(handle, "nft_ctx_free", library.ctx_free);
  Resolve(handle, "nft_ctx_buffer_output", library.ctx_buffer_output);
  Resolve(handle, "nft_ctx_buffer_error", library.ctx_buffer_error);
  Resolve(handle, "nft_ctx_get_output_buffer", library.ctx_get_output_buffer);
  Resolve(handle, "nft_ctx_get_error_buffer", library.ctx_get_error_buffer);
  Resolve(handle, "nft_run_cmd_from_buffer", library.run_cmd_from_buffer);
  return library;
}

const Library& GetLibrary() {
  static const Library library = Load();  // a failure is tried again next time
  return library;
}

// libnftables caches interfaces and symbols in static variables: contexts of several threads take turns.
std::mutex& LibraryMutex() {
  static std::mutex mutex;
  return mutex;
}

// libnftables ends the whole process when it gets no netlink socket; so ask for one first.
void ProbeNetfilterSocket() {
  const UniqueFd probe(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER));
  if (!probe.valid()) throw SystemError(errno, "socket");
}

int SocketOption(int fd, int option) {
  int value = -1;
  socklen_t size = sizeof value;
  return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) < 0 ? -1 : value;
}

// libmnl's socket is inherited by child processes, and a child that outlives us would keep the tables alive.
// The library does not tell its descriptor, and no other netfilter socket of ours is meant for children.
void CloseNetfilterSocketsOnExec() {
  const std::unique_ptr<DIR, decltype([](DIR* dir) { ::closedir(dir); })> listing(::opendir("/proc/self/fd"));
  if (!listing) throw SystemError(errno, "opendir");
  while (const dirent* entry = ::readdir(listing.get())) {
    const char* const end = entry->d_name + std::strlen(entry->d_name);
    int fd = -1;
    if (std::from_chars(entry->d_name, end, fd).ptr != end) continue;
    if (SocketOption(fd, SO_DOMAIN) != AF_NETLINK || SocketOption(fd, SO_PROTOCOL) != NETLINK_NETFILTER)
      continue;
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) < 0) throw SystemError(errno, "fcntl");
  }
}

// nft's first line says what is wrong; the others quote the command with carets under it.
NftablesRefused Refusal(const std::string& complaint, int error) {
  constexpr std::string_view kPrefix = "Error: ";
  std::string line = complaint.substr(0, complaint.find('\n'));
  if (line.starts_with(kPrefix)) line.erase(0, kPrefix.size());
  if (line.empty()) line = "nft gives no reason";
  // errno is the kernel's verdict only where nft quotes it; a syntax error leaves any value there.
  const bool quoted = error != 0 && line.find(std::strerror(error)) != std::string::npos;
  return {line, quoted ? error : 0};
}

}  // namespace

Nftables::Nftables() {
  const std::lock_guard lock(LibraryMutex());
  const Library& library = GetLibrary();
  ProbeNetfilterSocket();
  context_.reset(library.ctx_new(0));
  if (!context_ || library.ctx_buffer_output(context_.get()) != 0 ||
      library.ctx_buffer_error(context_.get()) != 0) {
    context_.reset();
    throw SystemError(ENOMEM, "nft_ctx_new");
  }
  CloseNetfilterSocketsOnExec();
}

Nftables::~Nftables() {
  const std::lock_guard lock(LibraryMutex());
  context_.reset();
}

std::string Nftables::Run(const std::string& commands) {
  const std::lock_guard lock(LibraryMutex());
  const Library& library = GetLibrary();
  errno = 0;
  const int result = library.run_cmd_from_buffer(context_.get(), commands.c_str());
  const int error = errno;
  // Reading a buffer is also what empties it for the next run.
  std::string output = library.ctx_get_output_buffer(context_.get());
  const std::string complaint = library.ctx_get_error_buffer(context_.get());
  if (result != 0) throw Refusal(complaint, error);
  return output;
}

void Nftables::Free::operator()(nft_ctx* context) const {
  GetLibrary().ctx_free(context);
}

}  // namespace vpc_conn::io
