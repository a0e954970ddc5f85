// The data plane: workers, what they share, and the slow path's own sockets. Everything but the workers'
// loops runs on the JS thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "forward/context.h"
#include "io/event_fd.h"
#include "io/flow_carrier.h"
#include "io/packet_socket.h"
#include "io/xdp_strip.h"
#include "runtime/event_queue.h"
#include "runtime/peer_ids.h"
#include "runtime/snapshot_board.h"
#include "runtime/worker.h"

namespace vpc_conn::runtime {

struct DataPlaneOptions {
  io::Interface overlay;
  io::Interface underlay;
  uint32_t workers = 1;  // per direction
  uint32_t spin_microseconds = 50;
  bool kernel_segmentation = false;
  // Encap: the kernel carries plain packets of known pairs, if that works here; with kernel_segmentation
  // alone.
  bool known_encap = false;
  // Decap: outer headers come off in the driver and the kernel carries known flows, as far as that works
  // here.
  bool xdp_strip = false;
};

class DataPlane {
 public:
  static constexpr uint32_t kMaxWorkers = 64;

  // `wake`: events have arrived; called on a worker's thread, must not block.
  DataPlane(DataPlaneOptions options, std::function<void()> wake);
  ~DataPlane();

  // The peers' ids are filled in here. Returns the generation. Throws std::length_error with too many peers.
  uint64_t PublishTable(forward::TableContents contents);
  uint64_t PublishNeighbors(std::vector<forward::NeighborRecord> records);

  // Opens sockets, maps rings, starts threads. Throws io::SystemError, and leaves nothing behind then.
  void Start();
  uint64_t AcknowledgedGeneration() const { return board_.Acknowledged(); }

  // Sends an Ethernet frame of the slow path; into the tunnel for scopes from kScopeTunnel on. False: dropped
  // and counted.
  bool Send(uint16_t scope, std::span<const uint8_t> frame);

  // Whether encap workers give super-frames to the kernel whole. Only where the option asked for it at the
  // start.
  void UseKernelSegmentation(bool use);
  Worker::Segmentation segmentation() const;
  // What XDP stripped so far, and the forgeries it dropped; nullopt: it is not attached.
  std::optional<io::XdpStrip::Counts> strip_counts() const;
  // How far decapsulation is the kernel's, and why no further; `why` is empty where nothing failed. `error`:
  // an errno, 0: none.
  struct Decapsulation {
    enum class Part { none, stripped, carried } part = Part::none;
    std::string why;
    int error = 0;
  };
  Decapsulation decapsulation() const;
  // Whether the kernel carries known pairs, and why not; `why` is empty where nothing failed.
  struct Encapsulation {
    bool carried = false;
    std::string why;
  };
  Encapsulation encapsulation() const;
  // Puts the time that the kernel last sent to a neighbor into shared().neighbor_use.
  void MarkNeighborUse();

  std::vector<Event> TakeEvents() { return events_.Take(); }

  const std::vector<std::string>& worker_names() const { return worker_names_; }
  // One row of forward::kCounters per worker, then the slow path's.
  void ReadCounters(std::span<uint64_t> into) const;
  // One row of forward::kPeerCounters per peer of the newest table.
  void ReadPeerCounters(std::span<uint64_t> into) const;
  // One row of kLoadValues per worker.
  void ReadLoads(std::span<uint64_t> into) const;
  size_t peer_count() const { return table_ ? table_->peers().size() : 0; }
  // The newest one; nullptr: none was published.
  const forward::ForwardingTable* table() const { return table_.get(); }

  forward::SharedState& shared() { return shared_; }

  // Stops and joins, unmaps, closes. Bounded, idempotent.
  void Close();

 private:
  uint64_t PublishSnapshot();
  void StartDecapsulation();
  void StartEncapsulation();
  void StartWorkers();
  void SetOverlayFilters();
  void SetUnderlayFilters();
  void AddKnownCounts(std::span<uint64_t> row, const io::KnownEncap& known) const;

  const DataPlaneOptions options_;
  forward::SharedState shared_;
  PeerIds peer_ids_;
  std::shared_ptr<const forward::ForwardingTable> table_;
  std::vector<forward::NeighborRecord> neighbors_;
  std::vector<forward::OuterHeader> outer_;  // of the newest snapshot, for Send
  uint64_t generation_ = 0;
  std::vector<std::string> worker_names_;
  forward::CounterBlock slow_path_;

  Decapsulation decapsulation_;
  std::string why_no_known_encap_;

  // Teardown order, the reverse of these members: Close signals stop_; workers_ join and free their rings;
  // then the slow path's sockets, the queue and the board, which no thread uses any more.
  SnapshotBoard board_;
  EventQueue events_;
  io::EventFd stop_;
  std::optional<io::FlowCarrier> carrier_;
  std::vector<std::unique_ptr<io::KnownEncap>> known_encap_;  // one per encap worker, or none
  std::optional<io::XdpStrip> strip_;
  std::optional<io::PacketSocket> overlay_sender_;
  std::optional<io::PacketSocket> underlay_sender_;
  std::vector<std::unique_ptr<Worker>> workers_;
};

}  // namespace vpc_conn::runtime
