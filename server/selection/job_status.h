// Where a selection job stands.

#ifndef HEADWISE_SERVER_SELECTION_JOB_STATUS_H_
#define HEADWISE_SERVER_SELECTION_JOB_STATUS_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "server/selection/job_manifest.h"
#include "server/selection/quantile_sketch.h"

namespace headwise {

// Kept in the books: do not change these values.
enum class JobState : int {
  kRunning = 1,
  kPaused = 2,     // JobStatus::reason says why; Resume goes on
  kFinishing = 3,  // all is scored; duplicate ids are looked for
  kDone = 4,       // final
  kCancelled = 5,  // final; the same Create begins where it was
};

constexpr bool IsFinal(JobState state) {
  return state == JobState::kDone || state == JobState::kCancelled;
}
// "RUNNING" and so on.
const char* JobStateName(JobState state);

// Names beyond these are told as one, "".
inline constexpr size_t kMaxToldDomains = 1024;

// Of the shards that are committed. documents = scored + not scored; ranked
// ones are scored.
struct DomainProgress {
  int64_t num_documents = 0;
  int64_t num_scored = 0;
  int64_t num_ranked = 0;
  int64_t num_tokens = 0;
  // Time that the job spent on its documents: at each moment, the same share
  // for each document that is under way.
  double cost_seconds = 0.0;
};

struct JobStatus {
  std::string id;  // JobId
  JobState state = JobState::kRunning;
  std::string reason;  // of kPaused: why
  // What holds a running job up, if anything does: the model is not there,
  // other jobs are before it.
  std::string note;
  JobManifest manifest;    // without its shards
  std::string output;      // folder below the output root
  std::string output_dir;  // the same as an absolute path

  int64_t num_shards = 0;
  int64_t num_shards_done = 0;
  int64_t input_bytes = 0;  // as stored
  int64_t input_bytes_done = 0;
  DomainProgress total;
  std::map<std::string, DomainProgress> domains;  // kMaxToldDomains
  std::map<uint32_t, int64_t> flags;  // DocumentFlag -> documents that have it

  double running_seconds = 0.0;  // over all starts
  // Of this start, over the last minute, shards that are not committed yet
  // included; 0: not running here.
  double tokens_per_second = 0.0;
  std::optional<double> remaining_seconds;  // at that rate; none: unknown
  std::string result_sha256;                // of kDone, as in result.json
};

// Scores of the ranked documents of the committed shards, by domain
// (kMaxToldDomains). Before kDone, duplicates are among them.
using DomainSketches = std::map<std::string, QuantileSketch>;

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_JOB_STATUS_H_
