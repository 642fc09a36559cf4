// MemoryLink to memories of this process.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_LOCAL_MEMORY_LINK_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_LOCAL_MEMORY_LINK_H_

#include <string>
#include <vector>

#include "server/neural_memory/memory_link.h"
#include "worker/memory_parts/memory_node.h"

namespace headwise {

// `node` must outlive the link. Timeouts are not watched: nobody is remote.
class LocalMemoryLink final : public MemoryLink {
 public:
  explicit LocalMemoryLink(MemoryNode& node) : node_(node) {}

  void Open(OpenMemoryRequest request, absl::Duration timeout,
            Done<int64_t> done) override;
  void Import(ImportMemoryRequest request, absl::Duration timeout,
              Done<Nothing> done) override;
  void Write(WriteMemoryRequest request, absl::Duration timeout,
             Done<WriteMemoryResult> done) override;
  void Read(ReadMemoryRequest request, absl::Duration timeout,
            Done<std::vector<float>> done) override;
  void DropOpenRows(DropOpenRowsRequest request, absl::Duration timeout,
                    Done<Nothing> done) override;
  void Fork(const std::string& memory_id, const std::string& fork_id,
            int64_t version, absl::Duration timeout,
            Done<int64_t> done) override;
  void Export(const std::string& memory_id, int64_t head, int64_t version,
              absl::Duration timeout, Done<std::string> done) override;
  void Delete(const std::string& memory_id, absl::Duration timeout,
              Done<Nothing> done) override;
  void Renew(std::vector<std::string> memory_ids, absl::Duration timeout,
             Done<std::vector<std::string>> done) override;

 private:
  MemoryNode& node_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_LOCAL_MEMORY_LINK_H_
