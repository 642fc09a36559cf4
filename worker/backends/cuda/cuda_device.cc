#include "worker/backends/cuda/cuda_device.h"

#include <cuda_runtime_api.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/backends/cuda/cuda_launch.h"
#include "worker/backends/cuda/cuda_status.h"

namespace headwise::cuda {
namespace {

// Allocations are rounded up to 2 MiB; kernels' stacks lie in the same memory.
constexpr int64_t kKeptBytes = int64_t{128} << 20;
// Of pinned memory, twice: a copy is prepared while the one before is on its
// way.
constexpr int64_t kStagingBytes = int64_t{8} << 20;

class CudaDevice final : public Device {
 public:
  explicit CudaDevice(int ordinal)
      : ordinal_(ordinal), name_(absl::StrCat("cuda:", ordinal)) {}
  ~CudaDevice() override {
    if (!Select().ok()) return;
    if (stream_ != nullptr) cudaStreamDestroy(stream_);
    for (Staging& staging : staging_) {
      if (staging.is_free != nullptr) cudaEventDestroy(staging.is_free);
      if (staging.memory != nullptr) cudaFreeHost(staging.memory);
    }
  }

  absl::Status Open();

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
  struct Staging {
    void* memory = nullptr;
    cudaEvent_t is_free = nullptr;  // once what was enqueued before it is done
  };

  absl::Status Status(absl::string_view call, cudaError_t error) const {
    return error == cudaSuccess
               ? absl::OkStatus()
               : CudaStatus(absl::StrCat(name_, ": ", call), error);
  }
  // The device is a thread's; calls may come from another one each.
  absl::Status Select() const {
    return Status("cudaSetDevice", cudaSetDevice(ordinal_));
  }

  const int ordinal_;
  const std::string name_;
  cudaStream_t stream_ = nullptr;
  std::array<Staging, 2> staging_;
  size_t next_staging_ = 0;
};

absl::Status CudaDevice::Open() {
  HEADWISE_RETURN_IF_ERROR(Select());
  HEADWISE_RETURN_IF_ERROR(
      Status("cudaStreamCreate",
             cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)));
  for (Staging& staging : staging_) {
    HEADWISE_RETURN_IF_ERROR(Status(
        "pinned memory", cudaMallocHost(&staging.memory, kStagingBytes)));
    HEADWISE_RETURN_IF_ERROR(Status(
        "cudaEventCreate",
        cudaEventCreateWithFlags(&staging.is_free, cudaEventDisableTiming)));
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> CudaDevice::AvailableBytes() {
  HEADWISE_RETURN_IF_ERROR(Select());
  size_t available = 0;
  size_t all = 0;
  HEADWISE_RETURN_IF_ERROR(
      Status("cudaMemGetInfo", cudaMemGetInfo(&available, &all)));
  return std::max<int64_t>(static_cast<int64_t>(available) - kKeptBytes, 0);
}

absl::StatusOr<uint8_t*> CudaDevice::Allocate(int64_t num_bytes) {
  HEADWISE_RETURN_IF_ERROR(Select());
  void* memory = nullptr;
  HEADWISE_RETURN_IF_ERROR(
      Status(absl::StrCat("allocate: ", num_bytes, " bytes"),
             cudaMalloc(&memory, static_cast<size_t>(num_bytes))));
  return static_cast<uint8_t*>(memory);
}

// Waits for all that was enqueued. An error was another call's, which tells it.
void CudaDevice::Free(uint8_t* memory) {
  if (Select().ok()) cudaFree(memory);
}

absl::Status CudaDevice::CopyIn(uint8_t* to, const void* from,
                                int64_t num_bytes) {
  HEADWISE_RETURN_IF_ERROR(Select());
  const auto* bytes = static_cast<const uint8_t*>(from);
  for (int64_t at = 0; at < num_bytes; at += kStagingBytes) {
    const auto size =
        static_cast<size_t>(std::min(kStagingBytes, num_bytes - at));
    Staging& staging = staging_[next_staging_];
    next_staging_ = (next_staging_ + 1) % staging_.size();
    HEADWISE_RETURN_IF_ERROR(
        Status("copy_in", cudaEventSynchronize(staging.is_free)));
    std::memcpy(staging.memory, bytes + at, size);
    HEADWISE_RETURN_IF_ERROR(
        Status("copy_in", cudaMemcpyAsync(to + at, staging.memory, size,
                                          cudaMemcpyHostToDevice, stream_)));
    HEADWISE_RETURN_IF_ERROR(
        Status("copy_in", cudaEventRecord(staging.is_free, stream_)));
  }
  return absl::OkStatus();
}

absl::Status CudaDevice::CopyOut(void* to, const uint8_t* from,
                                 int64_t num_bytes) {
  HEADWISE_RETURN_IF_ERROR(Select());
  HEADWISE_RETURN_IF_ERROR(Status(
      "copy_out", cudaMemcpyAsync(to, from, static_cast<size_t>(num_bytes),
                                  cudaMemcpyDeviceToHost, stream_)));
  return Status("copy_out", cudaStreamSynchronize(stream_));
}

absl::Status CudaDevice::Copy(uint8_t* to, const uint8_t* from,
                              int64_t num_bytes) {
  HEADWISE_RETURN_IF_ERROR(Select());
  return Status("copy",
                cudaMemcpyAsync(to, from, static_cast<size_t>(num_bytes),
                                cudaMemcpyDeviceToDevice, stream_));
}

absl::Status CudaDevice::Zero(uint8_t* to, int64_t num_bytes) {
  HEADWISE_RETURN_IF_ERROR(Select());
  return Status(
      "zero", cudaMemsetAsync(to, 0, static_cast<size_t>(num_bytes), stream_));
}

absl::Status CudaDevice::Launch(const KernelCall& call) {
  HEADWISE_RETURN_IF_ERROR(Select());
  return Status(NameOf(call), LaunchOn(call, stream_));
}

}  // namespace

absl::StatusOr<std::unique_ptr<Device>> OpenCudaDevice(int ordinal) {
  HEADWISE_RETURN_IF_ERROR(CheckGpuIsThere(ordinal));
  auto device = std::make_unique<CudaDevice>(ordinal);
  HEADWISE_RETURN_IF_ERROR(device->Open());
  return device;
}

}  // namespace headwise::cuda
