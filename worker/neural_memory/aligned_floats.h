// Floats that begin on a cache line, as a value.

#ifndef HEADWISE_WORKER_NEURAL_MEMORY_ALIGNED_FLOATS_H_
#define HEADWISE_WORKER_NEURAL_MEMORY_ALIGNED_FLOATS_H_

#include <cstddef>
#include <cstdlib>
#include <new>
#include <vector>

namespace headwise {

// For std::vector: 64-byte loads that straddle lines take twice as long.
template <class T>
struct CacheLineAllocator {
  using value_type = T;

  CacheLineAllocator() = default;
  template <class U>
  CacheLineAllocator(const CacheLineAllocator<U>&) {}

  T* allocate(size_t n) {
    const size_t bytes = (n * sizeof(T) + 63) & ~size_t{63};
    auto* floats = static_cast<T*>(std::aligned_alloc(64, bytes));
    if (floats == nullptr) throw std::bad_alloc();
    return floats;
  }
  void deallocate(T* floats, size_t) { std::free(floats); }
  bool operator==(const CacheLineAllocator&) const { return true; }
};

using AlignedFloats = std::vector<float, CacheLineAllocator<float>>;

}  // namespace headwise

#endif  // HEADWISE_WORKER_NEURAL_MEMORY_ALIGNED_FLOATS_H_
