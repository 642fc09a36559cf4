// Blocks as they leave and enter a worker.

#ifndef HEADWISE_WORKER_SESSIONS_BLOCK_BYTES_H_
#define HEADWISE_WORKER_SESSIONS_BLOCK_BYTES_H_

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "worker/sessions/session_messages.h"

namespace headwise {

// Zeros the slots [first_slot, 64) of a block.
void ClearSlots(const Kernels& kernels, const KvLayout& layout,
                int64_t first_slot, char* block);

// InvalidArgument if a key, a value or a scale of the run's blocks is not
// finite; names kv_head and block. `bytes` has the run's size.
absl::Status CheckBlocks(const KvLayout& layout, const BlockRun& run,
                         const std::string& bytes);

}  // namespace headwise

#endif  // HEADWISE_WORKER_SESSIONS_BLOCK_BYTES_H_
