#include "worker/executor/token_history.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace headwise {

void TokenHistory::Append(absl::Span<const int32_t> tokens) {
  while (!tokens.empty()) {
    const size_t room = static_cast<size_t>(kChunkTokens) - tail_.size();
    const absl::Span<const int32_t> taken = tokens.subspan(0, room);
    tail_.insert(tail_.end(), taken.begin(), taken.end());
    tokens.remove_prefix(taken.size());
    if (tail_.size() < static_cast<size_t>(kChunkTokens)) return;
    chunks_.push_back(
        std::make_shared<const Chunk>(std::exchange(tail_, Chunk())));
  }
}

TokenHistory TokenHistory::Prefix(int64_t length) const {
  HEADWISE_CHECK(length >= 0 && length <= size());
  TokenHistory prefix;
  const int64_t num_whole = length / kChunkTokens;
  prefix.chunks_.assign(chunks_.begin(), chunks_.begin() + num_whole);
  const int64_t rest = length % kChunkTokens;
  if (rest == 0) return prefix;
  const Chunk& last = num_whole < static_cast<int64_t>(chunks_.size())
                          ? *chunks_[static_cast<size_t>(num_whole)]
                          : tail_;
  prefix.tail_.assign(last.begin(), last.begin() + rest);
  return prefix;
}

std::vector<int32_t> TokenHistory::ToVector() const {
  std::vector<int32_t> tokens;
  tokens.reserve(static_cast<size_t>(size()));
  ForEachRun([&tokens](absl::Span<const int32_t> run) {
    tokens.insert(tokens.end(), run.begin(), run.end());
  });
  return tokens;
}

}  // namespace headwise
