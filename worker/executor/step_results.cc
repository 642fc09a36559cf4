#include "worker/executor/step_results.h"

#include <utility>

#include "absl/base/casts.h"

namespace headwise {

StepResult EmptyResult(const Step& step, const Hyperparameters& hyper,
                       const std::vector<SequencesOptions::UnitName>& units) {
  StepResult result;
  result.step_id = step.step_id;
  for (const Slice& slice : step.slices) {
    SliceResult& out = result.results.emplace_back();
    out.sequence_id = slice.sequence_id;
    const auto rows = static_cast<size_t>(slice.num_rows());
    if (!slice.score_targets.empty()) {
      out.score_logprobs.resize(rows);
      if (slice.contrast_plan_id != 0) out.contrast_logprobs.resize(rows);
    }
    if (slice.hash_logits) out.logits_digests.resize(rows);
    if (slice.embed) {
      out.hidden.resize(rows * static_cast<size_t>(hyper.model_dim));
    }
    if (slice.probe.empty()) continue;
    for (const SequencesOptions::UnitName& unit : units) {
      const int64_t g = hyper.heads_per_kv_head();
      for (int64_t h = 0; h < g; ++h) {
        HeadProbe& probe = out.probes.emplace_back();
        probe.layer = static_cast<int32_t>(unit.layer);
        probe.head = static_cast<int32_t>(unit.kv_head * g + h);
        if (slice.probe.argmax) {
          probe.argmax.resize(rows);
          probe.argmax_prob.resize(rows);
        }
        probe.distance_probs.resize(slice.probe.distance_sets.size() * rows);
      }
    }
  }
  return result;
}

uint64_t DrawsDigest(const StepResult& result) {
  uint64_t digest = 0xcbf29ce484222325;
  const auto add = [&digest](uint64_t value) {
    for (int byte = 0; byte < 8; ++byte) {
      digest = (digest ^ (value >> (8 * byte) & 0xff)) * 0x100000001b3;
    }
  };
  const auto add_floats = [&add](const std::vector<float>& values) {
    for (const float value : values) add(absl::bit_cast<uint32_t>(value));
  };
  for (const SliceResult& slice : result.results) {
    add(slice.sequence_id);
    add(slice.has_token ? static_cast<uint32_t>(slice.token) : ~uint64_t{0});
    add_floats({slice.logprob});
    add_floats(slice.score_logprobs);
    add_floats(slice.contrast_logprobs);
  }
  return digest;
}

void KeepProbesOnly(StepResult* result) {
  bool has_probes = false;
  for (SliceResult& slice : result->results) {
    has_probes |= !slice.probes.empty();
    SliceResult kept;
    kept.sequence_id = slice.sequence_id;
    kept.probes = std::move(slice.probes);
    slice = std::move(kept);
  }
  if (!has_probes) result->results.clear();
}

}  // namespace headwise
