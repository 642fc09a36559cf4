// The memory of another process: to find bytes there, and to change them.

#ifndef HEADWISE_TESTS_CLUSTER_PROCESS_MEMORY_H_
#define HEADWISE_TESTS_CLUSTER_PROCESS_MEMORY_H_

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace headwise {

// Where `bytes` lie in memory that the process has of its own and may write;
// nothing if nowhere. It should be a child, or the kernel may not allow it.
std::optional<uint64_t> FindInMemory(pid_t process, absl::string_view bytes);

// Writes over what is there, also while the process runs.
absl::Status WriteToMemory(pid_t process, uint64_t address,
                           const std::string& bytes);

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_PROCESS_MEMORY_H_
