// Frames on their way out, gathered until one system call sends them all. Each is one or more pieces: a head
// (virtio header, then headers) and payload that stays where the kernel delivered it.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>

#include "wire/virtio_net.h"

namespace vpc_conn::forward {

// Laid out as struct iovec, so that io/ passes it to the kernel as it is.
struct Piece {
  void* base;
  size_t length;
};

class OutBatch;

// Sends a batch and empties it. Implemented by the ports in io/.
class Flusher {
 public:
  virtual ~Flusher() = default;
  virtual void Flush(OutBatch& batch) = 0;
};

class OutBatch {
 public:
  static constexpr uint32_t kFrames = 64;
  static constexpr uint32_t kPieces = 48;      // a super-frame of 64 KiB has 45 segments of 1448 bytes
  static constexpr uint32_t kHeadBytes = 256;  // virtio 10 + outer 56 + inner 14 + 60 + 60, rounded

  explicit OutBatch(Flusher& flusher) : flusher_(flusher) {}

  // A whole frame in place: its virtio header (zero) is written into the 10 bytes before `frame`.
  void AddInPlace(uint8_t* frame, uint32_t length) {
    std::memset(frame - sizeof(wire::VirtioNetHeader), 0, sizeof(wire::VirtioNetHeader));
    pieces_[count_][0] = {frame - sizeof(wire::VirtioNetHeader), length + sizeof(wire::VirtioNetHeader)};
    piece_counts_[count_] = 1;
    Added(length);
  }

  // The same with a virtio header that says how the kernel is to segment it.
  void AddSuperFrame(uint8_t* frame, uint32_t length, const wire::VirtioNetHeader& header) {
    std::memcpy(frame - sizeof header, &header, sizeof header);
    pieces_[count_][0] = {frame - sizeof header, length + sizeof header};
    piece_counts_[count_] = 1;
    Added(length);
  }

  // Scratch for the head of the next frame: write the headers from the returned pointer on, then AddSegment.
  uint8_t* Head() { return heads_[count_].data() + sizeof(wire::VirtioNetHeader); }

  void AddSegment(uint32_t head_length, const uint8_t* payload, uint32_t payload_length) {
    uint8_t* head = heads_[count_].data();
    std::memset(head, 0, sizeof(wire::VirtioNetHeader));
    pieces_[count_][0] = {head, head_length + sizeof(wire::VirtioNetHeader)};
    pieces_[count_][1] = {const_cast<uint8_t*>(payload), payload_length};
    piece_counts_[count_] = payload_length == 0 ? 1 : 2;
    Added(head_length + payload_length);
  }

  // More payload for frame `i`, which has fewer than kPieces pieces.
  void AppendPiece(uint32_t i, uint8_t* payload, uint32_t length) {
    pieces_[i][piece_counts_[i]++] = {payload, length};
    lengths_[i] += length;
  }
  void SetVirtioHeader(uint32_t i, const wire::VirtioNetHeader& header) {
    std::memcpy(pieces_[i][0].base, &header, sizeof header);
  }

  void Flush() {
    if (count_ != 0) flusher_.Flush(*this);
  }
  void Clear() { count_ = 0; }

  uint32_t count() const { return count_; }
  const Piece* pieces(uint32_t i) const { return pieces_[i].data(); }
  uint32_t piece_count(uint32_t i) const { return piece_counts_[i]; }
  // Bytes on the wire, without the virtio header.
  uint32_t length(uint32_t i) const { return lengths_[i]; }

 private:
  void Added(uint32_t length) {
    lengths_[count_] = length;
    if (++count_ == kFrames) flusher_.Flush(*this);
  }

  Flusher& flusher_;
  uint32_t count_ = 0;
  std::array<std::array<Piece, kPieces>, kFrames> pieces_;
  std::array<uint32_t, kFrames> piece_counts_;
  std::array<uint32_t, kFrames> lengths_;
  std::array<std::array<uint8_t, kHeadBytes>, kFrames> heads_;
};

}  // namespace vpc_conn::forward
