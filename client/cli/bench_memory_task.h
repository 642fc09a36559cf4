// The recall that a model was trained for, and a long text of it.

#ifndef HEADWISE_CLIENT_CLI_BENCH_MEMORY_TASK_H_
#define HEADWISE_CLIENT_CLI_BENCH_MEMORY_TASK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace headwise {

// Token ids [begin, end).
struct TokenRange {
  int32_t begin = 0;
  int32_t end = 0;

  int32_t size() const { return end - begin; }
};

// task.json of the model's folder (docs/memory-bench.md): a pair is a key's
// token and, right after it, a value's; a key alone asks for its value.
struct RecallTask {
  TokenRange text;  // 256 of them, by byte
  TokenRange keys;
  TokenRange values;
};

// NotFound names the file; InvalidArgument the key that is missing or wrong,
// its value and the limit. `vocab_size` is the model's.
absl::StatusOr<RecallTask> ReadRecallTask(const std::string& model_folder,
                                          int64_t vocab_size);
// The same of the file's text.
absl::StatusOr<RecallTask> ParseRecallTask(const std::string& json,
                                           int64_t vocab_size);

struct RecallPair {
  int32_t key = 0;
  int32_t value = 0;
};

struct RecallTextOptions {
  int64_t num_needles = 8;  // at most half of spread, and the task's keys
  int64_t context_len = 0;  // tokens from the place of needles to the end
  double depth = 0;         // that place: 0 the begin; 1 the end
  int64_t spread = 512;     // tokens over which needles are dealt evenly
  uint64_t seed = 1;        // of pairs, and of where in the haystack we begin
};

// context_len + spread tokens of the haystack, cycled, in which pairs stand in
// place of text. With depth 0 all needles are more than context_len tokens from
// the end.
struct RecallText {
  std::vector<RecallPair> pairs;  // keys are different
  std::vector<int32_t> tokens;
};

// A pure function of its arguments; `haystack` is not empty.
RecallText MakeRecallText(const RecallTask& task, absl::string_view haystack,
                          const RecallTextOptions& options);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_MEMORY_TASK_H_
