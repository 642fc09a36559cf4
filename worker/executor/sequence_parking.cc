// Sequences that go to files and come back.

#include <utility>

#include "base/status_macros.h"
#include "worker/executor/sequence_file.h"
#include "worker/executor/sequences.h"

namespace headwise {

absl::StatusOr<int64_t> Sequences::WriteFile(uint64_t sequence_id,
                                             const std::string& path) const {
  const auto found = sequences_.find(sequence_id);
  if (found == sequences_.end()) {
    return Refuse(sequence_id, "is to be parked and is not here");
  }
  return WriteSequenceFile(path, options_, found->second);
}

absl::Status Sequences::ReadFile(uint64_t sequence_id, uint64_t plan_id,
                                 const std::string& path) {
  if (book_.Contains(sequence_id)) {
    return Refuse(sequence_id, "is to be read and is here already");
  }
  const PlanPointer plan = FindPlan(plan_id);
  if (plan_id != 0 && plan == nullptr) {
    return Refuse(sequence_id, "plan ", plan_id, " is not here");
  }
  HEADWISE_ASSIGN_OR_RETURN(
      SequenceFileReader file,
      SequenceFileReader::Open(path, options_, plan.get()));
  HEADWISE_RETURN_IF_ERROR(book_.Restore(
      sequence_id, file.length(), StorageUnder(plan), file.prompt_len()));
  sequences_[sequence_id].kv = OpenKv(plan, file.prompt_len());
  UpdateTables(sequence_id, 0);
  const absl::Status status = file.ReadInto(&sequences_[sequence_id]);
  if (!status.ok()) Free(sequence_id);
  return status;
}

}  // namespace headwise
