// Memory that begins on a cache line.

#ifndef HEADWISE_WORKER_BACKENDS_CPU_ALIGNED_BUFFER_H_
#define HEADWISE_WORKER_BACKENDS_CPU_ALIGNED_BUFFER_H_

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <new>

namespace headwise {

// An array of T with indeterminate content, aligned to 64 bytes. Grows, never
// shrinks; growing loses the content. Pages are used when first written.
template <typename T>
class AlignedBuffer {
 public:
  AlignedBuffer() = default;
  explicit AlignedBuffer(int64_t size) { Reserve(size); }

  // At least `size` elements.
  void Reserve(int64_t size) {
    if (size <= capacity_) return;
    const size_t bytes = (static_cast<size_t>(size) * sizeof(T) + 63) & ~63ull;
    data_.reset(static_cast<T*>(std::aligned_alloc(64, bytes)));
    if (data_ == nullptr) throw std::bad_alloc();
    capacity_ = size;
  }
  T* data() { return data_.get(); }
  const T* data() const { return data_.get(); }
  int64_t capacity() const { return capacity_; }

 private:
  struct Free {
    void operator()(T* p) const { std::free(p); }
  };
  std::unique_ptr<T, Free> data_;
  int64_t capacity_ = 0;  // elements
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_BACKENDS_CPU_ALIGNED_BUFFER_H_
