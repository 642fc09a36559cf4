#include "server/calibration/calibration_method.h"

namespace headwise {

nlohmann::ordered_json ManifestOf(const char* method, const ModelFacts& facts,
                                  uint64_t seed) {
  // Raised when the same parameters give other records.
  constexpr int kVersion = 1;
  return {{"version", kVersion},
          {"method", method},
          {"model_sha256", facts.sha256},
          {"seed", seed}};
}

HeadScores EmptyScores(const char* method, const ModelFacts& facts) {
  HeadScores scores;
  scores.method = method;
  scores.model_sha256 = facts.sha256;
  scores.num_layers = facts.num_layers;
  scores.num_heads = facts.num_heads;
  scores.num_kv_heads = facts.num_kv_heads;
  return scores;
}

}  // namespace headwise
