// What `headwise bench memory` found, for people and for programs.

#ifndef HEADWISE_CLIENT_CLI_BENCH_MEMORY_REPORT_H_
#define HEADWISE_CLIENT_CLI_BENCH_MEMORY_REPORT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"

namespace headwise {

// One contender at one distance, all seeds together.
struct MemoryBenchRow {
  std::string contender;  // "memory", "full attention"
  int64_t context = 0;    // tokens between needles and questions
  // Of a model's text: where the needles are, 0 to 1; else 0.
  double depth = 0;
  int64_t num_hits = 0;
  int64_t num_tests = 0;
  // Hand-set gates: since the context before this one, or the beginning.
  double tokens_per_second = 0;
  double seconds_per_read = 0;  // of one needle
  int64_t state_bytes = 0;      // of all heads, when they were read
  // Of what was read: bits that do not depend on machine, threads or ISA.
  std::string outputs_sha256;

  double recall() const {
    return num_tests == 0
               ? 0
               : static_cast<double>(num_hits) / static_cast<double>(num_tests);
  }
};

struct MemoryBenchReport {
  // Everything that was asked for, as JSON has it: what answers depend on, then
  // what only times do.
  nlohmann::ordered_json setup;
  std::string title;  // the same for people
  std::vector<MemoryBenchRow> rows;

  // Over all rows in order.
  std::string OutputsSha256() const;
};

std::string RenderMemoryBench(const MemoryBenchReport& report);
nlohmann::ordered_json MemoryBenchToJson(const MemoryBenchReport& report);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_MEMORY_REPORT_H_
