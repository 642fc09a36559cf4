#include "model/head_scores/head_scores.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

absl::Status CheckArray(const std::string& name,
                        absl::Span<const double> values, int64_t size) {
  if (static_cast<int64_t>(values.size()) != size) {
    return absl::InvalidArgumentError(absl::StrCat(
        "scores: ", name, " has ", values.size(), " numbers, must be ", size));
  }
  for (size_t i = 0; i < values.size(); ++i) {
    if (!std::isfinite(values[i])) {
      return absl::InvalidArgumentError(absl::StrCat(
          "scores: ", name, "[", i, "] is ", values[i], ", must be finite"));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckShape(const HeadScores& scores) {
  if (scores.num_layers < 1 || scores.num_layers > kMaxScoredLayers) {
    return absl::InvalidArgumentError(
        absl::StrCat("scores: num_layers is ", scores.num_layers,
                     ", must be 1 to ", kMaxScoredLayers));
  }
  if (scores.num_heads < 1 ||
      scores.num_heads > kMaxScoredHeads / scores.num_layers) {
    return absl::InvalidArgumentError(
        absl::StrCat("scores: num_heads is ", scores.num_heads,
                     ", must be 1 to ", kMaxScoredHeads / scores.num_layers,
                     " for ", scores.num_layers, " layers"));
  }
  if (scores.num_kv_heads < 1 || scores.num_heads % scores.num_kv_heads != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("scores: num_kv_heads is ", scores.num_kv_heads,
                     ", must divide num_heads, ", scores.num_heads));
  }
  return absl::OkStatus();
}

// Rank 0 is the best; equals get the mean of their ranks.
std::vector<double> MeanRanks(absl::Span<const double> scores) {
  const std::vector<int64_t> order = RankByScore(scores);
  const auto score_at = [&](size_t rank) {
    return scores[static_cast<size_t>(order[rank])];
  };
  std::vector<double> ranks(scores.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && score_at(end) == score_at(begin)) ++end;
    const double mean = static_cast<double>(begin + end - 1) / 2;
    for (; begin < end; ++begin) {
      ranks[static_cast<size_t>(order[begin])] = mean;
    }
  }
  return ranks;
}

// `rankings` of equal size >= 1.
std::vector<double> JoinRankings(
    const std::vector<std::vector<double>>& rankings) {
  std::vector<double> joined(rankings[0].size(), 0.0);
  for (const std::vector<double>& scores : rankings) {
    const std::vector<double> ranks = MeanRanks(scores);
    for (size_t i = 0; i < joined.size(); ++i) joined[i] += ranks[i];
  }
  const double last_rank =
      std::max(1.0, static_cast<double>(joined.size()) - 1);
  for (double& value : joined) {
    value = 1 - value / static_cast<double>(rankings.size()) / last_rank;
  }
  return joined;
}

absl::Status CheckSameModel(const HeadScores& a, const HeadScores& b) {
  if (a.model_sha256 == b.model_sha256 && a.num_layers == b.num_layers &&
      a.num_heads == b.num_heads && a.num_kv_heads == b.num_kv_heads) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(
      absl::StrCat("scores of two models cannot be joined: ", a.method,
                   "'s is ", a.model_sha256, " (", a.num_layers, " layers of ",
                   a.num_heads, " heads), ", b.method, "'s is ", b.model_sha256,
                   " (", b.num_layers, " layers of ", b.num_heads, " heads)"));
}

}  // namespace

absl::Status CheckHeadScores(const HeadScores& scores) {
  HEADWISE_RETURN_IF_ERROR(CheckShape(scores));
  const int64_t num_units = scores.num_layers * scores.num_kv_heads;
  const int64_t num_heads = scores.num_layers * scores.num_heads;
  HEADWISE_RETURN_IF_ERROR(CheckArray("units", scores.units, num_units));
  if (!scores.heads.empty()) {
    HEADWISE_RETURN_IF_ERROR(CheckArray("heads", scores.heads, num_heads));
  }
  if (scores.details.size() > kMaxScoreDetails) {
    return absl::InvalidArgumentError(
        absl::StrCat("scores: details has ", scores.details.size(),
                     " entries, limit ", kMaxScoreDetails));
  }
  for (const auto& [name, values] : scores.details) {
    const bool of_units = static_cast<int64_t>(values.size()) == num_units;
    HEADWISE_RETURN_IF_ERROR(CheckArray(absl::StrCat("details.", name), values,
                                        of_units ? num_units : num_heads));
  }
  return absl::OkStatus();
}

std::vector<double> MaxOverGroups(absl::Span<const double> heads,
                                  int64_t heads_per_kv_head) {
  std::vector<double> units;
  const auto group = static_cast<size_t>(heads_per_kv_head);
  for (size_t begin = 0; begin + group <= heads.size(); begin += group) {
    const absl::Span<const double> scores = heads.subspan(begin, group);
    units.push_back(*std::max_element(scores.begin(), scores.end()));
  }
  return units;
}

std::vector<int64_t> RankByScore(absl::Span<const double> scores) {
  std::vector<int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) {
    return scores[static_cast<size_t>(a)] > scores[static_cast<size_t>(b)];
  });
  return order;
}

double TopOverlap(absl::Span<const double> a, absl::Span<const double> b,
                  int64_t count) {
  const std::vector<int64_t> best_a = RankByScore(a);
  const std::vector<int64_t> best_b = RankByScore(b);
  const std::set<int64_t> top(best_a.begin(), best_a.begin() + count);
  int64_t common = 0;
  for (int64_t i = 0; i < count; ++i) {
    common += static_cast<int64_t>(top.count(best_b[static_cast<size_t>(i)]));
  }
  return static_cast<double>(common) / static_cast<double>(count);
}

double RankCorrelation(absl::Span<const double> a, absl::Span<const double> b) {
  const std::vector<double> ranks_a = MeanRanks(a);
  const std::vector<double> ranks_b = MeanRanks(b);
  const double middle = (static_cast<double>(a.size()) - 1) / 2;
  double both = 0, square_a = 0, square_b = 0;
  for (size_t i = 0; i < ranks_a.size(); ++i) {
    const double from_a = ranks_a[i] - middle;
    const double from_b = ranks_b[i] - middle;
    both += from_a * from_b;
    square_a += from_a * from_a;
    square_b += from_b * from_b;
  }
  const double scale = std::sqrt(square_a * square_b);
  return scale > 0 ? both / scale : 0.0;
}

absl::StatusOr<HeadScores> JoinScores(absl::Span<const HeadScores> scores) {
  if (scores.empty()) {
    return absl::InvalidArgumentError("scores: there are none to join");
  }
  std::vector<std::vector<double>> units, heads;
  std::vector<std::string> methods;
  for (const HeadScores& one : scores) {
    HEADWISE_RETURN_IF_ERROR(CheckHeadScores(one));
    HEADWISE_RETURN_IF_ERROR(CheckSameModel(scores[0], one));
    units.push_back(one.units);
    if (!one.heads.empty()) heads.push_back(one.heads);
    methods.push_back(one.method);
  }
  HeadScores joined = scores[0];
  joined.details.clear();
  joined.heads.clear();
  joined.method = absl::StrJoin(methods, "+");
  joined.units = JoinRankings(units);
  if (heads.size() == scores.size()) joined.heads = JoinRankings(heads);
  return joined;
}

}  // namespace headwise
