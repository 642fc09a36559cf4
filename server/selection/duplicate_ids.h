// Which rows of a job have an id that an earlier row has.

#ifndef HEADWISE_SERVER_SELECTION_DUPLICATE_IDS_H_
#define HEADWISE_SERVER_SELECTION_DUPLICATE_IDS_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/selection/external_sort.h"

namespace headwise {

// Sorts the first 128 bits of the ids' SHA-256 on disk: memory is bounded, and
// two different ids are taken for one with a probability of n^2 / 2^129, 10^-21
// for a billion rows. Not thread-safe.
class DuplicateIds {
 public:
  struct Options {
    // At least 2 * kMinSortBytes.
    int64_t max_memory_bytes = int64_t{256} << 20;
    // Takes about 28 bytes for a row; nothing stays there.
    std::string temp_dir;
  };

  // InvalidArgument (an option), or that a file can't be made in temp_dir.
  static absl::StatusOr<std::unique_ptr<DuplicateIds>> Create(
      const Options& options);

  // `position` orders the rows: >= 0, each once, in any order of calls.
  // ResourceExhausted if temp_dir has no room left.
  absl::Status Add(absl::string_view id, int64_t position);

  // Calls `found` by rising position for each row whose id a row of lesser
  // position has, and returns how many there are. Once, after the last Add. An
  // error of `found` ends it and is returned.
  absl::StatusOr<int64_t> Find(
      const std::function<absl::Status(int64_t position)>& found);

 private:
  DuplicateIds(const Options& options, std::unique_ptr<ExternalSort> by_id);

  const Options options_;
  std::unique_ptr<ExternalSort> by_id_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_DUPLICATE_IDS_H_
