#include "runtime/data_plane.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <stdexcept>

#include "forward/flow_label.h"
#include "forward/segment.h"
#include "io/socket_filter.h"
#include "io/transmitter.h"
#include "runtime/clock.h"

namespace vpc_conn::runtime {

using forward::Counter;
using forward::DropReason;

DataPlane::DataPlane(DataPlaneOptions options, std::function<void()> wake)
    : options_(std::move(options)), board_(size_t{options_.workers} * 2), events_(std::move(wake)) {
  shared_.next_fragment_id = static_cast<uint16_t>(std::random_device()());  // nothing to guess (RFC 7739)
  for (const char* direction : {"encap/", "decap/"}) {
    for (uint32_t i = 0; i < options_.workers; i++) {
      worker_names_.push_back(direction + std::to_string(i));
    }
  }
}

DataPlane::~DataPlane() {
  Close();
}

uint64_t DataPlane::PublishTable(forward::TableContents contents) {
  const auto gone = peer_ids_.Assign(contents.peers);
  if (!gone) {
    throw std::length_error("more than " + std::to_string(forward::kMaxPeers) + " peers");
  }
  shared_.bindings.Configure({contents.masquerade_first_port, contents.masquerade_last_port,
                              contents.masquerade_addresses, contents.masquerade_flows});
  for (const uint16_t id : *gone) shared_.bindings.DropPeer(id);
  table_ = std::make_shared<const forward::ForwardingTable>(std::move(contents));
  // Tunnel scopes count peers by their place in the table, which may have changed.
  std::erase_if(neighbors_, [](const auto& record) { return record.scope >= forward::kScopeTunnel; });
  const uint64_t generation = PublishSnapshot();
  if (strip_) strip_->SetPeers(table_->peers(), table_->contents().underlay_mac);
  if (overlay_sender_) overlay_sender_->SetAllMulticast(table_->carries_ipv6());
  SetOverlayFilters();
  if (!carrier_) SetUnderlayFilters();
  return generation;
}

uint64_t DataPlane::PublishNeighbors(std::vector<forward::NeighborRecord> records) {
  neighbors_ = std::move(records);
  return table_ ? PublishSnapshot() : generation_;
}

uint64_t DataPlane::PublishSnapshot() {
  auto snapshot = forward::BuildSnapshot(++generation_, table_, neighbors_);
  outer_ = snapshot->outer;
  if (carrier_) {
    // From here on the kernel carries nothing that the new snapshot would not.
    carrier_->flows().Renew(*snapshot);
    carrier_->Open(table_->contents(), generation_);
  }
  for (const auto& known : known_encap_) known->Suspend(generation_);
  board_.Publish(std::move(snapshot));
  for (const auto& worker : workers_) worker->Kick();
  return generation_;
}

void DataPlane::SetOverlayFilters() {
  const forward::TableContents& contents = table_->contents();
  for (uint32_t i = 0; i < workers_.size() && i < options_.workers; i++) {
    workers_[i]->SetOverlayFilter(
        {contents.overlay_address, table_->masquerades_overlay_address(), contents.masquerade_first_port,
         contents.masquerade_last_port, contents.overlay_address6},
        contents.overlay_mac);
  }
}

void DataPlane::SetUnderlayFilters() {
  const auto marker = strip_ ? std::optional(strip_->marker()) : std::nullopt;
  for (size_t i = options_.workers; i < workers_.size(); i++) {
    if (carrier_) {
      workers_[i]->SetUnderlayFilter(carrier_->filter(static_cast<uint32_t>(i - options_.workers)));
    } else {
      workers_[i]->SetUnderlayFilter(marker, table_->tunnels_over_ipv6());
    }
  }
}

void DataPlane::Start() {
  if (!workers_.empty()) return;
  if (!table_) throw std::logic_error("no table published");
  try {
    overlay_sender_.emplace(options_.overlay, io::PacketSocket::Use::send);
    underlay_sender_.emplace(options_.underlay, io::PacketSocket::Use::send);
    overlay_sender_->SetAllMulticast(table_->carries_ipv6());
    if (options_.xdp_strip) StartDecapsulation();
    if (options_.known_encap && options_.kernel_segmentation) StartEncapsulation();
    StartWorkers();
    // Last: stripped frames need a worker that knows the marker.
    if (strip_) strip_->SetPeers(table_->peers(), table_->contents().underlay_mac);
  } catch (...) {
    Close();
    stop_.Drain();  // another Start may work
    throw;
  }
}

// Whatever of it does not work here is no reason not to start.
void DataPlane::StartDecapsulation() {
  const auto works = [this](auto start) {
    try {
      start();
      return true;
    } catch (const io::SystemError& error) {
      decapsulation_.why = error.what();
      decapsulation_.error = error.error();
    } catch (const std::exception& error) {
      decapsulation_.why = error.what();
    }
    return false;
  };
  decapsulation_ = {};
  if (table_->tunnels_over_ipv6()) {
    decapsulation_.why = "the underlay is IPv6, and the XDP program takes off IPv4 headers only";
    return;
  }
  if (!works([this] { strip_.emplace(options_.underlay); })) return;
  decapsulation_.part = Decapsulation::Part::stripped;
  const bool carries = works(
      [this] { carrier_.emplace(options_.overlay, options_.underlay, strip_->marker(), options_.workers); });
  if (!carries) return;
  carrier_->flows().Begin(generation_);
  carrier_->Open(table_->contents(), generation_);
  decapsulation_.part = Decapsulation::Part::carried;
}

void DataPlane::StartEncapsulation() {
  why_no_known_encap_.clear();
  if (table_->tunnels_over_ipv6()) {
    why_no_known_encap_ = "over IPv6 only the workers encapsulate";
    return;
  }
  try {
    for (uint32_t i = 0; i < options_.workers; i++) {
      known_encap_.push_back(std::make_unique<io::KnownEncap>(options_.overlay, options_.underlay.index));
      known_encap_.back()->Suspend(generation_);
    }
  } catch (const std::exception& error) {  // no reason not to start
    known_encap_.clear();
    why_no_known_encap_ = error.what();
  }
}

void DataPlane::StartWorkers() {
  const auto inner =
      table_->tunnels_over_ipv6() ? io::FanoutBy::inner_over_ipv6 : io::FanoutBy::inner_over_ipv4;
  for (const bool encap : {true, false}) {
    std::optional<uint16_t> fanout;
    for (uint32_t i = 0; i < options_.workers; i++) {
      const size_t index = workers_.size();
      workers_.push_back(std::make_unique<Worker>(
          WorkerOptions{.name = worker_names_[index],
                        .direction = encap ? forward::Direction::encap : forward::Direction::decap,
                        .receive_on = encap ? options_.overlay : options_.underlay,
                        .send_on = encap ? options_.underlay : options_.overlay,
                        .spin_microseconds = options_.spin_microseconds,
                        .reader = index,
                        .kernel_segmentation = encap && options_.kernel_segmentation,
                        .strip_marker = encap || !strip_ ? 0 : strip_->marker(),
                        .handover = encap || !carrier_ ? nullptr : &carrier_->handover(i),
                        .known_encap = encap && !known_encap_.empty() ? known_encap_[i].get() : nullptr},
          shared_, board_, events_, stop_));
      if (options_.workers > 1) {
        fanout = workers_.back()->receive_socket().JoinFanout(
            fanout, io::FlowFanout(encap ? io::FanoutBy::outer : inner));
      }
    }
  }
  // Only now that nothing can fail any more: threads and traffic.
  for (uint32_t i = 0; i < options_.workers; i++) {
    workers_[i]->SetSibling(*workers_[options_.workers + i]);
    workers_[options_.workers + i]->SetSibling(*workers_[i]);
  }
  for (const auto& worker : workers_) worker->Start();
  SetOverlayFilters();
  SetUnderlayFilters();
}

bool DataPlane::Send(uint16_t scope, std::span<const uint8_t> frame) {
  const auto drop = [this](DropReason reason) {
    slow_path_.Drop(reason);
    return false;
  };
  if (!overlay_sender_ || !underlay_sender_) return drop(DropReason::interface_down);
  std::array<uint8_t, forward::kHeadroom> head{};
  size_t head_bytes = sizeof(wire::VirtioNetHeader);
  const io::PacketSocket& socket = scope == forward::kScopeOverlay ? *overlay_sender_ : *underlay_sender_;
  const forward::Peer* peer = nullptr;
  if (scope >= forward::kScopeTunnel) {
    const size_t index = scope - forward::kScopeTunnel;
    if (index >= outer_.size()) return drop(DropReason::unknown_peer);
    if (!outer_[index].resolved) return drop(DropReason::neighbor_unresolved);
    peer = &table_->peers()[index];
    forward::WriteOuterHeader(head.data() + head_bytes, outer_[index], static_cast<uint32_t>(frame.size()), 0,
                              forward::kNoFlow);
    head_bytes += outer_[index].length;
  }
  const iovec pieces[2] = {{head.data(), head_bytes}, {const_cast<uint8_t*>(frame.data()), frame.size()}};
  if (writev(socket.fd(), pieces, 2) < 0) return drop(io::ReasonOfSendError(errno));
  slow_path_.Add(Counter::tx_frames);
  slow_path_.Add(Counter::tx_bytes, head_bytes - sizeof(wire::VirtioNetHeader) + frame.size());
  if (peer != nullptr) {
    slow_path_.AddPeer(peer->id, forward::PeerCounter::tx_packets, 1);
    slow_path_.AddPeer(peer->id, forward::PeerCounter::tx_bytes, frame.size());
  }
  return true;
}

void DataPlane::UseKernelSegmentation(bool use) {
  for (const auto& worker : workers_) worker->UseKernelSegmentation(use);
}

Worker::Segmentation DataPlane::segmentation() const {
  Worker::Segmentation all = Worker::Segmentation::user_space;
  for (size_t i = 0; i < workers_.size() && i < options_.workers; i++) {
    all = workers_[i]->segmentation();
    if (all != Worker::Segmentation::kernel) return all;
  }
  return all;
}

void DataPlane::ReadCounters(std::span<uint64_t> into) const {
  std::fill(into.begin(), into.end(), 0);
  for (size_t row = 0; row <= worker_names_.size(); row++) {
    if (row >= workers_.size() && row != worker_names_.size()) continue;  // not started
    const auto& block = row == worker_names_.size() ? slow_path_ : workers_[row]->counters();
    for (size_t i = 0; i < forward::kCounters; i++) {
      into[row * forward::kCounters + i] = block.values[i].load(std::memory_order_relaxed);
    }
  }
  const size_t row = worker_names_.size() * forward::kCounters;
  for (const auto& known : known_encap_) AddKnownCounts(into.subspan(row, forward::kCounters), *known);
  if (carrier_) carrier_->AddCounters(into.subspan(row, forward::kCounters));
  if (!strip_) return;
  // Dropped by the XDP program, before any worker.
  const uint64_t forged = strip_->ReadCounts().spoofed;
  into[row + static_cast<size_t>(Counter::rx_frames)] += forged;
  into[row + forward::kPlainCounters + static_cast<size_t>(DropReason::forged_marker)] += forged;
}

void DataPlane::AddKnownCounts(std::span<uint64_t> row, const io::KnownEncap& known) const {
  const auto add = [&](Counter counter, uint64_t by) { row[static_cast<size_t>(counter)] += by; };
  const auto drop = [&](DropReason reason, uint64_t by) {
    row[forward::kPlainCounters + static_cast<size_t>(reason)] += by;
  };
  for (uint32_t id = 0; id < forward::kMaxPeers; id++) {  // of gone peers, too
    const known_count counts = known.ReadCounts(id);
    if (counts.frames == 0) continue;
    add(Counter::rx_frames, counts.frames);
    add(Counter::rx_bytes, counts.frame_bytes);
    add(Counter::forwarded, counts.frames);
    add(Counter::carried_by_kernel, counts.frames);
    add(Counter::tx_frames, counts.sent_frames);
    add(Counter::tx_bytes, counts.sent_bytes + counts.sent_frames * wire::kOuterHeaders);
    drop(DropReason::tx_busy, counts.busy);
    drop(DropReason::interface_down, counts.down);
    drop(DropReason::tx_failed, counts.failed);
  }
  // Chosen, and gone before it was sent.
  add(Counter::rx_frames, known.lost());
  drop(DropReason::tx_failed, known.lost());
  add(Counter::ring_lost, known.ReadCounts(KNOWN_SHED).frames);
}

void DataPlane::ReadPeerCounters(std::span<uint64_t> into) const {
  std::fill(into.begin(), into.end(), 0);
  const auto add = [&](const forward::CounterBlock& block, const forward::Peer& peer, size_t row) {
    for (size_t i = 0; i < forward::kPeerCounters; i++) {
      uint64_t& sum = into[row * forward::kPeerCounters + i];
      const uint64_t value = block.peers[peer.id][i].load(std::memory_order_relaxed);
      const bool latest = static_cast<forward::PeerCounter>(i) == forward::PeerCounter::last_rx_seconds;
      sum = latest ? std::max(sum, value) : sum + value;
    }
  };
  for (size_t row = 0; row < peer_count(); row++) {
    const forward::Peer& peer = table_->peers()[row];
    for (const auto& worker : workers_) add(worker->counters(), peer, row);
    for (const auto& known : known_encap_) {
      const known_count counts = known->ReadCounts(peer.id);
      uint64_t* const values = &into[row * forward::kPeerCounters];
      values[static_cast<size_t>(forward::PeerCounter::tx_packets)] += counts.frames;
      values[static_cast<size_t>(forward::PeerCounter::tx_bytes)] += counts.frame_bytes;
    }
    add(slow_path_, peer, row);
    if (carrier_) {
      carrier_->AddPeerCounters(peer.id, into.subspan(row * forward::kPeerCounters, forward::kPeerCounters));
    }
  }
}

void DataPlane::ReadLoads(std::span<uint64_t> into) const {
  std::fill(into.begin(), into.end(), 0);
  for (size_t row = 0; row < workers_.size(); row++) {
    const auto values = into.subspan(row * kLoadValues, kLoadValues);
    values[0] = workers_[row]->CpuNanoseconds();
    for (size_t i = 0; i < LatencyHistogram::kBuckets; i++) values[1 + i] = workers_[row]->latency()[i];
  }
}

std::optional<io::XdpStrip::Counts> DataPlane::strip_counts() const {
  if (!strip_) return std::nullopt;
  return strip_->ReadCounts();
}

DataPlane::Decapsulation DataPlane::decapsulation() const {
  Decapsulation now = decapsulation_;
  if (strip_ && !strip_->attached()) {
    return {Decapsulation::Part::none, "somebody took the XDP program off " + options_.underlay.name, 0};
  }
  if (carrier_ && carrier_->lost() != 0) {
    now.part = Decapsulation::Part::stripped;
    now.why = "another program at the ingress of " + options_.underlay.name + " takes frames away";
  }
  return now;
}

DataPlane::Encapsulation DataPlane::encapsulation() const {
  if (known_encap_.empty()) return {false, why_no_known_encap_};
  for (const auto& known : known_encap_) {
    if (known->lost() != 0) {
      return {false, "another program at the ingress of " + options_.overlay.name + " takes frames away"};
    }
  }
  return {true, ""};
}

void DataPlane::MarkNeighborUse() {
  if (carrier_) carrier_->flows().MarkUsed(shared_.neighbor_use.get());
}

void DataPlane::Close() {
  strip_.reset();
  stop_.Signal();
  for (const auto& worker : workers_) worker->Join();
  workers_.clear();
  carrier_.reset();
  known_encap_.clear();
  overlay_sender_.reset();
  underlay_sender_.reset();
}

}  // namespace vpc_conn::runtime
