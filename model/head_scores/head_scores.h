// What a calibration measured of every head of a model.

#ifndef HEADWISE_MODEL_HEAD_SCORES_HEAD_SCORES_H_
#define HEADWISE_MODEL_HEAD_SCORES_HEAD_SCORES_H_

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"

namespace headwise {

// Plain values; check with CheckHeadScores before use. The greater a score, the
// more the head matters to what the method measures.
struct HeadScores {
  std::string model_sha256;  // 64 hexadecimal digits, lower case
  std::string method;        // what made it: "retrieval", "echo", ...
  int64_t num_layers = 0;
  int64_t num_heads = 0;  // query heads of a layer
  int64_t num_kv_heads = 0;
  std::vector<double> units;  // [num_layers * num_kv_heads]
  // [num_layers * num_heads], or empty: the method knows units only.
  std::vector<double> heads;
  // What else was measured, by name; as long as `heads` or as `units`.
  std::map<std::string, std::vector<double>> details;

  friend bool operator==(const HeadScores&, const HeadScores&) = default;
};

// Of num_layers and num_heads, as in a head plan.
inline constexpr int64_t kMaxScoredLayers = 1024;
inline constexpr int64_t kMaxScoredHeads = 65536;  // of the whole model
inline constexpr size_t kMaxScoreDetails = 8;

// InvalidArgument names the field, its value and the limit.
absl::Status CheckHeadScores(const HeadScores& scores);

// The greatest score of each group of query heads that share a KV head
// (RazorAttention, Tang et al., arXiv 2407.15891): [num_layers * num_kv_heads]
// of `heads`, [num_layers * num_heads].
std::vector<double> MaxOverGroups(absl::Span<const double> heads,
                                  int64_t heads_per_kv_head);

// Indices by falling score; the lower index first among equals.
std::vector<int64_t> RankByScore(absl::Span<const double> scores);

// The part of the `count` best of `a` that is among the `count` best of `b`.
// Requires count >= 1 and equal sizes.
double TopOverlap(absl::Span<const double> a, absl::Span<const double> b,
                  int64_t count);

// Spearman's correlation of two rankings, equals at their mean rank; 0 where
// all scores of one are equal.
double RankCorrelation(absl::Span<const double> a, absl::Span<const double> b);

// Several rankings of the same heads as one: 1 - mean rank / (number - 1), so
// that 1 is the best everywhere. Equals share their mean rank. `heads` are
// joined if all have them. InvalidArgument if there is none, one is not valid,
// or they are not of one model.
absl::StatusOr<HeadScores> JoinScores(absl::Span<const HeadScores> scores);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_SCORES_HEAD_SCORES_H_
