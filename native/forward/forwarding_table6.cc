#include "forward/forwarding_table6.h"

#include <algorithm>
#include <utility>

namespace vpc_conn::forward {

void ForwardingTable6::Build(std::vector<ProxiedEntry6> proxied,
                             const std::vector<wire::Ipv6Address>& reserved) {
  proxied_ = std::move(proxied);
  lengths_.clear();
  by_address_.Reserve(proxied_.size());
  by_host_.Reserve(proxied_.size());
  for (uint32_t i = 0; i < proxied_.size(); i++) {
    const ProxiedEntry6& entry = proxied_[i];
    const wire::Ipv6Address mask = wire::Ipv6Mask(entry.prefix_length);
    by_address_.Put(EncapKey(entry.address & mask, entry.prefix_length), i);
    by_host_.Put(DecapKey(entry.peer, entry.host & mask, entry.prefix_length), i);
    if (std::find(lengths_.begin(), lengths_.end(), entry.prefix_length) == lengths_.end()) {
      lengths_.push_back(entry.prefix_length);
    }
  }
  std::sort(lengths_.rbegin(), lengths_.rend());
  reserved_.Reserve(reserved.size());
  for (const wire::Ipv6Address& address : reserved) reserved_.Put({address, 0}, 1);
}

std::optional<ForwardingTable6::FarHost> ForwardingTable6::FarHostOf(
    const wire::Ipv6Address& destination) const {
  for (uint8_t length : lengths_) {
    const wire::Ipv6Address mask = wire::Ipv6Mask(length);
    if (const uint32_t* index = by_address_.Find(EncapKey(destination & mask, length))) {
      const ProxiedEntry6& entry = proxied_[*index];
      return FarHost{entry.peer, (entry.host & mask) | (destination & ~mask)};
    }
  }
  return std::nullopt;
}

std::optional<wire::Ipv6Address> ForwardingTable6::ProxiedAddressOf(uint16_t peer,
                                                                    const wire::Ipv6Address& far_host) const {
  for (uint8_t length : lengths_) {
    const wire::Ipv6Address mask = wire::Ipv6Mask(length);
    if (const uint32_t* index = by_host_.Find(DecapKey(peer, far_host & mask, length))) {
      const ProxiedEntry6& entry = proxied_[*index];
      const wire::Ipv6Address proxied = (entry.address & mask) | (far_host & ~mask);
      // A longer prefix may have given this address to another host: what answers to it would go there.
      if (lengths_.size() > 1) {
        const auto back = FarHostOf(proxied);
        if (!back || back->peer != peer || back->address != far_host) return std::nullopt;
      }
      return proxied;
    }
  }
  return std::nullopt;
}

}  // namespace vpc_conn::forward
