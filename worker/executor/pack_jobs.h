// Packing of a shard's matrices by a team of threads.

#ifndef HEADWISE_WORKER_EXECUTOR_PACK_JOBS_H_
#define HEADWISE_WORKER_EXECUTOR_PACK_JOBS_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "base/huge_memory.h"
#include "base/thread_team.h"
#include "model/tensor.h"
#include "worker/backends/cpu/packed_matrix.h"
#include "worker/executor/piece_storage.h"

namespace headwise {

// Packing to be done: the part of `tensor` that goes to `*destination`.
struct PackJob {
  const TensorView* tensor;
  MatrixPart part;
  PackedMatrix* destination;
  int64_t offset;  // in the arena
};

// A piece that is to be packed: its jobs, and its range of the arena.
struct NewPiece {
  std::shared_ptr<const PieceStorage>* storage;
  size_t first_job;
  size_t last_job;
  int64_t offset;
  int64_t bytes;
};

// Packs into `memory` until a job fails or `progress` says that nothing is
// wanted: Cancelled. `progress` may be empty; the caller's thread calls it.
// `is_packed` tells of each job whether it was done.
absl::Status RunPackJobs(const std::vector<PackJob>& jobs, uint8_t* memory,
                         ThreadTeam& team,
                         const std::function<bool(double)>& progress,
                         std::vector<uint8_t>* is_packed);

// Gives each piece that is packed to its end its storage, and the pages of the
// others back.
void StorePieces(const std::vector<NewPiece>& pieces,
                 const std::vector<uint8_t>& is_packed,
                 const std::shared_ptr<HugeMemory>& arena, ThreadTeam& team);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_PACK_JOBS_H_
