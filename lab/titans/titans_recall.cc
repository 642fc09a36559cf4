#include "lab/titans/titans_recall.h"

#include <algorithm>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/check.h"
#include "lab/titans/titans_forward.h"
#include "lab/titans/titans_task.h"

namespace headwise {
namespace {

constexpr int64_t kPiece = 512;  // tokens streamed at once

using Rows = std::vector<std::vector<int64_t>>;

torch::Tensor ToTensor(const Rows& rows) {
  std::vector<torch::Tensor> tensors;
  for (const auto& row : rows) {
    tensors.push_back(torch::tensor(row, torch::kInt64));
  }
  return torch::stack(tensors);
}

// Tokens of which some gate of `kind` is above 0, [B, T], bool.
torch::Tensor AnyGate(const TitansGates& gates, int64_t kind) {
  torch::Tensor any;
  for (const torch::Tensor& values : gates.values) {
    const torch::Tensor of_layer =
        values.chunk(3, -1)[static_cast<size_t>(kind)].gt(0).any(-1);
    any = any.defined() ? any | of_layer : of_layer;
  }
  return any;
}

class RecallRun {
 public:
  RecallRun(const TitansWeights& weights, const std::string& text,
            const RecallTest& test)
      : weights_(weights),
        text_(text),
        test_(test),
        draws_(test.seed, /*stream=*/0),
        state_(BeginTitans(weights, test.num_sequences)) {
    for (int64_t i = 0; i < test.num_sequences; ++i) {
      pairs_.push_back(DrawPairs(test.num_pairs, draws_));
      // They come in the order of their keys.
      for (size_t left = pairs_.back().size(); left > 1; --left) {
        const auto other =
            static_cast<size_t>(draws_.Below(static_cast<int64_t>(left)));
        std::swap(pairs_.back()[left - 1], pairs_.back()[other]);
      }
    }
  }

  RecallResult Run() {
    const absl::Time begin = absl::Now();
    for (int64_t at = 0; at < test_.context; at += kPiece) Stream(at == 0);
    for (size_t pair = 0; pair < static_cast<size_t>(test_.num_pairs); ++pair) {
      Ask(pair);
    }
    const double filler = static_cast<double>(
        test_.num_sequences * (test_.context - 2 * test_.num_pairs));
    result_.theta_share = static_cast<double>(num_writing_) / filler;
    result_.alpha_share = static_cast<double>(num_forgetting_) / filler;
    result_.context = test_.context;
    result_.seconds = absl::ToDoubleSeconds(absl::Now() - begin);
    return result_;
  }

 private:
  void Stream(bool has_pairs) {
    Rows rows;
    for (const auto& pairs : pairs_) {
      rows.push_back(DrawFiller(text_, kPiece, draws_));
      if (!has_pairs) continue;
      const auto stride = static_cast<size_t>(kPiece / test_.num_pairs);
      for (size_t i = 0; i < pairs.size(); ++i) {
        const size_t at = i * stride + stride / 2;
        rows.back()[at] = pairs[i].key;
        rows.back()[at + 1] = pairs[i].value;
      }
    }
    const torch::Tensor tokens = ToTensor(rows);
    TitansGates gates;
    RunTitans(weights_, tokens, 0, state_, &gates);
    if (gates.values.empty()) return;
    const torch::Tensor is_filler = tokens < kFirstTitansKey;
    num_writing_ += (AnyGate(gates, 0) & is_filler).sum().item<int64_t>();
    num_forgetting_ += (AnyGate(gates, 2) & is_filler).sum().item<int64_t>();
  }

  void Ask(size_t pair) {
    Rows rows;
    for (const auto& pairs : pairs_) rows.push_back({pairs[pair].key});
    TitansState fork = state_;
    const torch::Tensor found =
        TitansLogits(weights_,
                     RunTitans(weights_, ToTensor(rows), 0, fork, nullptr))
            .argmax(-1);
    for (size_t row = 0; row < pairs_.size(); ++row) {
      ++result_.num_asked;
      result_.num_recalled +=
          found[static_cast<int64_t>(row)][0].item<int64_t>() ==
          pairs_[row][pair].value;
    }
  }

  const TitansWeights& weights_;
  const std::string& text_;
  const RecallTest test_;
  Draws draws_;
  TitansState state_;
  std::vector<std::vector<Pair>> pairs_;  // of each sequence
  int64_t num_writing_ = 0;
  int64_t num_forgetting_ = 0;
  RecallResult result_;
};

}  // namespace

absl::Status CheckRecallTest(const RecallTest& test) {
  constexpr int64_t kMaxContext = int64_t{1} << 24;
  if (test.context < kPiece || test.context > kMaxContext ||
      test.context % kPiece != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat("context: ", test.context, " is no multiple of ", kPiece,
                     " up to ", kMaxContext));
  }
  if (test.num_pairs < 1 || test.num_pairs > kNumTitansKeys) {
    return absl::InvalidArgumentError(absl::StrCat(
        "pairs: ", test.num_pairs, " is outside [1, ", kNumTitansKeys, "]"));
  }
  if (test.num_sequences < 1 || test.num_sequences > 1024) {
    return absl::InvalidArgumentError(absl::StrCat(
        "sequences: ", test.num_sequences, " is outside [1, 1024]"));
  }
  return absl::OkStatus();
}

RecallResult MeasureRecall(const TitansWeights& weights,
                           const std::string& text, const RecallTest& test) {
  HEADWISE_CHECK(CheckRecallTest(test).ok());
  HEADWISE_CHECK(!weights.titans().has_memory() ||
                 kPiece % weights.titans().memory.chunk_len == 0);
  const torch::NoGradGuard no_gradient;
  return RecallRun(weights, text, test).Run();
}

nlohmann::ordered_json RecallToJson(const RecallResult& result) {
  return {
      {"context", result.context},         {"asked", result.num_asked},
      {"recalled", result.num_recalled},   {"theta_share", result.theta_share},
      {"alpha_share", result.alpha_share}, {"seconds", result.seconds}};
}

}  // namespace headwise
