// A plan's identity.

#ifndef HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_HASH_H_
#define HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_HASH_H_

#include <string>

#include "model/head_plan/head_plan.h"

namespace headwise {

// SHA-256, 64 hexadecimal digits, of all that answers depend on: model, sizes,
// units and heads, not `origin`. Equal plans have equal hashes whatever file
// they came from. Keys caches, so the form may not change without its first
// line:
//
//   "headwise head plan 1\n", model_sha256, then 64-bit little-endian integers:
//   num_layers, num_heads, num_kv_heads,
//   of each unit its fields in order of UnitPolicy, an enumerator by its value,
//   of each head mask and the bits of its three floats,
//   landmark_token if it is not -1.
std::string HeadPlanHash(const HeadPlan& plan);

}  // namespace headwise

#endif  // HEADWISE_MODEL_HEAD_PLAN_HEAD_PLAN_HASH_H_
