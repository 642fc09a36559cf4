#include "base/huge_memory.h"

#include <sys/mman.h>
#include <unistd.h>

#include <utility>

#include "base/check.h"

namespace headwise {
namespace {

constexpr int64_t kHugePage = 2 << 20;  // bytes

}  // namespace

HugeMemory::HugeMemory(int64_t bytes) {
  HEADWISE_CHECK(bytes >= 0);
  mapped_bytes_ = (bytes + kHugePage - 1) / kHugePage * kHugePage + kHugePage;
  mapping_ =
      mmap(nullptr, static_cast<size_t>(mapped_bytes_), PROT_READ | PROT_WRITE,
           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  HEADWISE_CHECK(mapping_ != MAP_FAILED);
  const auto address = reinterpret_cast<uintptr_t>(mapping_);
  const uintptr_t aligned = (address + kHugePage - 1) & ~(kHugePage - 1ull);
  data_ = reinterpret_cast<uint8_t*>(aligned);
  // Only advice: without huge pages it is slower by some percent.
  madvise(data_, static_cast<size_t>(mapped_bytes_ - kHugePage), MADV_HUGEPAGE);
}

HugeMemory::~HugeMemory() {
  if (mapping_ != nullptr) {
    munmap(mapping_, static_cast<size_t>(mapped_bytes_));
  }
}

void HugeMemory::Release(int64_t offset, int64_t bytes) {
  HEADWISE_CHECK(offset >= 0 && bytes >= 0 && offset + bytes <= mapped_bytes_);
  const int64_t page = sysconf(_SC_PAGESIZE);
  const int64_t begin = (offset + page - 1) / page * page;
  const int64_t end = (offset + bytes) / page * page;
  if (begin < end) {
    madvise(data_ + begin, static_cast<size_t>(end - begin), MADV_DONTNEED);
  }
}

HugeMemory::HugeMemory(HugeMemory&& other) noexcept {
  *this = std::move(other);
}

HugeMemory& HugeMemory::operator=(HugeMemory&& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(mapping_, other.mapping_);
  std::swap(mapped_bytes_, other.mapped_bytes_);
  return *this;
}

}  // namespace headwise
