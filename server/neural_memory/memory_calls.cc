#include "server/neural_memory/memory_calls.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

// Puts the workers' shares of a tensor side by side.
absl::Status Collect(const MemoryWorker& worker, std::vector<float> share,
                     int64_t num_rows, int64_t width, int64_t num_heads,
                     std::vector<float>& tensor) {
  if (static_cast<int64_t>(share.size()) !=
      num_rows * worker.num_heads * width) {
    return absl::InternalError(absl::StrCat(
        "worker ", worker.name, ": answered ", share.size(), " floats"));
  }
  if (worker.num_heads == num_heads) {
    tensor = std::move(share);
    return absl::OkStatus();
  }
  tensor.resize(static_cast<size_t>(num_rows * num_heads * width));
  PutHeads(share, num_heads, width, worker.first_head, worker.num_heads,
           tensor);
  return absl::OkStatus();
}

}  // namespace

WorkersWrite::WorkersWrite(NeuralMemory& memory, const MemoryState& state,
                           int64_t next_version, MemoryTensors tensors,
                           absl::Duration timeout)
    : memory_(memory),
      num_rows_(tensors.num_rows),
      num_tokens_(state.num_tokens + tensors.num_rows),
      reads_(!tensors.queries.empty()),
      answers_(memory.workers().size()) {
  const std::vector<MemoryWorker>& workers = memory.workers();
  const int64_t heads = memory.config().num_heads;
  const int64_t head_dim = memory.config().spec.head_dim;
  for (size_t i = 0; i < workers.size(); ++i) {
    const auto share = [&](std::vector<float>& tensor, int64_t width) {
      if (workers[i].num_heads == heads) return std::move(tensor);
      return HeadsOf(tensor, heads, width, workers[i].first_head,
                     workers[i].num_heads);
    };
    workers[i].link->Write(
        {memory.id(), state.version, next_version, tensors.num_rows,
         share(tensors.keys, head_dim), share(tensors.values, head_dim),
         share(tensors.queries, head_dim), share(tensors.theta, 1),
         share(tensors.eta, 1), share(tensors.alpha, 1)},
        timeout, answers_.Slot(i));
  }
}

absl::StatusOr<MemoryWriteOutcome> WorkersWrite::Wait() {
  const std::vector<MemoryWorker>& workers = memory_.workers();
  const int64_t heads = memory_.config().num_heads;
  const int64_t head_dim = memory_.config().spec.head_dim;
  auto& all = answers_.Wait();
  MemoryWriteOutcome outcome;
  outcome.num_tokens = num_tokens_;
  for (size_t i = 0; i < workers.size(); ++i) {
    if (!all[i].ok()) return memory_.Explain(workers[i], all[i].status());
    HEADWISE_RETURN_IF_ERROR(Collect(workers[i], std::move(all[i]->surprise),
                                     num_rows_, 1, heads, outcome.surprise));
    if (!reads_) continue;
    HEADWISE_RETURN_IF_ERROR(Collect(workers[i], std::move(all[i]->outputs),
                                     num_rows_, head_dim, heads,
                                     outcome.outputs));
  }
  return outcome;
}

absl::Status DropOpenRowsOverWorkers(NeuralMemory& memory,
                                     const MemoryState& state,
                                     int64_t next_version,
                                     absl::Duration timeout) {
  const std::vector<MemoryWorker>& workers = memory.workers();
  Gather<Nothing> answers(workers.size());
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].link->DropOpenRows({memory.id(), state.version, next_version},
                                  timeout, answers.Slot(i));
  }
  const auto& all = answers.Wait();
  for (size_t i = 0; i < workers.size(); ++i) {
    if (!all[i].ok()) return memory.Explain(workers[i], all[i].status());
  }
  return absl::OkStatus();
}

absl::StatusOr<MemoryReadAnswer> ReadOverWorkers(
    NeuralMemory& memory, const std::vector<float>& queries,
    int64_t num_queries, absl::Duration timeout) {
  const std::vector<MemoryWorker>& workers = memory.workers();
  const int64_t heads = memory.config().num_heads;
  const int64_t head_dim = memory.config().spec.head_dim;
  const MemoryState state = memory.state();
  Gather<std::vector<float>> answers(workers.size());
  for (size_t i = 0; i < workers.size(); ++i) {
    workers[i].link->Read(
        {memory.id(), state.version, num_queries,
         HeadsOf(queries, heads, head_dim, workers[i].first_head,
                 workers[i].num_heads)},
        timeout, answers.Slot(i));
  }
  auto& all = answers.Wait();
  MemoryReadAnswer answer;
  answer.num_tokens = state.num_tokens;
  for (size_t i = 0; i < workers.size(); ++i) {
    if (!all[i].ok()) return memory.Explain(workers[i], all[i].status());
    HEADWISE_RETURN_IF_ERROR(Collect(workers[i], *std::move(all[i]),
                                     num_queries, head_dim, heads,
                                     answer.outputs));
  }
  return answer;
}

}  // namespace headwise
