// One rank's part of one sequence as a file.
//
// "headwise kv 1\n" filled up to 16 bytes; the plan's hash, the model's shape
// and the rank's units as texts; length, prompt_len, last sample, tokens; then
// of each unit its blocks that are present and what its policy remembers beside
// them; of each unit its neural memory, if the model has any; at the end the
// SHA-256 of all of it (HashedFileWriter). Reading gives back the same bits. A
// file belongs to the process that wrote it: it says nothing of the weights
// that made its keys and values.

#ifndef HEADWISE_WORKER_EXECUTOR_SEQUENCE_FILE_H_
#define HEADWISE_WORKER_EXECUTOR_SEQUENCE_FILE_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "worker/executor/hashed_file.h"
#include "worker/executor/sequences.h"

namespace headwise {

// Bytes of the file. ResourceExhausted if the disk is full.
absl::StatusOr<int64_t> WriteSequenceFile(const std::string& path,
                                          const SequencesOptions& rank,
                                          const Sequence& sequence);

// Opened first, so that the books can make room for what it holds.
class SequenceFileReader {
 public:
  // DataLoss for a file that was cut short or changed; FailedPrecondition for
  // one that is no such file, of another version, or of another plan, model
  // shape or set of units than `rank` has; nullptr: the default plan.
  static absl::StatusOr<SequenceFileReader> Open(const std::string& path,
                                                 const SequencesOptions& rank,
                                                 const HeadPlan* plan);

  int64_t length() const { return static_cast<int64_t>(tokens_.size()); }
  int64_t prompt_len() const { return prompt_len_; }

  // Fills a sequence of that length that has its plan, and the blocks that its
  // units keep. DataLoss if the file does not hold just that.
  absl::Status ReadInto(Sequence* sequence);

 private:
  SequenceFileReader(HashedFileReader file, const SequencesOptions& rank)
      : file_(std::move(file)), rank_(rank) {}
  absl::Status ReadHeader(const HeadPlan* plan);
  absl::Status ReadBlocks(UnitKv* unit);
  absl::Status ReadSummaries(UnitKv* unit);
  absl::Status ReadChunks(UnitKv* unit);
  absl::Status ReadCalibrated(CalibratedHead* head);
  absl::Status ReadMemory(UnitMemory* memory);

  HashedFileReader file_;
  const SequencesOptions& rank_;
  int64_t prompt_len_ = 0;
  int32_t last_sample_ = -1;
  std::vector<int32_t> tokens_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_SEQUENCE_FILE_H_
