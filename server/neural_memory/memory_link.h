// One worker's neural memories as the coordinator sees them, whatever lies
// between.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_LINK_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_LINK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "server/leases/lease_link.h"
#include "worker/memory_parts/memory_messages.h"

namespace headwise {

// As LeaseLink. The errors are those of MemoryStore as well.
class MemoryLink : public LeaseLink {
 public:
  virtual void Open(OpenMemoryRequest request, absl::Duration timeout,
                    Done<int64_t> done) = 0;
  virtual void Import(ImportMemoryRequest request, absl::Duration timeout,
                      Done<Nothing> done) = 0;
  virtual void Write(WriteMemoryRequest request, absl::Duration timeout,
                     Done<WriteMemoryResult> done) = 0;
  virtual void Read(ReadMemoryRequest request, absl::Duration timeout,
                    Done<std::vector<float>> done) = 0;
  virtual void DropOpenRows(DropOpenRowsRequest request, absl::Duration timeout,
                            Done<Nothing> done) = 0;
  virtual void Fork(const std::string& memory_id, const std::string& fork_id,
                    int64_t version, absl::Duration timeout,
                    Done<int64_t> done) = 0;
  virtual void Export(const std::string& memory_id, int64_t head,
                      int64_t version, absl::Duration timeout,
                      Done<std::string> done) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_LINK_H_
