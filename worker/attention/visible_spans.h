// Which positions a query sees under a policy that looks at positions alone.

#ifndef HEADWISE_WORKER_ATTENTION_VISIBLE_SPANS_H_
#define HEADWISE_WORKER_ATTENTION_VISIBLE_SPANS_H_

#include <cstdint>

#include "model/head_plan/head_plan.h"

namespace headwise {

// The query at t sees [0, sinks_end) and [begin, t + 1). Without a gap between
// the two, sinks_end = begin = 0: then the policy is full attention, bit for
// bit.
struct VisibleSpans {
  int64_t sinks_end = 0;
  int64_t begin = 0;

  bool has_gap() const { return begin > sinks_end; }
};

// For kFull, kStreaming and kRazor. Neither bound ever descends as t grows.
VisibleSpans VisibleTo(const UnitPolicy& policy, int64_t t, int64_t prompt_len);

}  // namespace headwise

#endif  // HEADWISE_WORKER_ATTENTION_VISIBLE_SPANS_H_
