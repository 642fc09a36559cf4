// What tests of the executor on a device share: groups of ranks on devices and
// on the CPU.

#ifndef HEADWISE_WORKER_GPU_EXECUTOR_GPU_EXECUTOR_FIXTURE_H_
#define HEADWISE_WORKER_GPU_EXECUTOR_GPU_EXECUTOR_FIXTURE_H_

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "worker/backends/cuda/device.h"
#include "worker/executor/executor_fixture.h"
#include "worker/gpu_executor/gpu_executor.h"

namespace headwise {

// The device under test: tested_twin.cc has the twin, tested_gpu.cc a GPU.
std::unique_ptr<cuda::Device> NewTestedDevice();

// One rank for each letter: 'g' on a device of its own, 'c' on the CPU. What
// the devices have allocated goes with the executors.
class MixedCluster {
 public:
  MixedCluster(const Model& model, const std::string& ranks,
               const ExecutorOptions& options)
      : devices_(MakeDevices(ranks)),
        cluster_(model, static_cast<int>(ranks.size()), options, {},
                 [this](const Model& of, int rank, Shard shard,
                        const ExecutorOptions& its_options) {
                   return Make(of, rank, std::move(shard), its_options);
                 }) {}

  Cluster& operator*() { return cluster_; }
  Cluster* operator->() { return &cluster_; }
  cuda::Device& device(int rank) { return *devices_[rank]; }

 private:
  using Devices = std::vector<std::unique_ptr<cuda::Device>>;
  static Devices MakeDevices(const std::string& ranks) {
    Devices devices;
    for (const char rank : ranks) {
      devices.push_back(rank == 'g' ? NewTestedDevice() : nullptr);
    }
    return devices;
  }
  absl::StatusOr<std::unique_ptr<Executor>> Make(
      const Model& model, int rank, Shard shard,
      const ExecutorOptions& options) {
    if (devices_[rank] == nullptr) {
      return Executor::Create(model, std::move(shard), options, nullptr);
    }
    return CreateGpuExecutor(model, std::move(shard), options, *devices_[rank],
                             nullptr);
  }

  const Devices devices_;
  Cluster cluster_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_GPU_EXECUTOR_FIXTURE_H_
