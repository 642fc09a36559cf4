#include "worker/executor/token_history.h"

#include <cstdint>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"

namespace headwise {
namespace {

constexpr int64_t kChunk = TokenHistory::kChunkTokens;

std::vector<int32_t> Tokens(int64_t count, int32_t first = 0) {
  std::vector<int32_t> tokens(static_cast<size_t>(count));
  std::iota(tokens.begin(), tokens.end(), first);
  return tokens;
}

TEST(TokenHistoryTest, HoldsWhatWasAppendedHoweverItWasCut) {
  for (const int64_t size : {int64_t{0}, int64_t{1}, kChunk - 1, kChunk,
                             kChunk + 1, 3 * kChunk, 3 * kChunk + 7}) {
    const std::vector<int32_t> all = Tokens(size);
    for (const int64_t step : {int64_t{1}, int64_t{1000}, kChunk, size + 1}) {
      TokenHistory history;
      for (int64_t at = 0; at < size; at += step) {
        history.Append(absl::MakeConstSpan(all).subspan(at, step));
      }
      EXPECT_EQ(history.size(), size);
      EXPECT_EQ(history.empty(), size == 0);
      EXPECT_EQ(history.ToVector(), all);
    }
  }
}

TEST(TokenHistoryTest, APrefixGoesOnByItself) {
  const std::vector<int32_t> all = Tokens(2 * kChunk + 100);
  for (const int64_t length : {int64_t{0}, int64_t{1}, kChunk - 1, kChunk,
                               kChunk + 1, 2 * kChunk, 2 * kChunk + 100}) {
    TokenHistory history(all);
    TokenHistory prefix = history.Prefix(length);
    std::vector<int32_t> expected(all.begin(), all.begin() + length);
    EXPECT_EQ(prefix.ToVector(), expected);
    const std::vector<int32_t> more = Tokens(kChunk + 3, /*first=*/500000);
    prefix.Append(more);
    history.Append(Tokens(5));
    expected.insert(expected.end(), more.begin(), more.end());
    EXPECT_EQ(prefix.ToVector(), expected);
    EXPECT_EQ(history.Prefix(static_cast<int64_t>(all.size())).ToVector(), all);
  }
}

}  // namespace
}  // namespace headwise
