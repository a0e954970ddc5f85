// A hash map for tables that are built once and then only read: open addressing, one probe in the usual case,
// no allocation after Reserve. Keys are 64-bit integers, or a type with Empty() and MixHash(); the empty key
// is not a key.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace vpc_conn::forward {

inline uint64_t MixHash(uint64_t key) {
  key ^= key >> 32;
  key *= 0x9e3779b97f4a7c15ULL;
  return key ^ (key >> 29);
}

template <typename Key>
inline constexpr Key kEmptyFlatKey = Key::Empty();
template <>
inline constexpr uint64_t kEmptyFlatKey<uint64_t> = ~uint64_t{0};

template <typename Value, typename Key = uint64_t>
class FlatMap {
 public:
  static constexpr Key kEmptyKey = kEmptyFlatKey<Key>;

  FlatMap() { Reserve(0); }

  // Room for `count` keys at a load of one half at most. Empties the map.
  void Reserve(size_t count) {
    size_t capacity = 8;
    while (capacity < count * 2) capacity *= 2;
    slots_.assign(capacity, Slot{kEmptyKey, Value{}});
    mask_ = capacity - 1;
    size_ = 0;
  }

  // Adds or replaces. The caller reserved enough.
  void Put(const Key& key, const Value& value) {
    Slot* slot = Probe(key);
    if (slot->key == kEmptyKey) size_++;
    *slot = Slot{key, value};
  }

  const Value* Find(const Key& key) const {
    for (size_t i = MixHash(key) & mask_;; i = (i + 1) & mask_) {
      const Slot& slot = slots_[i];
      if (slot.key == key) return &slot.value;
      if (slot.key == kEmptyKey) return nullptr;
    }
  }

  size_t size() const { return size_; }

 private:
  struct Slot {
    Key key;
    Value value;
  };

  Slot* Probe(const Key& key) {
    for (size_t i = MixHash(key) & mask_;; i = (i + 1) & mask_) {
      if (slots_[i].key == key || slots_[i].key == kEmptyKey) return &slots_[i];
    }
  }

  std::vector<Slot> slots_;
  size_t mask_ = 0;
  size_t size_ = 0;
};

}  // namespace vpc_conn::forward
