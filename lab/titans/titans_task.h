// What Titans models of the lab are trained on: recall of pairs among text, and
// text.
//
// A token below 256 is that byte. A pair is a key's token and, right after it,
// a value's: <k7><v41>. Where a key comes again its value is asked for.

#ifndef HEADWISE_LAB_TITANS_TITANS_TASK_H_
#define HEADWISE_LAB_TITANS_TITANS_TASK_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "server/calibration/draws.h"
#include "torch/torch.h"

namespace headwise {

inline constexpr int64_t kNumTitansKeys = 64;
inline constexpr int64_t kNumTitansValues = 64;
inline constexpr int64_t kFirstTitansKey = 256;
inline constexpr int64_t kFirstTitansValue = kFirstTitansKey + kNumTitansKeys;
inline constexpr int64_t kTitansEnd = kFirstTitansValue + kNumTitansValues;
inline constexpr int64_t kTitansVocab = kTitansEnd + 1;

struct TitansText {
  std::string train;
  std::string held_out;  // the last tenth
};

// The regular files of a folder, by name, links left out; or one file. NotFound
// or InvalidArgument, naming the path and the limit, if it can't be read or has
// not 20,000 bytes.
absl::StatusOr<TitansText> ReadTitansText(const std::string& path);

struct TitansBatch {
  torch::Tensor tokens;    // [sequences, length], int64
  torch::Tensor labelled;  // [sequences, length], bool: the next token counts
};

// `length` bytes of the text, from anywhere, as tokens.
std::vector<int64_t> DrawFiller(const std::string& text, int64_t length,
                                Draws& draws);

struct Pair {
  int64_t key = 0;  // tokens
  int64_t value = 0;
};

// Of different keys. num_pairs <= kNumTitansKeys.
std::vector<Pair> DrawPairs(int64_t num_pairs, Draws& draws);

// Pairs at random places of filler, three times as many as `num_pairs` but at
// most half of all tokens; the first of a key writes, later ones ask and are
// labelled. One sequence of eight has random bytes for text, or bytes that the
// text lacks would never be seen.
TitansBatch DrawRecallBatch(const std::string& text, int64_t num_sequences,
                            int64_t length, int64_t num_pairs, Draws& draws);

// Text alone, every next token labelled.
TitansBatch DrawTextBatch(const std::string& text, int64_t num_sequences,
                          int64_t length, Draws& draws);

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_TITANS_TASK_H_
