// Sorts more records than memory holds.

#ifndef HEADWISE_SERVER_SELECTION_EXTERNAL_SORT_H_
#define HEADWISE_SERVER_SELECTION_EXTERNAL_SORT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/selection/run_merger.h"
#include "server/selection/sort_run.h"
#include "server/selection/spill_file.h"

namespace headwise {

inline constexpr int64_t kMinSortBytes = int64_t{1} << 20;

// Records come in any order and go out sorted by the bytes of their group, then
// by rising key, then by the bytes of their tail; equal ones as they came.
//
// Records gather in memory; full memory is sorted and becomes a run in a file
// without a name in temp_dir. Runs are merged when they are read, and first
// into fewer ones if memory can't hold a buffer of each. Not thread-safe.
class ExternalSort {
 public:
  struct Options {
    int64_t max_memory_bytes = int64_t{256} << 20;  // >= kMinSortBytes
    std::string temp_dir;
  };

  // InvalidArgument (an option), or that a file can't be made in temp_dir.
  static absl::StatusOr<std::unique_ptr<ExternalSort>> Create(
      const Options& options);

  // ResourceExhausted if temp_dir has no room left, or if the record has more
  // than max_record_bytes().
  absl::Status Add(absl::string_view group, uint64_t key,
                   absl::string_view tail);
  int64_t max_record_bytes() const;

  // After the last Add, once; then the two below.
  absl::Status Sort();

  // The next group, whatever was read of the one before; nullopt at the end.
  absl::StatusOr<std::optional<SortGroup>> NextGroup();
  // The next record of the group; nullopt at its end. Its tail stays until the
  // next call.
  absl::StatusOr<std::optional<SortRecord>> NextRecord();

  // That were merged last; for tests.
  int64_t num_runs() const { return static_cast<int64_t>(runs_.size()); }

 private:
  // A record in memory; its tail stands at `offset` of the block, so of equal
  // records the one with the lesser offset came first.
  struct Entry {
    uint64_t key;
    int64_t offset;
    uint32_t tail_bytes;
    uint32_t group;
  };

  ExternalSort(const Options& options, std::unique_ptr<SpillFile> file);
  Entry* EntriesEnd() { return block_.get() + num_block_entries_; }
  bool Fits(int64_t tail_bytes, int64_t group_bytes) const;
  uint32_t GroupNumber(absl::string_view name);
  absl::Status SpillRun();
  std::vector<SortGroup> SortEntries();
  absl::Status WriteRun(absl::Span<const SortGroup> groups);
  absl::StatusOr<SortRun> MergeRuns(absl::Span<const SortRun> runs);
  int64_t MaxRunsAtOnce() const;
  // So that buffers of `num_runs` stay within the limit.
  int64_t BufferBytes(int64_t num_runs) const;

  const Options options_;
  const std::unique_ptr<SpillFile> file_;
  int64_t largest_bytes_ = 0;  // of a record or a group's header, in a run

  // What is in memory: tails from the begin of the block up, entries from its
  // end down. It takes pages from the system as they are written.
  const int64_t num_block_entries_;
  std::unique_ptr<Entry[]> block_;
  int64_t num_tail_bytes_ = 0;
  int64_t num_entries_ = 0;
  absl::flat_hash_map<std::string, uint32_t> groups_;
  int64_t group_bytes_ = 0;

  std::vector<SortRun> runs_;  // what is in the file
  std::unique_ptr<RunMerger> merger_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_EXTERNAL_SORT_H_
