// A large array of zeros whose pages cost no memory until they are written: tables are sized for their bound,
// and pay for what is in use.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>
#include <type_traits>

namespace vpc_conn::forward {

// T is made of integers and atomics of integers: all zeros is its first value.
template <typename T>
class ZeroedArray {
  static_assert(std::is_trivially_destructible_v<T>);

 public:
  // Throws std::bad_alloc.
  explicit ZeroedArray(size_t count) : storage_(std::calloc(count * sizeof(T) + alignof(T), 1)) {
    if (!storage_) throw std::bad_alloc();
    const auto start = reinterpret_cast<uintptr_t>(storage_.get());
    first_ = reinterpret_cast<T*>((start + alignof(T) - 1) & ~uintptr_t{alignof(T) - 1});
  }

  T& operator[](size_t i) { return first_[i]; }
  const T& operator[](size_t i) const { return first_[i]; }

 private:
  struct Free {
    void operator()(void* storage) const { std::free(storage); }
  };
  std::unique_ptr<void, Free> storage_;
  T* first_;
};

}  // namespace vpc_conn::forward
