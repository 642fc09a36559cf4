// One sorted run of an external sort, in a spill file.
//
// A run is groups by rising name, each a header and its records in order:
//
//   header  u32 bytes of the name, i64 records, i64 bytes of the records, name
//   record  u64 key, u32 bytes of the tail, tail
//
// in this machine's byte order: only the process that wrote it reads it.

#ifndef HEADWISE_SERVER_SELECTION_SORT_RUN_H_
#define HEADWISE_SERVER_SELECTION_SORT_RUN_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/selection/spill_file.h"

namespace headwise {

struct SortRun {
  int64_t begin = 0;  // offsets in the file
  int64_t end = 0;
};

struct SortGroup {
  std::string name;
  int64_t num_records = 0;
  int64_t num_bytes = 0;  // of the records as a run holds them
};

struct SortRecord {
  uint64_t key = 0;
  absl::string_view tail;
};

inline constexpr int64_t kSortGroupBytes = 20;   // beside the name
inline constexpr int64_t kSortRecordBytes = 12;  // beside the tail

// Appends one run to `file`, which outlives it.
class RunWriter {
 public:
  RunWriter(SpillFile& file, int64_t buffer_bytes);

  // The caller adds as many records and bytes as the group says.
  absl::Status BeginGroup(const SortGroup& group);
  absl::Status Add(const SortRecord& record);
  absl::StatusOr<SortRun> Finish();

 private:
  absl::Status Append(absl::string_view bytes);
  absl::Status Flush();

  SpillFile& file_;
  const size_t buffer_bytes_;
  const int64_t begin_;
  std::string buffer_;
};

// Reads one run from its begin to its end. `file` outlives it.
class RunReader {
 public:
  // `buffer_bytes` holds the largest record and header of the run.
  RunReader(const SpillFile& file, SortRun run, int64_t buffer_bytes);

  // The next group, or at_end(). Skips what was not read of the one before.
  absl::Status NextGroup();
  bool at_end() const { return at_end_; }
  const SortGroup& group() const { return group_; }

  // Requires num_left() > 0.
  absl::Status NextRecord();
  int64_t num_left() const { return num_left_; }  // records of the group
  // Until the next call.
  const SortRecord& record() const { return record_; }

 private:
  // Makes the next `num_bytes` of the run available at data().
  absl::Status Need(int64_t num_bytes);
  const char* data() const { return buffer_.data() + next_; }
  void Consume(int64_t num_bytes);

  const SpillFile& file_;
  const int64_t end_;
  int64_t offset_;      // of the byte after the buffer's last
  std::string buffer_;  // full size from the first read on
  int64_t next_ = 0;    // of buffer_: first byte not consumed
  int64_t filled_ = 0;  // of buffer_
  bool at_end_ = false;
  SortGroup group_;
  int64_t num_left_ = 0;
  int64_t bytes_left_ = 0;  // of the group
  SortRecord record_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_SORT_RUN_H_
