// A device made of this process's memory and of kernels that the calling thread
// runs one by one: for tests of what runs on a GPU.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_HOST_DEVICE_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_HOST_DEVICE_H_

#include <cstdint>
#include <string>

#include "absl/container/flat_hash_map.h"
#include "worker/backends/cuda/device.h"

namespace headwise::cuda {

// Slow. What it allocates has bytes that are no number, so that nobody relies
// on zeros; addresses that are not of its memory are programmer's errors.
class HostDevice final : public Device {
 public:
  explicit HostDevice(int64_t capacity_bytes)
      : capacity_bytes_(capacity_bytes) {}
  ~HostDevice() override;

  // The n-th call from now on fails, and all after it; n = 1: the next. Frees
  // are not counted and work. 0: none fails.
  void FailCall(int64_t n) { fail_at_ = n == 0 ? 0 : num_calls_ + n; }
  // Blocks and threads from the last to the first, from now on.
  void RunBackwards() { runs_backwards_ = true; }
  int64_t num_calls() const { return num_calls_; }
  int64_t allocated_bytes() const { return allocated_bytes_; }
  // Of the allocation of so many bytes, of which there must be one.
  void FlipLastBit(int64_t num_bytes);

  const std::string& name() const override { return name_; }
  absl::StatusOr<int64_t> AvailableBytes() override;
  absl::StatusOr<uint8_t*> Allocate(int64_t num_bytes) override;
  void Free(uint8_t* memory) override;
  absl::Status CopyIn(uint8_t* to, const void* from,
                      int64_t num_bytes) override;
  absl::Status CopyOut(void* to, const uint8_t* from,
                       int64_t num_bytes) override;
  absl::Status Copy(uint8_t* to, const uint8_t* from,
                    int64_t num_bytes) override;
  absl::Status Zero(uint8_t* to, int64_t num_bytes) override;
  absl::Status Launch(const KernelCall& call) override;

 private:
  // Internal if it is this call's turn to fail.
  absl::Status Count(const char* call);
  // Whether all of it lies in one allocation.
  bool Owns(const uint8_t* memory, int64_t num_bytes) const;

  const std::string name_ = "twin";
  const int64_t capacity_bytes_;
  absl::flat_hash_map<const uint8_t*, int64_t> allocations_;  // their bytes
  int64_t allocated_bytes_ = 0;
  int64_t num_calls_ = 0;
  int64_t fail_at_ = 0;
  bool runs_backwards_ = false;
};

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_HOST_DEVICE_H_
