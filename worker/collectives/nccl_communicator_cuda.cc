#include <cuda_runtime_api.h>
#include <nccl.h>

#include <cstring>
#include <fstream>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/backends/cuda/cuda_status.h"
#include "worker/collectives/nccl_communicator.h"

namespace headwise {
namespace {

static_assert(sizeof(NcclId) == sizeof(ncclUniqueId));

class CudaNcclCommunicator final : public NcclCommunicator {
 public:
  explicit CudaNcclCommunicator(int device) : device_(device) {}

  ~CudaNcclCommunicator() override {
    Abort();
    if (Select().ok()) {
      // What Abort has ended leaves the stream at once.
      if (stream_ != nullptr) cudaStreamDestroy(stream_);
      if (on_device_ != nullptr) cudaFree(on_device_);
      if (on_host_ != nullptr) cudaFreeHost(on_host_);
    }
  }

  absl::Status Allocate(int64_t staging_bytes) {
    HEADWISE_RETURN_IF_ERROR(Select());
    HEADWISE_RETURN_IF_ERROR(
        CudaStatus("cudaStreamCreate",
                   cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking)));
    const std::string what = absl::StrCat(staging_bytes, " bytes of GPU ",
                                          device_, " for collectives");
    HEADWISE_RETURN_IF_ERROR(
        CudaStatus(what, cudaMalloc(&on_device_, staging_bytes)));
    HEADWISE_RETURN_IF_ERROR(
        CudaStatus(absl::StrCat(staging_bytes, " bytes of pinned memory"),
                   cudaMallocHost(&on_host_, staging_bytes)));
    staging_bytes_ = staging_bytes;
    return absl::OkStatus();
  }

  absl::StatusOr<int> Version() override {
    int version = 0;
    HEADWISE_RETURN_IF_ERROR(
        NcclStatus("ncclGetVersion", ncclGetVersion(&version)));
    return version;
  }

  absl::StatusOr<NcclId> CreateId() override {
    HEADWISE_RETURN_IF_ERROR(Select());
    ncclUniqueId unique;
    HEADWISE_RETURN_IF_ERROR(
        NcclStatus("ncclGetUniqueId", ncclGetUniqueId(&unique)));
    NcclId id;
    std::memcpy(id.data(), unique.internal, sizeof(id));
    return id;
  }

  absl::Status Init(const NcclId& id, int rank, int world_size) override {
    HEADWISE_RETURN_IF_ERROR(Select());
    ncclUniqueId unique;
    std::memcpy(unique.internal, id.data(), sizeof(id));
    ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
    config.blocking = 0;
    return NcclStatus("ncclCommInitRankConfig",
                      ncclCommInitRankConfig(&communicator_, world_size, unique,
                                             rank, &config));
  }

  absl::Span<uint8_t> staging() override {
    return {on_host_, static_cast<size_t>(staging_bytes_)};
  }

  absl::Status ToDevice(int64_t begin, int64_t num_bytes) override {
    HEADWISE_RETURN_IF_ERROR(Select());
    return CudaStatus(
        "copying to the GPU",
        cudaMemcpyAsync(on_device_ + begin, on_host_ + begin, num_bytes,
                        cudaMemcpyHostToDevice, stream_));
  }

  absl::Status ToHost(int64_t begin, int64_t num_bytes) override {
    HEADWISE_RETURN_IF_ERROR(Select());
    return CudaStatus(
        "copying from the GPU",
        cudaMemcpyAsync(on_host_ + begin, on_device_ + begin, num_bytes,
                        cudaMemcpyDeviceToHost, stream_));
  }

  absl::Status AllReduceSum(NcclType type, int64_t begin,
                            int64_t num_values) override {
    HEADWISE_RETURN_IF_ERROR(Select());
    return NcclStatus(
        "ncclAllReduce",
        ncclAllReduce(on_device_ + begin, on_device_ + begin, num_values,
                      type == NcclType::kInt64 ? ncclInt64 : ncclFloat32,
                      ncclSum, communicator_, stream_));
  }

  absl::Status SumOnDevice(int64_t* values, int64_t num_values) override {
    HEADWISE_RETURN_IF_ERROR(Select());
    return NcclStatus("ncclAllReduce",
                      ncclAllReduce(values, values, num_values, ncclInt64,
                                    ncclSum, communicator_, stream_));
  }

  absl::Status AllGather(int64_t begin, int64_t num_bytes,
                         int64_t to) override {
    HEADWISE_RETURN_IF_ERROR(Select());
    return NcclStatus(
        "ncclAllGather",
        ncclAllGather(on_device_ + begin, on_device_ + to, num_bytes, ncclUint8,
                      communicator_, stream_));
  }

  absl::Status Broadcast(int64_t begin, int64_t num_bytes, int root) override {
    HEADWISE_RETURN_IF_ERROR(Select());
    return NcclStatus(
        "ncclBroadcast",
        ncclBroadcast(on_device_ + begin, on_device_ + begin, num_bytes,
                      ncclUint8, root, communicator_, stream_));
  }

  absl::Status Send(int64_t begin, int64_t num_bytes, int to) override {
    HEADWISE_RETURN_IF_ERROR(Select());
    return NcclStatus("ncclSend",
                      ncclSend(on_device_ + begin, num_bytes, ncclUint8, to,
                               communicator_, stream_));
  }

  absl::Status Receive(int64_t begin, int64_t num_bytes, int from) override {
    HEADWISE_RETURN_IF_ERROR(Select());
    return NcclStatus("ncclRecv",
                      ncclRecv(on_device_ + begin, num_bytes, ncclUint8, from,
                               communicator_, stream_));
  }

  absl::StatusOr<bool> Poll() override {
    HEADWISE_RETURN_IF_ERROR(Select());
    if (communicator_ != nullptr) {
      ncclResult_t result = ncclSuccess;
      HEADWISE_RETURN_IF_ERROR(
          NcclStatus("ncclCommGetAsyncError",
                     ncclCommGetAsyncError(communicator_, &result)));
      HEADWISE_RETURN_IF_ERROR(NcclStatus("NCCL", result));
      if (result == ncclInProgress) return false;
    }
    const cudaError_t error = cudaStreamQuery(stream_);
    if (error == cudaErrorNotReady) return false;
    HEADWISE_RETURN_IF_ERROR(CudaStatus("the GPU's stream", error));
    return true;
  }

  void Abort() override {
    if (communicator_ == nullptr) return;
    if (Select().ok()) ncclCommAbort(std::exchange(communicator_, nullptr));
  }

 private:
  // The calling thread's present device is the thread's own.
  absl::Status Select() const {
    return CudaStatus(absl::StrCat("GPU ", device_), cudaSetDevice(device_));
  }

  // A call that goes on by itself has not failed: Poll tells its end.
  absl::Status NcclStatus(absl::string_view call, ncclResult_t result) const {
    if (result == ncclSuccess || result == ncclInProgress) {
      return absl::OkStatus();
    }
    const std::string message =
        absl::StrCat(call, ": ", ncclGetErrorString(result), " (",
                     ncclGetLastError(communicator_), ")");
    switch (result) {
      case ncclRemoteError:
      case ncclSystemError:
      case ncclUnhandledCudaError:
        return absl::UnavailableError(message);
      default:
        return absl::InternalError(message);
    }
  }

  const int device_;
  int64_t staging_bytes_ = 0;
  uint8_t* on_device_ = nullptr;
  uint8_t* on_host_ = nullptr;
  cudaStream_t stream_ = nullptr;
  ncclComm_t communicator_ = nullptr;
};

// The kernel's, which containers share.
constexpr char kBootId[] = "/proc/sys/kernel/random/boot_id";

}  // namespace

absl::StatusOr<NcclOffer> OfferNccl(int device) {
  // As NCCL itself tells GPUs apart; instances of one (MIG) are one to it.
  char bus_id[32];
  HEADWISE_RETURN_IF_ERROR(
      CudaStatus(absl::StrCat("PCI address of GPU ", device),
                 cudaDeviceGetPCIBusId(bus_id, sizeof(bus_id), device)));
  std::string boot_id;
  if (!(std::ifstream(kBootId) >> boot_id)) {
    return absl::NotFoundError(absl::StrCat(kBootId, " is not readable"));
  }
  int version = 0;
  const ncclResult_t result = ncclGetVersion(&version);
  if (result != ncclSuccess) {
    return absl::InternalError(
        absl::StrCat("ncclGetVersion: ", ncclGetErrorString(result)));
  }
  return NcclOffer{absl::StrCat(boot_id, "/", bus_id), version};
}

absl::StatusOr<std::unique_ptr<NcclCommunicator>> OpenNcclCommunicator(
    int device, int64_t staging_bytes) {
  HEADWISE_RETURN_IF_ERROR(CheckGpuIsThere(device));
  auto communicator = std::make_unique<CudaNcclCommunicator>(device);
  HEADWISE_RETURN_IF_ERROR(communicator->Allocate(staging_bytes));
  return communicator;
}

}  // namespace headwise
