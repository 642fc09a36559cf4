// CUDA's errors as ours. For .cc files that know CUDA.

#ifndef HEADWISE_WORKER_BACKENDS_CUDA_CUDA_STATUS_H_
#define HEADWISE_WORKER_BACKENDS_CUDA_CUDA_STATUS_H_

#include <cuda_runtime_api.h>

#include <string>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace headwise {

// Unavailable for a GPU that is gone or has to be reset; FailedPrecondition if
// there is no driver, or one that is too old; else ResourceExhausted or
// Internal. The message begins with `call`.
inline absl::Status CudaStatus(absl::string_view call, cudaError_t error) {
  if (error == cudaSuccess) return absl::OkStatus();
  const std::string message =
      absl::StrCat(call, ": ", cudaGetErrorString(error), " (",
                   cudaGetErrorName(error), ")");
  switch (error) {
    case cudaErrorMemoryAllocation:
      return absl::ResourceExhaustedError(message);
    case cudaErrorNoDevice:
    case cudaErrorInsufficientDriver:
      return absl::FailedPreconditionError(message);
    case cudaErrorDevicesUnavailable:
    case cudaErrorECCUncorrectable:
    case cudaErrorLaunchTimeout:
    case cudaErrorNvlinkUncorrectable:
      return absl::UnavailableError(message);
    default:
      return absl::InternalError(message);
  }
}

// FailedPrecondition without a driver; InvalidArgument, naming how many GPUs
// there are, if number `ordinal` is not.
inline absl::Status CheckGpuIsThere(int ordinal) {
  int count = 0;
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error != cudaSuccess) return CudaStatus("looking for GPUs", error);
  if (0 <= ordinal && ordinal < count) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("GPU ", ordinal, " is not there; this machine has ", count));
}

}  // namespace headwise

#endif  // HEADWISE_WORKER_BACKENDS_CUDA_CUDA_STATUS_H_
