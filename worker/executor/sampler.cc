#include "worker/executor/sampler.h"

#include <algorithm>
#include <numeric>

#include "base/counter_random.h"
#include "model/work_grid.h"

namespace headwise {
namespace {

// The first token with the largest logit.
int32_t BestToken(const Kernels& kernels, absl::Span<const float> logits) {
  const float max =
      kernels.max_of(logits.data(), static_cast<int64_t>(logits.size()));
  return static_cast<int32_t>(std::find(logits.begin(), logits.end(), max) -
                              logits.begin());
}

// Strict total order: larger logit first, then the lower token.
struct Better {
  absl::Span<const float> logits;
  bool operator()(int32_t a, int32_t b) const {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  }
};

// The `count` best tokens, best first.
std::vector<int32_t> BestTokens(absl::Span<const float> logits, size_t count) {
  std::vector<int32_t> tokens(logits.size());
  std::iota(tokens.begin(), tokens.end(), 0);
  count = std::min(count, tokens.size());
  const auto end = tokens.begin() + static_cast<int64_t>(count);
  if (end != tokens.end()) {
    std::nth_element(tokens.begin(), end, tokens.end(), Better{logits});
  }
  std::sort(tokens.begin(), end, Better{logits});
  tokens.resize(count);
  return tokens;
}

// Divides positive and multiplies negative logits of tokens already seen, once
// each. Source: Keskar et al., CTRL, arXiv:1909.05858, section 4.1.
void Penalize(const TokenHistory& history, float penalty,
              std::vector<float>* logits) {
  std::vector<bool> seen(logits->size(), false);
  history.ForEachRun([&](absl::Span<const int32_t> run) {
    for (int32_t token : run) {
      if (seen[token]) continue;
      seen[token] = true;
      float& logit = (*logits)[token];
      logit = logit > 0.0f ? logit / penalty : logit * penalty;
    }
  });
}

struct Candidates {
  std::vector<int32_t> tokens;  // best first
  std::vector<float> weights;   // exp(logit - best logit)
};

Candidates CandidatesOf(const Kernels& kernels,
                        const std::vector<float>& logits, size_t count) {
  Candidates candidates;
  candidates.tokens = BestTokens(logits, count);
  const auto n = candidates.tokens.size();
  std::vector<float> sorted(n);
  for (size_t i = 0; i < n; ++i) sorted[i] = logits[candidates.tokens[i]];
  candidates.weights.resize(n);
  kernels.exp_below(sorted.data(), static_cast<int64_t>(n), sorted[0],
                    candidates.weights.data());
  return candidates;
}

// How many of the candidates top_p and min_p leave; at least one.
size_t Truncate(const Candidates& candidates, const SamplingOptions& options) {
  const std::vector<float>& weights = candidates.weights;
  size_t kept = weights.size();
  if (options.top_p < 1.0f) {
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    double sum = 0.0;
    kept = 0;
    while (kept < weights.size() && sum < options.top_p * total) {
      sum += weights[kept++];
    }
  }
  while (kept > 1 && weights[kept - 1] < options.min_p) --kept;
  return std::max<size_t>(kept, 1);
}

int32_t Draw(const Kernels& kernels, std::vector<float> logits,
             const SamplingOptions& options, int64_t position) {
  for (float& logit : logits) logit /= options.temperature;
  const size_t count =
      options.top_k > 0 ? static_cast<size_t>(options.top_k) : logits.size();
  const Candidates candidates = CandidatesOf(kernels, logits, count);
  const size_t kept = Truncate(candidates, options);
  const auto end = candidates.weights.begin() + static_cast<int64_t>(kept);
  const double total = std::accumulate(candidates.weights.begin(), end, 0.0);
  const double wanted = UniformAt(options.seed, position) * total;
  double sum = 0.0;
  for (size_t i = 0; i < kept; ++i) {
    sum += candidates.weights[i];
    if (wanted < sum) return candidates.tokens[i];
  }
  return candidates.tokens[kept - 1];
}

}  // namespace

float LogSumExpOfTiles(const Kernels& kernels,
                       absl::Span<const SoftmaxStats> tiles) {
  float max = tiles[0].max;
  for (const SoftmaxStats& tile : tiles) max = std::max(max, tile.max);
  float sum = 0.0f;
  for (const SoftmaxStats& tile : tiles) {
    sum += kernels.exp_one(tile.max - max) * tile.sum;
  }
  return max + kernels.log_one(sum);
}

float LogSumExpOf(const Kernels& kernels, absl::Span<const float> logits) {
  std::vector<SoftmaxStats> tiles;
  for (size_t begin = 0; begin < logits.size(); begin += kVocabTileWidth) {
    const absl::Span<const float> tile =
        logits.subspan(begin, static_cast<size_t>(kVocabTileWidth));
    tiles.push_back(
        kernels.softmax_stats(tile.data(), static_cast<int64_t>(tile.size())));
  }
  return LogSumExpOfTiles(kernels, tiles);
}

SampledToken Sample(const Kernels& kernels, absl::Span<const float> logits,
                    const TokenHistory& history, const SamplingOptions& options,
                    int64_t position) {
  SampledToken sampled;
  const bool penalized = options.repetition_penalty != 1.0f;
  if (options.temperature <= 0.0f && !penalized) {
    sampled.token = BestToken(kernels, logits);
  } else {
    std::vector<float> copy(logits.begin(), logits.end());
    if (penalized) Penalize(history, options.repetition_penalty, &copy);
    sampled.token = options.temperature > 0.0f
                        ? Draw(kernels, std::move(copy), options, position)
                        : BestToken(kernels, copy);
  }
  if (!options.logprobs && options.top_logprobs == 0) return sampled;
  const float lse = LogSumExpOf(kernels, logits);
  sampled.logprob = logits[sampled.token] - lse;
  if (options.top_logprobs > 0) {
    for (int32_t token :
         BestTokens(logits, static_cast<size_t>(options.top_logprobs))) {
      sampled.top.push_back({token, logits[token] - lse});
    }
  }
  return sampled;
}

}  // namespace headwise
