// All neural memories of one worker: their bytes, and what is asked of them.

#ifndef HEADWISE_WORKER_MEMORY_PARTS_MEMORY_STORE_H_
#define HEADWISE_WORKER_MEMORY_PARTS_MEMORY_STORE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "base/thread_team.h"
#include "worker/backends/cpu/memory_kernels.h"
#include "worker/leases/lease_table.h"
#include "worker/memory_parts/memory_messages.h"
#include "worker/memory_parts/memory_part.h"

namespace headwise {

struct MemoryStoreOptions {
  int64_t capacity_bytes = 0;
  // A memory that no coordinator has named for so long is dropped: its
  // coordinator is gone.
  absl::Duration lease = absl::Seconds(60);
  int64_t max_memories = 4096;
};

// Not thread-safe. Every call names a memory; NotFound if it is not here. Other
// errors are those of MemoryPart.
//
// A memory's bytes never change, so they are promised when it opens or forks,
// and it never fails for want of them later on.
class MemoryStore {
 public:
  // The references must outlive the store.
  MemoryStore(const MemoryStoreOptions& options, const MemoryKernels& kernels,
              ThreadTeam& team, const Clock& clock);

  // Returns the bytes that are promised. ResourceExhausted names the bytes that
  // are needed and those that are free; AlreadyExists, InvalidArgument.
  absl::StatusOr<int64_t> Open(const OpenMemoryRequest& request);
  absl::Status Import(const ImportMemoryRequest& request);
  absl::StatusOr<WriteMemoryResult> Write(const WriteMemoryRequest& request);
  absl::StatusOr<std::vector<float>> Read(const ReadMemoryRequest& request);
  absl::Status DropOpenRows(const DropOpenRowsRequest& request);
  // Returns the bytes of the fork; its state has version 0.
  absl::StatusOr<int64_t> Fork(const std::string& memory_id,
                               const std::string& fork_id, int64_t version);
  absl::StatusOr<std::string> Export(const std::string& memory_id, int64_t head,
                                     int64_t version);
  absl::Status Delete(const std::string& memory_id);

  // Renews the lease of these; returns those that are not here. Memories whose
  // lease has ended are dropped.
  std::vector<std::string> Renew(const std::vector<std::string>& memory_ids);

  int64_t reserved_bytes() const;
  int64_t num_memories() const { return parts_.size(); }

 private:
  // ResourceExhausted unless `bytes` more can be promised.
  absl::Status CheckFree(int64_t bytes) const;

  const MemoryStoreOptions options_;
  std::vector<MemoryScratch> scratches_;
  const MemoryTools tools_;
  LeaseTable<MemoryPart> parts_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_MEMORY_PARTS_MEMORY_STORE_H_
