// What is promised of masquerade, without a word on how: plain maps, looked through from end to end.
#pragma once

#include <algorithm>
#include <map>
#include <optional>
#include <set>
#include <tuple>
#include <vector>

#include "forward/bindings.h"

namespace vpc_conn::test {

struct NatModel {
  using Bindings = forward::Bindings;
  using NatProtocol = forward::NatProtocol;
  using Host = std::tuple<uint16_t, uint32_t>;                        // peer, address
  using Far = std::tuple<NatProtocol, uint16_t, uint32_t, uint16_t>;  // protocol, peer, address, port
  using Here = std::tuple<NatProtocol, uint32_t, uint16_t>;           // protocol, address, port
  using Near = std::tuple<uint32_t, uint16_t>;

  struct Tcp {
    bool ack_far = false, ack_near = false, fin_far = false, fin_near = false, reset = false;
    bool closing() const { return reset || (fin_far && fin_near); }
    bool established() const { return !closing() && ack_far && ack_near; }
    void See(uint8_t flags, bool far) {
      const bool syn = flags & 2, rst = flags & 4, ack = flags & 16, fin = flags & 1;
      if (rst) {
        *this = {};
        reset = true;
        return;
      }
      if (syn && !ack && closing()) {
        *this = {};
        return;
      }
      (far ? ack_far : ack_near) |= ack;
      (far ? fin_far : fin_near) |= fin;
      if (ack_far && ack_near) reset = false;
    }
  };
  struct Flow {
    Tcp tcp;
    uint32_t used = 0;
  };
  struct Binding {
    Here here;
    std::map<Near, Flow> flows;
  };

  uint16_t first = 0, last = 0;
  std::vector<uint32_t> addresses;
  uint32_t flow_limit = 0;
  std::map<Far, Binding> bindings;
  std::map<Host, uint32_t> paired;  // as of the last binding

  static Host HostOf(const Far& far) { return {std::get<1>(far), std::get<2>(far)}; }
  static uint32_t Timeout(NatProtocol protocol, const Flow& flow) {
    if (protocol == NatProtocol::udp) return 300;
    if (protocol == NatProtocol::icmp) return 60;
    return flow.tcp.established() ? 7440 : 240;
  }
  uint32_t flows() const {
    size_t sum = 0;
    for (const auto& [far, binding] : bindings) sum += binding.flows.size();
    return static_cast<uint32_t>(sum);
  }
  uint32_t hosts_with(const Host& one) const {
    std::set<Host> all{one};
    for (const auto& [far, binding] : bindings) all.insert(HostOf(far));
    return static_cast<uint32_t>(all.size());
  }
  uint32_t Share(uint32_t capacity, const Host& host) const {
    return std::max(capacity / (hosts_with(host) + 1), 1u);
  }
  uint32_t FlowsOf(const Host& host) const {
    size_t sum = 0;
    for (const auto& [far, binding] : bindings) sum += HostOf(far) == host ? binding.flows.size() : 0;
    return static_cast<uint32_t>(sum);
  }
  uint32_t BindingsOf(NatProtocol protocol, const Host* host) const {
    return static_cast<uint32_t>(std::count_if(bindings.begin(), bindings.end(), [&](const auto& entry) {
      return std::get<0>(entry.first) == protocol && (host == nullptr || HostOf(entry.first) == *host);
    }));
  }
  bool Taken(const Here& here) const {
    return std::any_of(bindings.begin(), bindings.end(),
                       [&](const auto& entry) { return entry.second.here == here; });
  }

  // 0: stays; else what goes first: expired, closed, half-open or UDP beyond two minutes; then the longest
  // idle.
  using Age = std::pair<int, uint32_t>;
  static Age AgeOf(NatProtocol protocol, const Flow& flow, uint32_t now) {
    const uint32_t idle = now - flow.used;
    if (idle > Timeout(protocol, flow)) return {3, idle};
    if (protocol == NatProtocol::tcp) {
      if (flow.tcp.closing()) return {2, idle};
      return flow.tcp.established() ? Age{0, 0} : Age{1, idle};
    }
    return protocol == NatProtocol::udp && idle >= 120 ? Age{1, idle} : Age{0, 0};
  }
  static bool MayDisplace(Age age, bool same, uint32_t held, uint32_t other, uint32_t share) {
    return age.first == 3 || same || (held < share && other > share);
  }

  // The flows of which one has to go for a new one of `far`; nullopt: none has to. Empty: none may.
  std::optional<std::set<std::pair<Far, Near>>> FlowVictims(const Far& far, uint32_t now) const {
    const Host host = HostOf(far);
    const uint32_t used = flows(), held = FlowsOf(host), share = Share(flow_limit, host);
    if (used < flow_limit - flow_limit / 8 || (used < flow_limit && held < share)) return std::nullopt;
    std::set<std::pair<Far, Near>> victims;
    Age oldest{0, 0};
    for (const auto& [other, binding] : bindings) {
      if (other == far && binding.flows.size() == 1) continue;
      for (const auto& [near, flow] : binding.flows) {
        const Age age = AgeOf(std::get<0>(other), flow, now);
        if (age.first == 0 || age < oldest) continue;
        if (!MayDisplace(age, HostOf(other) == host, held, FlowsOf(HostOf(other)), share)) continue;
        if (oldest < age) victims.clear();
        oldest = age;
        victims.insert({other, near});
      }
    }
    return victims;
  }
  std::optional<std::set<Far>> BindingVictims(const Far& far, uint32_t now) const {
    const NatProtocol protocol = std::get<0>(far);
    const Host host = HostOf(far);
    const auto capacity = static_cast<uint32_t>((last - first + 1) * addresses.size());
    const uint32_t used = BindingsOf(protocol, nullptr), held = BindingsOf(protocol, &host),
                   share = Share(capacity, host);
    if (used < capacity - capacity / 8 || (used < capacity && held < share)) return std::nullopt;
    std::set<Far> victims;
    Age oldest{0, 0};
    for (const auto& [other, binding] : bindings) {
      if (std::get<0>(other) != protocol || binding.flows.size() > 8) continue;
      Age age{255, 0};
      for (const auto& [near, flow] : binding.flows) age = std::min(age, AgeOf(protocol, flow, now));
      if (age.first == 0 || age < oldest) continue;
      const Host other_host = HostOf(other);
      if (!MayDisplace(age, other_host == host, held, BindingsOf(protocol, &other_host), share)) continue;
      if (oldest < age) victims.clear();
      oldest = age;
      victims.insert(other);
    }
    return victims;
  }

  void Erase(const Far& far, const Near& near) {
    auto& flows = bindings.at(far).flows;
    flows.erase(near);
    if (flows.empty()) bindings.erase(far);
  }
  void Expire(uint32_t now) {
    for (auto& [far, binding] : bindings) {
      std::erase_if(binding.flows, [&, protocol = std::get<0>(far)](const auto& entry) {
        return now - entry.second.used > Timeout(protocol, entry.second);
      });
    }
    std::erase_if(bindings, [](const auto& entry) { return entry.second.flows.empty(); });
  }
};

}  // namespace vpc_conn::test
