// A model whose heads do what a test says: for tests of calibrations.

#ifndef HEADWISE_SERVER_CALIBRATION_FAKE_MODEL_RUNNER_H_
#define HEADWISE_SERVER_CALIBRATION_FAKE_MODEL_RUNNER_H_

#include <algorithm>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "server/calibration/model_runner.h"

namespace headwise {

// Two layers or more of four query heads in two KV heads.
//
// The model predicts by copying: after a context it gives the token that
// followed the longest earlier match of the context's end, if one of its copy
// heads is neither masked nor cut off from that place by its unit's window.
class FakeModelRunner final : public ModelRunner {
 public:
  enum class Kind {
    kDiagonal,  // attends to its own position
    kCopy,      // to the token that comes next, where it stood before
    kEcho,      // to its own token, where it stood before
  };

  explicit FakeModelRunner(int64_t num_layers = 4) {
    facts_.sha256 = std::string(64, '5');
    facts_.num_layers = num_layers;
    facts_.num_heads = 4;
    facts_.num_kv_heads = 2;
    facts_.max_context_len = 16384;
    kinds.resize(static_cast<size_t>(facts_.all_heads()), Kind::kDiagonal);
    act_gain.resize(kinds.size(), 0.0);
  }

  std::vector<Kind> kinds;       // of each query head
  std::vector<double> act_gain;  // log-probability won by calibrating a head
  bool can_copy = true;          // false: it never finds a needle
  // Fails the call of this number, from 0 on; -1: none.
  int64_t fail_at_call = -1;

  int64_t num_calls = 0;  // of Hold and Run
  int64_t num_rows = 0;   // that were run
  size_t num_held() const { return held_.size(); }

  const ModelFacts& facts() const override { return facts_; }

  absl::StatusOr<uint64_t> Hold(absl::Span<const int32_t> tokens) override {
    if (num_calls++ == fail_at_call) return absl::UnavailableError("lost");
    num_rows += static_cast<int64_t>(tokens.size());
    held_[++last_id_].assign(tokens.begin(), tokens.end());
    return last_id_;
  }
  void Release(uint64_t prefix) override { held_.erase(prefix); }

  absl::StatusOr<std::vector<ContinuationResult>> Run(
      std::vector<Continuation> work) override {
    if (num_calls++ == fail_at_call) return absl::CancelledError("stopped");
    std::vector<ContinuationResult> results;
    for (const Continuation& one : work) results.push_back(RunOne(one));
    return results;
  }

 private:
  using Tokens = std::vector<int32_t>;

  // Position, or -1, of the token after the longest earlier match of the end of
  // tokens[0, row].
  static int64_t CopySource(const Tokens& tokens, int64_t row) {
    int64_t best = -1;
    int64_t best_match = 0;
    for (int64_t end = 0; end < row; ++end) {
      int64_t match = 0;
      while (match <= end && tokens[At(end - match)] == tokens[At(row - match)])
        ++match;
      if (match > best_match) {
        best_match = match;
        best = end + 1;
      }
    }
    return best;
  }
  static size_t At(int64_t i) { return static_cast<size_t>(i); }

  // Whether a head of `kind` copies from `source` at `row` under `plan`.
  bool CanCopy(const HeadPlan* plan, int64_t source, int64_t row) const {
    if (!can_copy || source < 0) return false;
    for (size_t head = 0; head < kinds.size(); ++head) {
      if (kinds[head] != Kind::kCopy) continue;
      if (plan == nullptr) return true;
      const UnitPolicy& unit = plan->units[head / 2];
      const bool sees = unit.kind == PolicyKind::kFull ||
                        source < unit.num_sinks || source > row - unit.window;
      if (plan->heads[head].mask == HeadMask::kNone && sees) return true;
    }
    return false;
  }

  int32_t Predict(const Tokens& tokens, int64_t row,
                  const HeadPlan* plan) const {
    const int64_t source = CopySource(tokens, row);
    return CanCopy(plan, source, row) ? tokens[At(source)] : 0;
  }

  double ActGain(const HeadPlan* plan) const {
    double gain = 0;
    for (size_t i = 0; plan != nullptr && i < act_gain.size(); ++i) {
      if (plan->heads[i].sink_beta < 1) gain += act_gain[i];
    }
    return gain;
  }

  std::vector<float> Hidden(const Tokens& tokens, int64_t row,
                            const HeadPlan* plan) const {
    std::vector<float> state = {1.0f, 0.0f};
    state[1] = static_cast<float>(Predict(tokens, row, plan));
    return state;
  }

  int64_t Target(size_t head, const Tokens& tokens, int64_t row) const {
    if (kinds[head] == Kind::kCopy) return CopySource(tokens, row);
    if (kinds[head] == Kind::kEcho) return CopySource(tokens, row) - 1;
    return row;
  }

  HeadProbe Probe(size_t head, const Tokens& tokens, int64_t first,
                  const ProbeRequest& request) const {
    HeadProbe probe;
    probe.layer = static_cast<int32_t>(head / 4);
    probe.head = static_cast<int32_t>(head % 4);
    const auto size = static_cast<int64_t>(tokens.size());
    std::vector<int64_t> targets;
    for (int64_t row = first; row < size; ++row) {
      targets.push_back(std::max<int64_t>(0, Target(head, tokens, row)));
      if (request.argmax) {
        probe.argmax.push_back(static_cast<int32_t>(targets.back()));
        probe.argmax_prob.push_back(1.0f);
      }
    }
    for (const std::vector<int64_t>& set : request.distance_sets) {
      for (int64_t row = first; row < size; ++row) {
        const int64_t distance = row - targets[At(row - first)];
        probe.distance_probs.push_back(
            std::count(set.begin(), set.end(), distance) > 0 ? 1.0f : 0.0f);
      }
    }
    return probe;
  }

  ContinuationResult RunOne(const Continuation& one) {
    Tokens tokens = one.prefix == 0 ? Tokens() : held_.at(one.prefix);
    const auto first = static_cast<int64_t>(tokens.size());
    tokens.insert(tokens.end(), one.tokens.begin(), one.tokens.end());
    num_rows += static_cast<int64_t>(one.tokens.size()) + one.num_tokens;
    ContinuationResult result;
    const HeadPlan* plan = one.plan.get();
    for (size_t head = 0; !one.probe.empty() && head < kinds.size(); ++head) {
      result.probes.push_back(Probe(head, tokens, first, one.probe));
    }
    for (int64_t i = 0; i < one.num_tokens; ++i) {
      tokens.push_back(
          Predict(tokens, static_cast<int64_t>(tokens.size()) - 1, plan));
      result.generated.push_back(tokens.back());
    }
    if (one.want == Continuation::Want::kTokens) return result;
    const auto end = static_cast<int64_t>(tokens.size());
    for (int64_t row = first; row < end; ++row) {
      if (one.want == Continuation::Want::kHidden) {
        const std::vector<float> state = Hidden(tokens, row, plan);
        result.hidden.insert(result.hidden.end(), state.begin(), state.end());
      } else if (row + 1 < end) {
        const bool right = Predict(tokens, row, plan) == tokens[At(row + 1)];
        result.logprobs.push_back(
            static_cast<float>((right ? -0.1 : -5.0) + ActGain(plan)));
      }
    }
    return result;
  }

  ModelFacts facts_;
  std::map<uint64_t, Tokens> held_;
  uint64_t last_id_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_CALIBRATION_FAKE_MODEL_RUNNER_H_
