#include "server/attention/attend_plan.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/kv_retention.h"
#include "model/head_plan/policy_names.h"
#include "worker/sessions/session_geometry.h"

namespace headwise {
namespace {

absl::Status CheckSizes(const AttentionConfig& config,
                        const AttendQuery& query) {
  if (query.query_len < 1 || query.query_len > kMaxQueryRows) {
    return absl::InvalidArgumentError(absl::StrCat(
        "query_len: ", query.query_len, ", allowed 1 to ", kMaxQueryRows));
  }
  const int64_t bytes = query.query_len * config.num_heads() *
                        config.shape.head_dim *
                        FloatBytes(config.shape.input_type);
  if (static_cast<int64_t>(query.queries.size()) != bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "queries have ", query.queries.size(), " bytes; ", query.query_len,
        " rows of ", config.num_heads(), " heads must have ", bytes));
  }
  const auto num_ends = static_cast<int64_t>(query.visible_end.size());
  if (num_ends != 0 && (num_ends != query.query_len || query.all_keys)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "visible_end has ", num_ends, " values for ", query.query_len,
        " queries; must have as many, and none with all_keys"));
  }
  return absl::OkStatus();
}

// Probes are of positions, and a policy that chooses does not tell which.
absl::Status CheckPolicies(const AttentionConfig& config,
                           const ProbeSpec& probes) {
  for (size_t unit = 0; unit < config.policies.size(); ++unit) {
    const UnitPolicy& policy = config.policies[unit];
    if (probes.row_bytes() == 0 || !AttendsByPolicy(policy)) continue;
    return absl::UnimplementedError(absl::StrCat(
        "probes: KV head ", unit, " has the policy ", NameOf(policy.kind),
        "; only full and streaming heads have probes"));
  }
  return absl::OkStatus();
}

absl::Status CheckProbes(const ProbeSpec& probes, int64_t num_rows) {
  if (probes.num_top_keys < 0 || probes.num_top_keys > kMaxTopKeys) {
    return absl::InvalidArgumentError(
        absl::StrCat("probes.top_keys: ", probes.num_top_keys,
                     ", allowed 0 to ", kMaxTopKeys));
  }
  const std::vector<int64_t>& bounds = probes.segment_bounds;
  const bool ascends =
      std::adjacent_find(bounds.begin(), bounds.end(),
                         std::greater_equal<int64_t>()) == bounds.end();
  if (bounds.size() == 1 || probes.num_segments() > kMaxMassSegments ||
      !ascends || (!bounds.empty() && bounds[0] < 0)) {
    return absl::InvalidArgumentError(
        absl::StrCat("probes.segment_bounds: ", bounds.size(),
                     " values; must be none, or 2 to ", kMaxMassSegments + 1,
                     " that ascend from 0 or more"));
  }
  const int64_t bytes = num_rows * probes.row_bytes();
  if (bytes > probes.max_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("probes.max_bytes: the probes need ", bytes, " bytes, ",
                     probes.max_bytes, " are allowed"));
  }
  return absl::OkStatus();
}

absl::Status CheckAnswer(const AttentionConfig& config,
                         const AttendQuery& query) {
  const FloatType type =
      query.output_as_input ? config.shape.input_type : FloatType::kFp32;
  const int64_t row =
      config.num_heads() *
      (config.shape.head_dim * FloatBytes(type) + 4 + query.probes.row_bytes());
  if (query.query_len * row <= kMaxAnswerBytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "query_len: the answer to ", query.query_len, " queries would have ",
      query.query_len * row, " bytes, at most ", kMaxAnswerBytes,
      " are allowed: ask ", kMaxAnswerBytes / row, " at a time"));
}

// Has every unit that drops what the row sees?
absl::Status CheckKept(const AttentionConfig& config, int64_t query,
                       int64_t visible_end, int64_t length) {
  for (size_t unit = 0; unit < config.policies.size(); ++unit) {
    const UnitPolicy& policy = config.policies[unit];
    if (!Drops(policy)) continue;
    const UnitShare share = {.policy = policy};
    const int64_t begin =
        std::max(policy.num_sinks, visible_end - policy.window);
    const KeptPositions kept = KeptAt(share, length);
    if (begin >= visible_end || begin >= kept.kept_begin) continue;
    return absl::OutOfRangeError(absl::StrCat(
        "query ", query, " sees positions from ", begin, " on, but KV head ",
        unit, " keeps only those from ", kept.kept_begin,
        " on: ask for one of the last ", kMaxQueryRows, " positions"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckQuery(const AttentionConfig& config,
                        const AttendQuery& query) {
  HEADWISE_RETURN_IF_ERROR(CheckSizes(config, query));
  HEADWISE_RETURN_IF_ERROR(
      CheckProbes(query.probes, query.query_len * config.num_heads()));
  HEADWISE_RETURN_IF_ERROR(CheckPolicies(config, query.probes));
  return CheckAnswer(config, query);
}

absl::StatusOr<OrderedRows> OrderRows(const AttentionConfig& config,
                                      const AttendQuery& query,
                                      int64_t length) {
  const int64_t count = query.query_len;
  std::vector<int64_t> ends = query.visible_end;
  if (query.all_keys) ends.assign(static_cast<size_t>(count), length);
  if (ends.empty()) {
    if (count > length) {
      return absl::OutOfRangeError(absl::StrCat(
          "query_len: ", count, " queries are for the last positions, but ",
          length, " are stored; set visible_end or all_keys"));
    }
    ends.resize(static_cast<size_t>(count));
    std::iota(ends.begin(), ends.end(), length - count + 1);
  }
  for (int64_t i = 0; i < count; ++i) {
    if (ends[i] < 0 || ends[i] > length) {
      return absl::OutOfRangeError(
          absl::StrCat("visible_end[", i, "]: ", ends[i], ", allowed 0 to ",
                       length, ", which are stored"));
    }
    HEADWISE_RETURN_IF_ERROR(CheckKept(config, i, ends[i], length));
  }
  OrderedRows rows;
  rows.row.resize(static_cast<size_t>(count));
  std::iota(rows.row.begin(), rows.row.end(), 0);
  std::stable_sort(rows.row.begin(), rows.row.end(),
                   [&ends](int64_t a, int64_t b) { return ends[a] < ends[b]; });
  for (const int64_t row : rows.row) rows.visible_end.push_back(ends[row]);
  return rows;
}

absl::StatusOr<std::vector<float>> ScaleQueries(const AttentionConfig& config,
                                                const AttendQuery& query,
                                                const OrderedRows& rows) {
  const SessionShape& shape = config.shape;
  const int64_t dim = shape.head_dim;
  const int64_t group = shape.heads_per_kv_head;
  const auto* bytes = reinterpret_cast<const uint8_t*>(query.queries.data());
  const auto scale = static_cast<float>(config.softmax_scale);
  std::vector<float> out(
      static_cast<size_t>(query.query_len * config.num_heads() * dim));
  float* to = out.data();
  for (int64_t unit = 0; unit < shape.num_kv_heads; ++unit) {
    for (const int64_t row : rows.row) {
      for (int64_t head = unit * group; head < (unit + 1) * group; ++head) {
        const int64_t at = (row * config.num_heads() + head) * dim;
        ReadFloats(shape.input_type, bytes + at * FloatBytes(shape.input_type),
                   dim, to);
        for (int64_t d = 0; d < dim; ++d, ++to) {
          const float value = *to * scale;
          if (!std::isfinite(value)) {
            return absl::InvalidArgumentError(absl::StrCat(
                "queries: ", *to, " of query ", row, ", head ", head,
                ", dimension ", d, " is not finite",
                std::isfinite(*to) ? " once multiplied by softmax_scale" : ""));
          }
          *to = value;
        }
      }
    }
  }
  return out;
}

std::vector<AttendBatch> PlanBatches(const SessionShape& shape, int64_t length,
                                     int64_t query_len) {
  const int64_t heads = shape.heads_per_kv_head;
  const int64_t dim = shape.head_dim;
  const int64_t pair_bytes =
      heads * (dim + 1) * 4 * std::max<int64_t>(NumRanges(length), 1);
  const int64_t pair_flops = heads * dim * 4 * std::max<int64_t>(length, 1);
  // (row, unit) pairs of a batch.
  const int64_t pairs = std::max<int64_t>(
      1, std::min(kMaxBatchBytes / pair_bytes, kMaxBatchFlops / pair_flops));
  const int64_t units = std::min(pairs, shape.num_kv_heads);
  const int64_t rows = std::max<int64_t>(1, pairs / shape.num_kv_heads);
  std::vector<AttendBatch> batches;
  for (int64_t row = 0; row < query_len; row += rows) {
    for (int64_t unit = 0; unit < shape.num_kv_heads; unit += units) {
      batches.push_back({row, std::min(row + rows, query_len), unit,
                         std::min(unit + units, shape.num_kv_heads)});
    }
  }
  return batches;
}

}  // namespace headwise
