// Where snapshots are published and read. A reader takes the current one up per batch with two atomic
// operations and no lock; the publisher frees a snapshot when every reader has gone past it.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <vector>

#include "forward/snapshot.h"

namespace vpc_conn::runtime {

class SnapshotBoard {
 public:
  static constexpr uint64_t kAway = ~uint64_t{0};

  explicit SnapshotBoard(size_t readers) : readers_(readers) {}
  // The readers have stopped.
  ~SnapshotBoard() = default;

  // JS thread. Takes ownership; frees what no reader can still hold.
  void Publish(std::unique_ptr<const forward::Snapshot> snapshot) {
    current_.store(snapshot.get(), std::memory_order_seq_cst);
    kept_.push_back(std::move(snapshot));
    const uint64_t oldest = Acknowledged();
    std::erase_if(kept_, [&](const auto& kept) {
      return kept->generation < oldest && kept.get() != current_.load(std::memory_order_relaxed);
    });
  }

  // The lowest generation that a reader may still use. Sleeping readers take the newest when they wake.
  uint64_t Acknowledged() const {
    const forward::Snapshot* current = current_.load(std::memory_order_seq_cst);
    uint64_t lowest = current == nullptr ? 0 : current->generation;
    for (const Reader& reader : readers_) {
      const uint64_t generation = reader.generation.load(std::memory_order_seq_cst);
      if (generation < lowest) lowest = generation;
    }
    return lowest;
  }

  // Reader `index`, at the start of each batch. Valid until its next Enter or Leave.
  const forward::Snapshot& Enter(size_t index) {
    std::atomic<uint64_t>& mine = readers_[index].generation;
    // Coming back from Leave: hold everything (0) before looking at the current one.
    if (mine.load(std::memory_order_relaxed) == kAway) mine.store(0, std::memory_order_seq_cst);
    const forward::Snapshot* snapshot = current_.load(std::memory_order_seq_cst);
    if (mine.load(std::memory_order_relaxed) != snapshot->generation) {
      mine.store(snapshot->generation, std::memory_order_release);
    }
    return *snapshot;
  }

  // The reader holds no snapshot: before it sleeps.
  void Leave(size_t index) { readers_[index].generation.store(kAway, std::memory_order_release); }

 private:
  struct alignas(64) Reader {
    std::atomic<uint64_t> generation{kAway};
  };
  std::atomic<const forward::Snapshot*> current_{nullptr};
  std::vector<Reader> readers_;
  std::vector<std::unique_ptr<const forward::Snapshot>> kept_;  // JS thread
};

}  // namespace vpc_conn::runtime
