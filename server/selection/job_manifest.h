// What a selection job computes, and from which bytes: all that its output is a
// function of.

#ifndef HEADWISE_SERVER_SELECTION_JOB_MANIFEST_H_
#define HEADWISE_SERVER_SELECTION_JOB_MANIFEST_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "server/selection/document_row.h"
#include "server/selection/document_scorer.h"
#include "server/selection/input_shard.h"

namespace headwise {

inline constexpr size_t kMaxJobDomains = 256;
inline constexpr size_t kMaxMaskedHeads = 1 << 20;

struct JobManifest {
  std::string model_sha256;        // 64 hexadecimal digits, lower case
  std::string tokenizer_sha256;    // the same; empty: part of the model's file
  std::string masked_plan_sha256;  // HeadPlanHash
  std::vector<std::string> masked_heads;  // "layer.head", as the plan has them
  std::string mask = "uniform";           // or "zero"
  std::string kv_type = "fp16";           // or "fp32", "bf16", "int8"
  uint32_t numerics = 1;                  // BuildInfo's; in the text if not 1
  ScoringOptions scoring;                 // as resolved: window > 0
  RankingRules ranking;
  InputOptions input;  // root: the name that clients use, not the path
  std::vector<InputShard> shards;  // index: its place; to kMaxInputPieces
};

// InvalidArgument: a field out of range (it names field, value and limit).
absl::Status CheckManifest(const JobManifest& manifest);

// Canonical: equal manifests have equal text. A JSON object and a newline; each
// shard has a line of its own. Requires CheckManifest.
std::string ManifestJson(const JobManifest& manifest);

// The same without the shards, on one line and without a newline.
std::string ManifestHeadJson(const JobManifest& manifest);

// Of ManifestJson's text alone, or of ManifestHeadJson's (no shards then).
// DataLoss for any other.
absl::StatusOr<JobManifest> ParseManifest(absl::string_view text);

// SHA-256 of ManifestJson, hexadecimal, lower case: what `sha256sum
// manifest.json` prints.
std::string JobId(const JobManifest& manifest);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_JOB_MANIFEST_H_
