// libnftables, loaded when it is first needed: commands in nft's own syntax, without nft's process, because a
// table with `flags owner` lives exactly as long as the netlink socket that made it. No napi.
#pragma once

#include <memory>
#include <stdexcept>
#include <string>

struct nft_ctx;

namespace vpc_conn::io {

// libnftables.so.1 cannot be loaded.
class NftablesMissing : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

// nft's own first line about commands that it, or the kernel, does not take.
class NftablesRefused : public std::runtime_error {
 public:
  NftablesRefused(const std::string& line, int error) : std::runtime_error(line), error_(error) {}
  // The kernel's errno; 0 when the commands did not get that far.
  int error() const { return error_; }

 private:
  int error_;
};

// A context of libnftables with its one netlink socket, in the network namespace of the thread that made it.
// Any thread, one at a time.
class Nftables {
 public:
  // Throws NftablesMissing, or SystemError when the kernel has no netfilter netlink.
  Nftables();
  // Tables with `flags owner` vanish before this returns.
  ~Nftables();
  Nftables(const Nftables&) = delete;
  Nftables& operator=(const Nftables&) = delete;

  // One transaction: all of the commands or, with NftablesRefused thrown, none. Returns what they print.
  std::string Run(const std::string& commands);

 private:
  struct Free {
    void operator()(nft_ctx* context) const;
  };
  std::unique_ptr<nft_ctx, Free> context_;
};

}  // namespace vpc_conn::io
