#include "server/neural_memory/local_memory_link.h"

#include <utility>

#include "server/leases/local_call.h"

namespace headwise {

void LocalMemoryLink::Open(OpenMemoryRequest request, absl::Duration timeout,
                           Done<int64_t> done) {
  CallStore<int64_t, MemoryStore>(
      node_, std::move(done),
      [request = std::move(request)](MemoryStore& store) {
        return store.Open(request);
      });
}

void LocalMemoryLink::Import(ImportMemoryRequest request,
                             absl::Duration timeout, Done<Nothing> done) {
  CallStore<Nothing, MemoryStore>(
      node_, std::move(done),
      [request = std::move(request)](MemoryStore& store) {
        return NothingOr(store.Import(request));
      });
}

void LocalMemoryLink::Write(WriteMemoryRequest request, absl::Duration timeout,
                            Done<WriteMemoryResult> done) {
  CallStore<WriteMemoryResult, MemoryStore>(
      node_, std::move(done),
      [request = std::move(request)](MemoryStore& store) {
        return store.Write(request);
      });
}

void LocalMemoryLink::Read(ReadMemoryRequest request, absl::Duration timeout,
                           Done<std::vector<float>> done) {
  CallStore<std::vector<float>, MemoryStore>(
      node_, std::move(done),
      [request = std::move(request)](MemoryStore& store) {
        return store.Read(request);
      });
}

void LocalMemoryLink::DropOpenRows(DropOpenRowsRequest request,
                                   absl::Duration timeout, Done<Nothing> done) {
  CallStore<Nothing, MemoryStore>(
      node_, std::move(done),
      [request = std::move(request)](MemoryStore& store) {
        return NothingOr(store.DropOpenRows(request));
      });
}

void LocalMemoryLink::Fork(const std::string& memory_id,
                           const std::string& fork_id, int64_t version,
                           absl::Duration timeout, Done<int64_t> done) {
  CallStore<int64_t, MemoryStore>(
      node_, std::move(done),
      [memory_id, fork_id, version](MemoryStore& store) {
        return store.Fork(memory_id, fork_id, version);
      });
}

void LocalMemoryLink::Export(const std::string& memory_id, int64_t head,
                             int64_t version, absl::Duration timeout,
                             Done<std::string> done) {
  CallStore<std::string, MemoryStore>(
      node_, std::move(done), [memory_id, head, version](MemoryStore& store) {
        return store.Export(memory_id, head, version);
      });
}

void LocalMemoryLink::Delete(const std::string& memory_id,
                             absl::Duration timeout, Done<Nothing> done) {
  CallStore<Nothing, MemoryStore>(node_, std::move(done),
                                  [memory_id](MemoryStore& store) {
                                    return NothingOr(store.Delete(memory_id));
                                  });
}

void LocalMemoryLink::Renew(std::vector<std::string> memory_ids,
                            absl::Duration timeout,
                            Done<std::vector<std::string>> done) {
  CallStore<std::vector<std::string>, MemoryStore>(
      node_, std::move(done),
      [ids = std::move(memory_ids)](
          MemoryStore& store) -> absl::StatusOr<std::vector<std::string>> {
        return store.Renew(ids);
      });
}

}  // namespace headwise
