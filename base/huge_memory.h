// Large memory that is read all the time: in huge pages where the kernel has
// them.

#ifndef HEADWISE_BASE_HUGE_MEMORY_H_
#define HEADWISE_BASE_HUGE_MEMORY_H_

#include <cstdint>

namespace headwise {

// Anonymous memory, zero at first, aligned to 2 MiB. Pages are used when first
// touched. Ends the process if the address space is exhausted.
class HugeMemory {
 public:
  HugeMemory() = default;
  explicit HugeMemory(int64_t bytes);
  ~HugeMemory();
  HugeMemory(HugeMemory&& other) noexcept;
  HugeMemory& operator=(HugeMemory&& other) noexcept;

  uint8_t* data() const { return data_; }

  // Gives the pages that lie wholly within the range back to the kernel: they
  // are zero again when next touched.
  void Release(int64_t offset, int64_t bytes);

 private:
  uint8_t* data_ = nullptr;
  void* mapping_ = nullptr;
  int64_t mapped_bytes_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_BASE_HUGE_MEMORY_H_
