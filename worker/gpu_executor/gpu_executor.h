// An executor whose layers run on a GPU, with the bits of the CPU's.

#ifndef HEADWISE_WORKER_GPU_EXECUTOR_GPU_EXECUTOR_H_
#define HEADWISE_WORKER_GPU_EXECUTOR_GPU_EXECUTOR_H_

#include <functional>
#include <memory>

#include "absl/status/statusor.h"
#include "model/model.h"
#include "worker/backends/cuda/device.h"
#include "worker/executor/executor.h"

namespace headwise {

// As Executor::Create, with the shard's weights, KV blocks and rows in the
// device's memory; books, embeddings and samples stay with the CPU's threads.
// Ranks on GPUs and on CPUs may share a group. `device` outlives the executor
// and serves no other meanwhile.
//
// memory_bytes bounds what is taken of the device, 0: all that is available.
// ResourceExhausted with the bytes needed and available, before anything is
// packed or allocated, if that has no room for weights, rows and a KV block of
// every unit. All KV that is ordered and fits is taken at once. `held` keeps
// the packed weights in the host's memory.
//
// Unimplemented, naming it: titans models, models whose units have a window,
// the fast reduction, contexts cut over ranks, parking; of a step, before
// anything but its frees is done: probes, and plans with other policies than
// full and streaming, slot_positions, sink_beta or a kv_type of a unit. What is
// in use when a call of the device fails is lost: that step and all later ones
// are Unavailable and name the call, so a worker leaves its group, and what was
// asked for goes on in another one.
absl::StatusOr<std::unique_ptr<Executor>> CreateGpuExecutor(
    const Model& model, Shard shard, const ExecutorOptions& options,
    cuda::Device& device, std::function<bool(double)> progress);

}  // namespace headwise

#endif  // HEADWISE_WORKER_GPU_EXECUTOR_GPU_EXECUTOR_H_
