// Finds the files that a job's paths name.

#ifndef HEADWISE_SERVER_SELECTION_INPUT_WALK_H_
#define HEADWISE_SERVER_SELECTION_INPUT_WALK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "server/selection/input_root.h"

namespace headwise {

struct FoundFile {
  std::string name;  // relative to the root
  int64_t size = 0;  // bytes
};

// The files of `paths`, files or folders, and of all folders in them, each once
// and in the byte order of their names; all of the root if `paths` is empty.
// `go_on` is called once in a while. Errors as PlanShards.
absl::StatusOr<std::vector<FoundFile>> FindInputFiles(
    const InputRoot& root, absl::Span<const std::string> paths,
    const std::function<bool()>& go_on);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_INPUT_WALK_H_
