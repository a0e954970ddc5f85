#include "runtime/data_plane.h"

#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <random>
#include <stdexcept>

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

void DataPlane::Start() {
  if (!workers_.empty()) return;
  if (!table_) throw std::logic_error("no table published");
  try {
    overlay_sender_.emplace(options_.overlay, io::PacketSocket::Use::send);
    underlay_sender_.emplace(options_.underlay, io::PacketSocket::Use::send);
    overlay_sender_->SetAllMulticast(table_->carries_ipv6());
    if (options_.xdp_strip) StartDecapsulation();
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
  if (!works([this] { strip_.emplace(options_.underlay); })) return;
  decapsulation_.part = Decapsulation::Part::stripped;
  const bool carries = works(
      [this] { carrier_.emplace(options_.overlay, options_.underlay, strip_->marker(), options_.workers); });
  if (!carries) return;
  carrier_->flows().Begin(generation_);
  carrier_->Open(table_->contents(), generation_);
  decapsulation_.part = Decapsulation::Part::carried;
}

void DataPlane::StartWorkers() {
  for (const bool encap : {true, false}) {
    uint16_t fanout = 0;
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
                        .known_encap = encap && options_.known_encap,
                        .strip_marker = encap || !strip_ ? 0 : strip_->marker(),
                        .handover = encap || !carrier_ ? nullptr : &carrier_->handover(i)},
          shared_, board_, events_, stop_));
      if (options_.workers > 1) {
        fanout = workers_.back()->receive_socket().JoinFanout(fanout, io::FlowFanout(!encap));
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
  const auto marker = strip_ ? std::optional(strip_->marker()) : std::nullopt;
  for (uint32_t i = 0; i < options_.workers; i++) {
    Worker& decap = *workers_[options_.workers + i];
    if (carrier_) {
      decap.SetUnderlayFilter(carrier_->filter(i));
    } else {
      decap.SetUnderlayFilter(marker);
    }
  }
}

bool DataPlane::Send(uint16_t scope, std::span<const uint8_t> frame) {
  const auto drop = [this](DropReason reason) {
    slow_path_.Drop(reason);
    return false;
  };
  if (!overlay_sender_ || !underlay_sender_) return drop(DropReason::interface_down);
  std::array<uint8_t, sizeof(wire::VirtioNetHeader) + wire::kOuterHeaders> head{};
  size_t head_bytes = sizeof(wire::VirtioNetHeader);
  const io::PacketSocket& socket = scope == forward::kScopeOverlay ? *overlay_sender_ : *underlay_sender_;
  const forward::Peer* peer = nullptr;
  if (scope >= forward::kScopeTunnel) {
    const size_t index = scope - forward::kScopeTunnel;
    if (index >= outer_.size()) return drop(DropReason::unknown_peer);
    if (!outer_[index].resolved) return drop(DropReason::neighbor_unresolved);
    peer = &table_->peers()[index];
    forward::WriteOuterHeader(head.data() + head_bytes, outer_[index], static_cast<uint32_t>(frame.size()),
                              0);
    head_bytes += wire::kOuterHeaders;
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
    if (row < workers_.size() && workers_[row]->known_encap() != nullptr) {
      AddKnownCounts(into.subspan(row * forward::kCounters, forward::kCounters),
                     *workers_[row]->known_encap());
    }
  }
  const size_t row = worker_names_.size() * forward::kCounters;
  if (carrier_) carrier_->AddCounters(into.subspan(row, forward::kCounters));
  if (!strip_) return;
  // Dropped by the XDP program, before any worker.
  const uint64_t forged = strip_->ReadCounts().spoofed;
  into[row + static_cast<size_t>(Counter::rx_frames)] += forged;
  into[row + forward::kPlainCounters + static_cast<size_t>(DropReason::forged_marker)] += forged;
}

// What the kernel carried counts as if the worker had.
void DataPlane::AddKnownCounts(std::span<uint64_t> row, const io::KnownEncap& known) const {
  const auto add = [&](Counter counter, uint64_t by) { row[static_cast<size_t>(counter)] += by; };
  uint64_t frames = 0;
  for (uint32_t id = 0; id < forward::kMaxPeers; id++) {  // of gone peers, too
    const auto counts = known.ReadCounts(id);
    if (counts.frames == 0) continue;
    frames += counts.frames;
    add(Counter::rx_frames, counts.frames);
    add(Counter::rx_bytes, counts.frame_bytes);
    add(Counter::tx_frames, counts.packets);
    add(Counter::tx_bytes, counts.bytes + counts.packets * wire::kOuterHeaders);
  }
  const uint64_t failed = known.ReadCounts(KNOWN_FAILED).frames;
  add(Counter::forwarded, frames - failed);
  add(Counter::carried_by_kernel, frames - failed);
  row[forward::kPlainCounters + static_cast<size_t>(DropReason::tx_failed)] += failed;
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
    for (const auto& worker : workers_) {
      add(worker->counters(), peer, row);
      if (worker->known_encap() == nullptr) continue;
      const auto counts = worker->known_encap()->ReadCounts(peer.id);
      uint64_t* const values = &into[row * forward::kPeerCounters];
      values[static_cast<size_t>(forward::PeerCounter::tx_packets)] += counts.packets;
      values[static_cast<size_t>(forward::PeerCounter::tx_bytes)] += counts.bytes;
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

void DataPlane::MarkNeighborUse() {
  if (carrier_) carrier_->flows().MarkUsed(shared_.neighbor_use.get());
}

void DataPlane::Close() {
  strip_.reset();
  stop_.Signal();
  for (const auto& worker : workers_) worker->Join();
  workers_.clear();
  carrier_.reset();
  overlay_sender_.reset();
  underlay_sender_.reset();
}

}  // namespace vpc_conn::runtime
