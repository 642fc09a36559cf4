#include "worker/executor/pack_jobs.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"

namespace headwise {

absl::Status RunPackJobs(const std::vector<PackJob>& jobs, uint8_t* memory,
                         ThreadTeam& team,
                         const std::function<bool(double)>& progress,
                         std::vector<uint8_t>* is_packed) {
  is_packed->assign(jobs.size(), 0);
  std::atomic<size_t> next{0};
  std::atomic<bool> is_wanted{true};
  absl::Mutex mutex;
  absl::Status first_error;
  team.Run([&](int member) {
    for (size_t i = next.fetch_add(1); i < jobs.size() && is_wanted;
         i = next.fetch_add(1)) {
      absl::StatusOr<PackedMatrix> packed = PackedMatrix::Pack(
          *jobs[i].tensor, jobs[i].part, memory + jobs[i].offset);
      if (!packed.ok()) {
        absl::MutexLock lock(&mutex);
        first_error.Update(packed.status());
        return;
      }
      *jobs[i].destination = *std::move(packed);
      (*is_packed)[i] = 1;
      if (member == 0 && progress) {
        is_wanted =
            progress(static_cast<double>(i) / static_cast<double>(jobs.size()));
      }
    }
  });
  HEADWISE_RETURN_IF_ERROR(first_error);
  if (!is_wanted || (progress && !progress(1.0))) {
    return absl::CancelledError("the shard is not wanted any more");
  }
  return absl::OkStatus();
}

void StorePieces(const std::vector<NewPiece>& pieces,
                 const std::vector<uint8_t>& is_packed,
                 const std::shared_ptr<HugeMemory>& arena, ThreadTeam& team) {
  std::atomic<size_t> next{0};
  team.Run([&](int) {
    for (size_t i = next.fetch_add(1); i < pieces.size();
         i = next.fetch_add(1)) {
      const NewPiece& piece = pieces[i];
      auto storage = std::make_shared<const PieceStorage>(arena, piece.offset,
                                                          piece.bytes);
      if (std::all_of(is_packed.begin() + piece.first_job,
                      is_packed.begin() + piece.last_job,
                      [](uint8_t packed) { return packed != 0; })) {
        *piece.storage = std::move(storage);
      }
    }
  });
}

}  // namespace headwise
