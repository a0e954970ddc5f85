// Random packets, time and reloads through the tables and the model side by side.
#pragma once

#include <doctest/doctest.h>

#include <memory>
#include <random>

#include "bindings_model.h"
#include "wire/l4.h"

namespace vpc_conn::forward {

using test::NatModel;
using Outcome = Bindings::Outcome;

constexpr std::array<uint64_t, 2> kSeed = {0x1234567890abcdef, 0xfedcba0987654321};
constexpr uint32_t kPool = 0x0a000005;
constexpr NearEndpoint kNear{0x0a00000a, 443};
constexpr uint8_t kSyn = wire::kTcpSyn, kAck = wire::kTcpAck, kFin = wire::kTcpFin, kRst = wire::kTcpRst;

inline std::unique_ptr<Bindings> Make(uint16_t first, uint16_t last, uint32_t flows = 1024,
                                      std::vector<uint32_t> addresses = {kPool}) {
  auto bindings = std::make_unique<Bindings>(kSeed);
  bindings->Configure({first, last, std::move(addresses), flows});
  return bindings;
}

inline std::vector<Bindings::Row> AllRows(const Bindings& bindings, uint32_t now) {
  std::vector<Bindings::Row> rows;
  for (uint32_t from = 0;;) {
    const auto page = bindings.Rows(from, 100, now);
    rows.insert(rows.end(), page.rows.begin(), page.rows.end());
    if (page.next == 0) return rows;
    from = page.next;
  }
}

inline std::optional<uint16_t> PortOf(Bindings& bindings, NatProtocol protocol, const FarEndpoint& far,
                                      uint32_t now, const NearEndpoint& near = kNear, uint8_t flags = 0) {
  const auto [outcome, mapping] = bindings.FromFar(protocol, far, near, flags, now);
  if (outcome != Outcome::mapped) return std::nullopt;
  return mapping.port;
}

inline NatModel::Far KeyOf(NatProtocol protocol, const FarEndpoint& far) {
  return {protocol, far.peer_id, far.address, far.port};
}

// Model and tables after the same steps: the same flows with the same ages and states, and lookups agree.
inline void Compare(const Bindings& bindings, const NatModel& model, uint32_t now) {
  const auto rows = AllRows(bindings, now);
  REQUIRE(rows.size() == model.flows());
  for (const auto& row : rows) {
    const auto binding = model.bindings.find(KeyOf(row.protocol, row.far));
    REQUIRE(binding != model.bindings.end());
    REQUIRE(binding->second.here == NatModel::Here{row.protocol, row.mapping.address, row.mapping.port});
    const auto flow = binding->second.flows.find({row.near.address, row.near.port});
    REQUIRE(flow != binding->second.flows.end());
    REQUIRE(row.idle_seconds == now - flow->second.used);
    if (row.protocol != NatProtocol::tcp) continue;
    const FlowState state = FlowStateOf(row.protocol, row.tcp_seen);
    REQUIRE((state == FlowState::closing) == flow->second.tcp.closing());
    REQUIRE((state == FlowState::established) == flow->second.tcp.established());
  }
}

class RandomRun {
 public:
  explicit RandomRun(unsigned seed) : random_(seed) {
    model_.first = static_cast<uint16_t>(2000 + random_() % 1000);
    model_.last = static_cast<uint16_t>(model_.first + random_() % 12);
    for (uint32_t i = 0; i <= random_() % 3; i++) model_.addresses.push_back(kPool + i);
    model_.flow_limit = 4 + random_() % 60;
    bindings_ = Make(model_.first, model_.last, model_.flow_limit, model_.addresses);
  }

  void Step() {
    switch (random_() % 10) {
      case 0:
        now_ += random_() % 4 == 0 ? random_() % 8000 : random_() % 100;
        model_.Expire(now_);
        CheckUse(bindings_->Sweep(now_));
        break;
      case 1:
        now_ += random_() % 30;  // without a sweep: what ran out may still be there
        break;
      case 2:
      case 3:
        FromNear();
        break;
      case 4:
        Lookups();
        break;
      case 5:
        if (random_() % 20 == 0) DropPeer();
        if (random_() % 20 == 0) Reconfigure();
        break;
      default:
        FromFar();
    }
    Compare(*bindings_, model_, now_);
  }

 private:
  NatProtocol SomeProtocol() { return static_cast<NatProtocol>(random_() % 3); }
  FarEndpoint SomeFar() {
    // Few hosts, one of them much busier than the others.
    const uint32_t host = random_() % 3 == 0 ? random_() % 4 : 0;
    return {static_cast<uint16_t>(random_() % 2), host,
            static_cast<uint16_t>(model_.first - 4 + random_() % 24)};
  }
  NearEndpoint SomeNear(NatProtocol protocol) {
    return {static_cast<uint32_t>(random_() % 3),
            static_cast<uint16_t>(protocol == NatProtocol::icmp ? 0 : random_() % 3)};
  }
  uint8_t SomeFlags(NatProtocol protocol) {
    if (protocol != NatProtocol::tcp) return 0;
    constexpr uint8_t kLikely[] = {kSyn,        kSyn | kAck, kAck, kAck,       kAck,
                                   kFin | kAck, kFin | kAck, kRst, kRst | kAck};
    return kLikely[random_() % std::size(kLikely)];
  }

  void CheckUse(const Bindings::InUse& use) const {
    REQUIRE(use.bindings == model_.bindings.size());
    REQUIRE(use.flows == model_.flows());
  }

  void FromFar() {
    const NatProtocol protocol = SomeProtocol();
    const FarEndpoint far = SomeFar();
    const NearEndpoint near = SomeNear(protocol);
    const uint8_t flags = SomeFlags(protocol);
    const auto key = KeyOf(protocol, far);
    const NatModel::Near near_key{near.address, near.port};
    const auto known = model_.bindings.find(key);
    const bool flow_known = known != model_.bindings.end() && known->second.flows.count(near_key) != 0;
    const bool new_binding = known == model_.bindings.end();

    const auto [outcome, mapping] = bindings_->FromFar(protocol, far, near, flags, now_);
    std::set<std::pair<NatModel::Far, NatModel::Near>> present;
    for (const auto& row : AllRows(*bindings_, now_)) {
      present.insert({KeyOf(row.protocol, row.far), {row.near.address, row.near.port}});
    }
    if (!flow_known) {
      if (const auto victims = model_.FlowVictims(key, now_)) {
        REQUIRE((outcome == Outcome::flows_full) == victims->empty());
        if (victims->empty()) return;
        const auto gone = std::find_if(victims->begin(), victims->end(),
                                       [&](const auto& victim) { return present.count(victim) == 0; });
        REQUIRE(gone != victims->end());
        model_.Erase(gone->first, gone->second);
      }
      if (new_binding) {
        if (const auto victims = model_.BindingVictims(key, now_)) {
          REQUIRE((outcome == Outcome::bindings_full) == victims->empty());
          if (victims->empty()) return;
          const auto gone = std::find_if(victims->begin(), victims->end(), [&](const auto& victim) {
            return std::none_of(present.begin(), present.end(),
                                [&](const auto& one) { return one.first == victim; });
          });
          REQUIRE(gone != victims->end());
          model_.bindings.erase(*gone);
        }
      }
    }
    REQUIRE(outcome == Outcome::mapped);
    const NatModel::Here here{protocol, mapping.address, mapping.port};
    if (new_binding) {
      CheckChoice(key, here);
      model_.bindings[key].here = here;
      model_.paired[NatModel::HostOf(key)] = mapping.address;
    } else {
      REQUIRE(known->second.here == here);  // RFC 4787 REQ-1
    }
    auto& flow = model_.bindings[key].flows[near_key];
    flow.used = now_;
    if (protocol == NatProtocol::tcp) flow.tcp.See(flags, true);
  }

  void CheckChoice(const NatModel::Far& far, const NatModel::Here& here) const {
    const auto [protocol, address, port] = here;
    REQUIRE(port >= model_.first);
    REQUIRE(port <= model_.last);
    REQUIRE(std::count(model_.addresses.begin(), model_.addresses.end(), address) == 1);
    REQUIRE(!model_.Taken(here));  // RFC 4787 REQ-3: no overloading
    // RFC 4787 REQ-3, REQ-4: preserved where it is free, else of the same parity where one is.
    const uint16_t wanted = std::get<3>(far);
    if (wanted >= model_.first && wanted <= model_.last && !model_.Taken({protocol, address, wanted})) {
      REQUIRE(port == wanted);
    }
    if (((port ^ wanted) & 1) != 0) {
      for (uint32_t other = model_.first; other <= model_.last; other++) {
        if (((other ^ wanted) & 1) == 0)
          REQUIRE(model_.Taken({protocol, address, static_cast<uint16_t>(other)}));
      }
    }
    // RFC 4787 REQ-2: from the address that its host has already, as long as that has a port.
    const auto host = NatModel::HostOf(far);
    if (model_.FlowsOf(host) == 0) return;
    const uint32_t paired = model_.paired.at(host);
    if (std::count(model_.addresses.begin(), model_.addresses.end(), paired) == 0 || paired == address)
      return;
    for (uint32_t other = model_.first; other <= model_.last; other++) {
      REQUIRE(model_.Taken({protocol, paired, static_cast<uint16_t>(other)}));
    }
  }

  void FromNear() {
    const NatProtocol protocol = SomeProtocol();
    const NearEndpoint near = SomeNear(protocol);
    const uint8_t flags = SomeFlags(protocol);
    const Mapping mapping{kPool + static_cast<uint32_t>(random_() % 3),
                          static_cast<uint16_t>(model_.first + random_() % 14)};
    const NatModel::Here here{protocol, mapping.address, mapping.port};
    const auto far = bindings_->FarOf(protocol, mapping);
    REQUIRE(far.has_value() == model_.Taken(here));
    bindings_->FromNear(protocol, mapping, near, flags, now_);
    if (!far) return;
    auto& binding = model_.bindings.at(KeyOf(protocol, *far));
    REQUIRE(binding.here == here);
    const auto flow = binding.flows.find({near.address, near.port});
    if (flow == binding.flows.end()) return;  // whoever sends there reaches it, and leaves no trace
    flow->second.used = now_;
    if (protocol == NatProtocol::tcp) flow->second.tcp.See(flags, false);
  }

  void Lookups() {
    const NatProtocol protocol = SomeProtocol();
    const FarEndpoint far = SomeFar();
    const auto mapping = bindings_->MappingOf(protocol, far);
    const auto known = model_.bindings.find(KeyOf(protocol, far));
    REQUIRE(mapping.has_value() == (known != model_.bindings.end()));
    if (mapping) REQUIRE(known->second.here == NatModel::Here{protocol, mapping->address, mapping->port});
  }

  void DropPeer() {
    bindings_->DropPeer(1);
    std::erase_if(model_.bindings, [](const auto& entry) { return std::get<1>(entry.first) == 1; });
  }

  // RFC 4787 REQ-11: what stays within the limits stays as it is.
  void Reconfigure() {
    model_.first = static_cast<uint16_t>(model_.first + random_() % 3);
    model_.last = static_cast<uint16_t>(std::max<uint32_t>(model_.first, model_.last + random_() % 5 - 2));
    std::shuffle(model_.addresses.begin(), model_.addresses.end(), random_);
    if (model_.addresses.size() > 1 && random_() % 2 == 0) model_.addresses.pop_back();
    bindings_->Configure({model_.first, model_.last, model_.addresses, model_.flow_limit});
    std::erase_if(model_.bindings, [&](const auto& entry) {
      const auto [protocol, address, port] = entry.second.here;
      return port < model_.first || port > model_.last ||
             std::count(model_.addresses.begin(), model_.addresses.end(), address) == 0;
    });
  }

  std::mt19937 random_;
  NatModel model_;
  std::unique_ptr<Bindings> bindings_;
  uint32_t now_ = 1000;
};

}  // namespace vpc_conn::forward
