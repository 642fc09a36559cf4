// Memory and kernels of one device, behind one interface for a GPU and for the
// twin on the host that tests run.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_DEVICE_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_DEVICE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/backends/cuda/kernel_call.h"

namespace headwise::cuda {

// One stream: what is asked for is done in the order of the calls, and only
// CopyOut and Free wait for it. Calls come from one thread at a time.
//
// Errors name the call; one may be told by a later call than the one that it
// belongs to. After an error of anything but Allocate and AvailableBytes, what
// the device holds is worth nothing.
class Device {
 public:
  virtual ~Device() = default;

  virtual const std::string& name() const = 0;  // "cuda:0"

  virtual absl::StatusOr<int64_t> AvailableBytes() = 0;
  // At least one byte, aligned to 256, of any content. ResourceExhausted with
  // the bytes.
  virtual absl::StatusOr<uint8_t*> Allocate(int64_t num_bytes) = 0;
  virtual void Free(uint8_t* memory) = 0;

  // `from` may change once it has returned.
  virtual absl::Status CopyIn(uint8_t* to, const void* from,
                              int64_t num_bytes) = 0;
  // Waits for all that was asked for before.
  virtual absl::Status CopyOut(void* to, const uint8_t* from,
                               int64_t num_bytes) = 0;
  virtual absl::Status Copy(uint8_t* to, const uint8_t* from,
                            int64_t num_bytes) = 0;
  virtual absl::Status Zero(uint8_t* to, int64_t num_bytes) = 0;

  virtual absl::Status Launch(const KernelCall& call) = 0;
};

}  // namespace headwise::cuda

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_DEVICE_H_
