// What `headwise bench needle` found, for people and for programs.

#ifndef HEADWISE_CLIENT_CLI_BENCH_NEEDLE_REPORT_H_
#define HEADWISE_CLIENT_CLI_BENCH_NEEDLE_REPORT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/types/span.h"
#include "nlohmann/json.hpp"

namespace headwise {

struct NeedleMiss {
  int64_t seed = 0;
  std::string expected;
  std::string answer;
};

struct NeedleDepth {
  double depth = 0;      // 0 to 1
  int64_t position = 0;  // of the needle's first token
  int64_t num_tests = 0;
  std::vector<NeedleMiss> misses;

  int64_t num_hits() const {
    return num_tests - static_cast<int64_t>(misses.size());
  }
};

// Of one context under one plan.
struct NeedleRunReport {
  std::vector<NeedleDepth> depths;
  bool shares_text = false;
  int64_t parallel = 1;
  int64_t prompt_tokens_run = 0;
  int64_t prompt_tokens_independent = 0;  // if every test ran its whole prompt
  int64_t prefill_tokens = 0;
  double prefill_seconds = 0;
  double median_token_seconds = 0;
  // Of one sequence of kv_length positions, by rank; held: measured, empty if
  // workers elsewhere hold it.
  int64_t kv_length = 0;
  std::vector<int64_t> kv_held_bytes;
  std::vector<int64_t> kv_forecast_bytes;
  int64_t kv_full_bytes = 0;  // the forecast, were every unit full
  // Of this process: the greatest resident size since the run began, the size
  // before it, and of all workers the packed weights and the most KV that was
  // promised at one time, by this run or one before it.
  int64_t peak_resident_bytes = 0;
  int64_t loaded_resident_bytes = 0;
  int64_t weight_bytes = 0;
  int64_t peak_kv_forecast_bytes = 0;

  int64_t num_tests() const;
  int64_t num_hits() const;
  double prefill_rate() const {  // tokens/s
    return static_cast<double>(prefill_tokens) / prefill_seconds;
  }
};

struct NeedleContextReport {
  int64_t context_len = 0;
  NeedleRunReport run;
  std::optional<NeedleRunReport> baseline;  // with every unit full

  // Depths with fewer hits than the baseline's; 0 without one.
  int64_t num_depths_lost() const;
};

struct NeedleReport {
  std::string model;
  std::string plan;       // its file; empty: every unit full
  std::string plan_hash;  // empty: every unit full
  std::string needle;     // "passkey", "word"
  std::string haystack;   // its file; empty: the filler
  int64_t num_seeds = 0;
  std::vector<NeedleContextReport> contexts;
};

// seconds = intercept + slope * tokens by least squares; the exponent is the
// slope of their logarithms: 1 where time is linear in length, 2 where it grows
// with its square.
struct PrefillSlope {
  double seconds_per_token = 0;
  double intercept_seconds = 0;
  double exponent = 0;
};
// nullopt unless two contexts or more differ in length.
std::optional<PrefillSlope> FitPrefill(
    absl::Span<const NeedleContextReport> contexts);

std::string RenderNeedleReport(const NeedleReport& report);
nlohmann::ordered_json NeedleReportToJson(const NeedleReport& report);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_NEEDLE_REPORT_H_
