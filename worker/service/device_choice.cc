#include "worker/service/device_choice.h"

#include <cstdint>
#include <functional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "worker/backends/cuda/cuda_device.h"
#include "worker/gpu_executor/gpu_executor.h"

namespace headwise {

absl::StatusOr<std::unique_ptr<cuda::Device>> OpenDevice(
    const std::string& choice) {
  if (choice == "cpu") return nullptr;
  absl::string_view number = choice;
  int ordinal = 0;
  if (!absl::ConsumePrefix(&number, "cuda:") ||
      !absl::SimpleAtoi(number, &ordinal) || ordinal < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--device ", choice, " is neither cpu nor cuda:N"));
  }
  return cuda::OpenCudaDevice(ordinal);
}

absl::Status RunOnDevice(cuda::Device& device, WorkerNodeOptions* options) {
  if (!options->park_dir.empty()) {
    return absl::UnimplementedError(
        absl::StrCat("--park-dir with --device ", device.name(),
                     ": sequences in a GPU's memory can't be parked"));
  }
  HEADWISE_ASSIGN_OR_RETURN(const int64_t available, device.AvailableBytes());
  if (options->memory_bytes == 0) options->memory_bytes = available;
  options->create_executor = [&device](const Model& model, Shard shard,
                                       const ExecutorOptions& of_executor,
                                       std::function<bool(double)> progress) {
    return CreateGpuExecutor(model, std::move(shard), of_executor, device,
                             std::move(progress));
  };
  return absl::OkStatus();
}

}  // namespace headwise
