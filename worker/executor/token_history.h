// All tokens of a sequence so far, by position.

#ifndef HEADWISE_WORKER_EXECUTOR_TOKEN_HISTORY_H_
#define HEADWISE_WORKER_EXECUTOR_TOKEN_HISTORY_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/types/span.h"

namespace headwise {

// A value. Copies and prefixes share what fills whole chunks, so that a fork
// after two million tokens costs some hundred pointers and not 8 MB.
class TokenHistory {
 public:
  static constexpr int64_t kChunkTokens = 4096;

  TokenHistory() = default;
  explicit TokenHistory(absl::Span<const int32_t> tokens) { Append(tokens); }

  int64_t size() const {
    return static_cast<int64_t>(chunks_.size()) * kChunkTokens +
           static_cast<int64_t>(tail_.size());
  }
  bool empty() const { return size() == 0; }

  void Append(absl::Span<const int32_t> tokens);
  // The first `length` <= size() of them. O(length / kChunkTokens).
  TokenHistory Prefix(int64_t length) const;

  // Calls visit(span) for runs of tokens, in order.
  template <typename Visit>
  void ForEachRun(Visit visit) const {
    for (const auto& chunk : chunks_) visit(absl::MakeConstSpan(*chunk));
    visit(absl::MakeConstSpan(tail_));
  }
  std::vector<int32_t> ToVector() const;

 private:
  using Chunk = std::vector<int32_t>;

  std::vector<std::shared_ptr<const Chunk>> chunks_;  // [kChunkTokens] each
  Chunk tail_;                                        // fewer than kChunkTokens
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_TOKEN_HISTORY_H_
