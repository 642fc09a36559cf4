// What one worker holds of one neural memory: some of its heads, in the state
// that the memory has and in the one that it may have next.

#ifndef HEADWISE_WORKER_MEMORY_PARTS_MEMORY_PART_H_
#define HEADWISE_WORKER_MEMORY_PARTS_MEMORY_PART_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/thread_team.h"
#include "worker/backends/cpu/memory_kernels.h"
#include "worker/memory_parts/memory_messages.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {

// What heads are worked on with. `scratches` [team.num_threads()].
struct MemoryTools {
  const MemoryKernels& kernels;
  ThreadTeam& team;
  std::vector<MemoryScratch>& scratches;
};

// Not thread-safe. Calls check that tensors are as long as they must be.
class MemoryPart {
 public:
  // The share was checked. Heads come by Import.
  explicit MemoryPart(const MemoryShare& share);

  const MemoryShare& share() const { return share_; }
  int64_t reserved_bytes() const;

  // Before the first write. Errors of LoadMemoryHead; DataLoss if the head has
  // another number of tokens.
  absl::Status Import(const ImportMemoryRequest& request);

  // Makes the state `next_version` of `version`. Aborted if it comes after a
  // later one; OutOfRange of a head, which it names: there is no next state
  // then.
  absl::StatusOr<WriteMemoryResult> Write(const WriteMemoryRequest& request,
                                          const MemoryTools& tools);
  // Likewise: drops the rows of the open chunk. Aborted as above.
  absl::Status DropOpenRows(int64_t version, int64_t next_version);

  // FailedPrecondition if the state of that version is not there any more, as
  // for the following two.
  absl::StatusOr<std::vector<float>> Read(const ReadMemoryRequest& request,
                                          const MemoryTools& tools);
  absl::StatusOr<std::string> Export(int64_t head, int64_t version);
  // A part with that state as its version 0.
  absl::StatusOr<MemoryPart> Fork(int64_t version);

 private:
  class InState;
  using Heads = std::vector<std::optional<MemoryHead>>;  // [num_heads]

  absl::Status CheckComplete() const;
  absl::Status CheckTensors(const WriteMemoryRequest& request) const;
  absl::Status CheckKnown(int64_t version) const;
  // The state of that version counts, and may be changed: `next_version` will
  // be next. What another write has made of it is undone.
  absl::Status Begin(int64_t version, int64_t next_version);
  void SwapHeads();

  MemoryShare share_;
  int64_t version_ = 0;
  // In the state that the last write has made, next_version_, if there is one
  // and until the next call says whether it counts; `undos_` leads from there
  // to version_.
  Heads heads_;
  std::vector<MemoryUndo> undos_;  // [num_heads]
  std::optional<int64_t> next_version_;
  int64_t last_tried_ = 0;  // version of a write
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_MEMORY_PARTS_MEMORY_PART_H_
