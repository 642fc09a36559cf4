#include "worker/backends/cuda/host_device.h"

#include <cstdlib>
#include <cstring>
#include <new>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "worker/backends/cuda/run_on_host.h"

namespace headwise::cuda {

HostDevice::~HostDevice() {
  for (const auto& [memory, num_bytes] : allocations_) {
    std::free(const_cast<uint8_t*>(memory));
  }
}

absl::Status HostDevice::Count(const char* call) {
  ++num_calls_;
  if (fail_at_ == 0 || num_calls_ < fail_at_) return absl::OkStatus();
  return absl::InternalError(
      absl::StrCat(name_, ": ", call, ": made to fail, call ", num_calls_));
}

void HostDevice::FlipLastBit(int64_t num_bytes) {
  for (const auto& [memory, size] : allocations_) {
    if (size != num_bytes) continue;
    const_cast<uint8_t*>(memory)[num_bytes - 1] ^= 1;
    return;
  }
  HEADWISE_CHECK(false);
}

bool HostDevice::Owns(const uint8_t* memory, int64_t num_bytes) const {
  for (const auto& [begin, size] : allocations_) {
    if (begin <= memory && memory + num_bytes <= begin + size) return true;
  }
  return false;
}

absl::StatusOr<int64_t> HostDevice::AvailableBytes() {
  HEADWISE_RETURN_IF_ERROR(Count("available_bytes"));
  return capacity_bytes_ - allocated_bytes_;
}

absl::StatusOr<uint8_t*> HostDevice::Allocate(int64_t num_bytes) {
  HEADWISE_RETURN_IF_ERROR(Count("allocate"));
  HEADWISE_CHECK(num_bytes > 0);
  if (num_bytes > capacity_bytes_ - allocated_bytes_) {
    return absl::ResourceExhaustedError(
        absl::StrCat(name_, ": allocate: ", num_bytes, " bytes, ",
                     capacity_bytes_ - allocated_bytes_, " of ",
                     capacity_bytes_, " are free"));
  }
  const auto size = (static_cast<size_t>(num_bytes) + 255) / 256 * 256;
  auto* memory = static_cast<uint8_t*>(std::aligned_alloc(256, size));
  if (memory == nullptr) throw std::bad_alloc();
  std::memset(memory, 0xff, size);
  allocations_[memory] = num_bytes;
  allocated_bytes_ += num_bytes;
  return memory;
}

void HostDevice::Free(uint8_t* memory) {
  const auto found = allocations_.find(memory);
  HEADWISE_CHECK(found != allocations_.end());
  allocated_bytes_ -= found->second;
  allocations_.erase(found);
  std::free(memory);
}

absl::Status HostDevice::CopyIn(uint8_t* to, const void* from,
                                int64_t num_bytes) {
  HEADWISE_RETURN_IF_ERROR(Count("copy_in"));
  HEADWISE_CHECK(Owns(to, num_bytes));
  std::memcpy(to, from, static_cast<size_t>(num_bytes));
  return absl::OkStatus();
}

absl::Status HostDevice::CopyOut(void* to, const uint8_t* from,
                                 int64_t num_bytes) {
  HEADWISE_RETURN_IF_ERROR(Count("copy_out"));
  HEADWISE_CHECK(Owns(from, num_bytes));
  std::memcpy(to, from, static_cast<size_t>(num_bytes));
  return absl::OkStatus();
}

absl::Status HostDevice::Copy(uint8_t* to, const uint8_t* from,
                              int64_t num_bytes) {
  HEADWISE_RETURN_IF_ERROR(Count("copy"));
  HEADWISE_CHECK(Owns(to, num_bytes) && Owns(from, num_bytes));
  std::memcpy(to, from, static_cast<size_t>(num_bytes));
  return absl::OkStatus();
}

absl::Status HostDevice::Zero(uint8_t* to, int64_t num_bytes) {
  HEADWISE_RETURN_IF_ERROR(Count("zero"));
  HEADWISE_CHECK(Owns(to, num_bytes));
  std::memset(to, 0, static_cast<size_t>(num_bytes));
  return absl::OkStatus();
}

absl::Status HostDevice::Launch(const KernelCall& call) {
  HEADWISE_RETURN_IF_ERROR(Count(NameOf(call)));
  const HostOrder order =
      runs_backwards_ ? HostOrder::kBackwards : HostOrder::kForwards;
  WithKernelOf(
      call, [order]<class K>(const typename K::Args& args, int64_t num_blocks) {
        RunOnHost<K>(args, num_blocks, order);
      });
  return absl::OkStatus();
}

}  // namespace headwise::cuda
