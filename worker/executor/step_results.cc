#include "worker/executor/step_results.h"

#include <utility>

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
