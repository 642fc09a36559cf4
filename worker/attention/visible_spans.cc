#include "worker/attention/visible_spans.h"

#include <algorithm>

#include "model/head_plan/kv_retention.h"

namespace headwise {

VisibleSpans VisibleTo(const UnitPolicy& policy, int64_t t,
                       int64_t prompt_len) {
  // What is kept once t positions are stored is what the query at t sees.
  const KeptSpans kept = KeptOf(policy, t, prompt_len);
  const bool everything = kept.sinks_end == t;
  if (everything || kept.kept_begin <= policy.num_sinks) return {};
  return {policy.num_sinks, kept.kept_begin};
}

}  // namespace headwise
