#include "worker/service/device_choice.h"

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <functional>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"
#include "worker/backends/cuda/cuda_device.h"
#include "worker/gpu_executor/gpu_executor.h"

namespace headwise {

namespace {

absl::StatusOr<int> OrdinalOf(const std::string& choice) {
  absl::string_view number = choice;
  int ordinal = 0;
  if (!absl::ConsumePrefix(&number, "cuda:") ||
      !absl::SimpleAtoi(number, &ordinal) || ordinal < 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("--device ", choice, " is neither cpu nor cuda:N"));
  }
  return ordinal;
}

}  // namespace

absl::StatusOr<std::unique_ptr<cuda::Device>> OpenDevice(
    const std::string& choice) {
  if (choice == "cpu") return nullptr;
  HEADWISE_ASSIGN_OR_RETURN(const int ordinal, OrdinalOf(choice));
  return cuda::OpenCudaDevice(ordinal);
}

absl::StatusOr<NcclOffer> UseNccl(const std::string& choice,
                                  WorkerNodeOptions* options) {
  if (choice == "cpu") return NcclOffer();
  HEADWISE_ASSIGN_OR_RETURN(const int ordinal, OrdinalOf(choice));
  absl::StatusOr<NcclOffer> offer = OfferNccl(ordinal);
  if (absl::IsUnimplemented(offer.status())) return NcclOffer();
  HEADWISE_RETURN_IF_ERROR(offer.status());
  options->open_nccl = [ordinal](int64_t staging_bytes) {
    return OpenNcclCommunicator(ordinal, staging_bytes);
  };
  return offer;
}

// Connections made by the first sum would take longer than a sum may.
void SetNcclDefaults() { setenv("NCCL_RUNTIME_CONNECT", "0", /*overwrite=*/0); }

absl::Status RunOnDevice(cuda::Device& device, WorkerNodeOptions* options) {
  if (!options->park_dir.empty()) {
    return absl::UnimplementedError(
        absl::StrCat("--park-dir with --device ", device.name(),
                     ": sequences in a GPU's memory can't be parked"));
  }
  HEADWISE_ASSIGN_OR_RETURN(const int64_t available, device.AvailableBytes());
  const int64_t kept = options->open_nccl ? kNcclBytes : 0;
  if (options->memory_bytes == 0) {
    options->memory_bytes = std::max<int64_t>(available - kept, 1);
  }
  options->create_executor = [&device](const Model& model, Shard shard,
                                       const ExecutorOptions& of_executor,
                                       std::function<bool(double)> progress) {
    return CreateGpuExecutor(model, std::move(shard), of_executor, device,
                             std::move(progress));
  };
  return absl::OkStatus();
}

}  // namespace headwise
