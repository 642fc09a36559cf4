// Reads several sorted runs as if they were one.

#ifndef HEADWISE_SERVER_SELECTION_RUN_MERGER_H_
#define HEADWISE_SERVER_SELECTION_RUN_MERGER_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/selection/sort_run.h"
#include "server/selection/spill_file.h"

namespace headwise {

// Of equal records that of the earlier run comes first. O(log runs) for a
// record. Not thread-safe.
class RunMerger {
 public:
  // `buffer_bytes` for each run; it holds the largest record and header.
  // `file` outlives this.
  RunMerger(const SpillFile& file, absl::Span<const SortRun> runs,
            int64_t buffer_bytes);

  // The next group, summed over the runs; nullopt at the end.
  absl::StatusOr<std::optional<SortGroup>> NextGroup();
  // The next record of that group; nullopt at its end. Its tail stays until
  // the next call.
  absl::StatusOr<std::optional<SortRecord>> NextRecord();

 private:
  struct Source {
    RunReader reader;
    size_t run;
  };
  // Heaps put the least on top; these order the other way round.
  static bool IsLaterGroup(const Source* a, const Source* b);
  static bool IsLaterRecord(const Source* a, const Source* b);
  absl::Status AdvanceGroup(Source& source);
  absl::Status AdvanceRecord(Source& source);

  std::vector<Source> sources_;
  bool has_begun_ = false;
  std::vector<Source*> later_;  // heap: their group is yet to come
  std::vector<Source*> in_group_;
  std::vector<Source*> records_;  // heap: those of in_group_ with a record
  Source* current_ = nullptr;     // gave the last record; not in records_
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_RUN_MERGER_H_
