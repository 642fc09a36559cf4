#include "client/cli/bench_memory_report.h"

#include "absl/strings/str_format.h"
#include "base/sha256.h"

namespace headwise {

std::string MemoryBenchReport::OutputsSha256() const {
  Sha256 sha;
  for (const MemoryBenchRow& row : rows) {
    sha.Update({reinterpret_cast<const uint8_t*>(row.outputs_sha256.data()),
                row.outputs_sha256.size()});
  }
  return Sha256Hex(sha.Finish());
}

std::string RenderMemoryBench(const MemoryBenchReport& report) {
  std::string out = report.title + "\n\n" +
                    absl::StrFormat("%-16s %9s %7s %14s %12s %10s %14s\n", "",
                                    "context", "depth", "recall", "tokens/s",
                                    "ms a read", "state bytes");
  for (const MemoryBenchRow& row : report.rows) {
    absl::StrAppendFormat(
        &out, "%-16s %9d %5.0f %% %6.1f %% %2d/%-2d %12.0f %10.3f %14d\n",
        row.contender, row.context, 100 * row.depth, 100 * row.recall(),
        row.num_hits, row.num_tests, row.tokens_per_second,
        1000 * row.seconds_per_read, row.state_bytes);
  }
  absl::StrAppendFormat(&out, "\nSHA-256 of all outputs: %s\n",
                        report.OutputsSha256());
  return out;
}

nlohmann::ordered_json MemoryBenchToJson(const MemoryBenchReport& report) {
  nlohmann::ordered_json json = report.setup;
  json["rows"] = nlohmann::ordered_json::array();
  for (const MemoryBenchRow& row : report.rows) {
    json["rows"].push_back({{"contender", row.contender},
                            {"context", row.context},
                            {"depth", row.depth},
                            {"hits", row.num_hits},
                            {"tests", row.num_tests},
                            {"recall", row.recall()},
                            {"tokens_per_s", row.tokens_per_second},
                            {"ms_per_read", 1000 * row.seconds_per_read},
                            {"state_bytes", row.state_bytes},
                            {"outputs_sha256", row.outputs_sha256}});
  }
  json["outputs_sha256"] = report.OutputsSha256();
  return json;
}

}  // namespace headwise
