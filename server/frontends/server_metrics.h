// The counters and histograms of /metrics: requests, tokens, steps,
// collectives.

#ifndef HEADWISE_SERVER_FRONTENDS_SERVER_METRICS_H_
#define HEADWISE_SERVER_FRONTENDS_SERVER_METRICS_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "prometheus/counter.h"
#include "prometheus/family.h"
#include "prometheus/histogram.h"
#include "prometheus/registry.h"
#include "server/frontends/head_map.h"
#include "server/frontends/step_observer.h"
#include "server/frontends/worker_skew.h"
#include "server/scheduler/engine.h"

namespace headwise {

// Why a request was refused before it did any work.
enum class Rejection {
  kSize,         // longer than the model's context
  kMemoryEver,   // can never fit into the caches
  kMemoryNow,    // queue or caches are full
  kDeadline,     // it would be too late
  kQuota,        // its tenant's
  kUnavailable,  // no group stands, or draining
};

// One finished request, good or bad.
struct RequestRecord {
  const char* api = "";  // "generate"; a literal
  absl::StatusCode code = absl::StatusCode::kOk;
  absl::Duration latency;  // from arrival until the last message was buffered
  // True if the engine worked for it: then `usage` counts.
  bool has_usage = false;
  RequestUsage usage;
  int64_t scored_tokens = 0;
};

// Thread-safe. Label values are bounded: the served model's name, names of APIs
// and codes, five classes of context, worker names of a group (at most 256).
class ServerMetrics final : public StepObserver {
 public:
  // `engine` and `cluster` must outlive it.
  ServerMetrics(const std::string& model, const Engine& engine,
                const ClusterState& cluster);

  void RecordRequest(const RequestRecord& record);
  void RecordRejection(Rejection reason);
  // `context_len`: tokens of the sequence at that time.
  void RecordFirstToken(int64_t context_len, absl::Duration since_arrival);
  void RecordTokenGap(int64_t context_len, absl::Duration since_last_token);

  void OnWorkerStep(const WorkerStepSample& sample) override;
  void OnGroupLost(absl::string_view group,
                   const absl::Status& reason) override;
  void OnRebuild(GroupEnd end, const ResumeReport& resumed) override;

  // What an exposer serves; they live as long as this object.
  const std::vector<std::shared_ptr<prometheus::Collectable>>& collectables()
      const {
    return collectables_;
  }

 private:
  static constexpr int kNumContextClasses = 5;
  static int ContextClass(int64_t context_len);
  void AddLatencyFamilies();
  void AddTokenFamilies();
  void AddStepFamilies();
  // A worker's own series, and those of a kind of group: looked up once, since
  // finding a series by its labels costs more than a step's other book-keeping.
  struct WorkerSeries {
    prometheus::Counter* steps = nullptr;
    prometheus::Histogram* compute = nullptr;
    prometheus::Histogram* wait = nullptr;
    prometheus::Histogram* transfer = nullptr;
  };
  struct GroupSeries {
    prometheus::Histogram* wait = nullptr;
    prometheus::Histogram* transfer = nullptr;
    prometheus::Counter* bytes = nullptr;
  };
  // Of `worker`, or of "other" once 256 names were seen.
  const WorkerSeries& SeriesOfWorker(absl::string_view worker)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const GroupSeries& SeriesOfGroup(absl::string_view group)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string model_;
  WorkerSkew skew_;
  std::shared_ptr<prometheus::Registry> registry_;
  std::vector<std::shared_ptr<prometheus::Collectable>> collectables_;

  // Owned by the registry.
  std::array<prometheus::Histogram*, kNumContextClasses> first_token_{};
  std::array<prometheus::Histogram*, kNumContextClasses> token_gap_{};
  prometheus::Family<prometheus::Histogram>* request_latency_ = nullptr;
  prometheus::Family<prometheus::Histogram>* queue_ = nullptr;
  prometheus::Family<prometheus::Histogram>* prefill_ = nullptr;
  prometheus::Family<prometheus::Histogram>* decode_ = nullptr;
  prometheus::Family<prometheus::Counter>* requests_ = nullptr;
  std::array<prometheus::Counter*, 6> rejections_{};  // by Rejection
  prometheus::Counter* prompt_tokens_ = nullptr;
  prometheus::Counter* cached_tokens_ = nullptr;
  prometheus::Counter* generated_tokens_ = nullptr;
  prometheus::Counter* scored_tokens_ = nullptr;
  prometheus::Family<prometheus::Histogram>* step_ = nullptr;
  prometheus::Family<prometheus::Histogram>* collective_ = nullptr;
  prometheus::Family<prometheus::Counter>* collective_bytes_ = nullptr;
  prometheus::Family<prometheus::Counter>* groups_lost_ = nullptr;
  prometheus::Family<prometheus::Histogram>* rebuild_ = nullptr;
  prometheus::Counter* rebuilds_ = nullptr;
  prometheus::Family<prometheus::Counter>* steps_ = nullptr;

  absl::Mutex mutex_;
  absl::flat_hash_map<std::string, WorkerSeries> workers_
      ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, GroupSeries> groups_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SERVER_METRICS_H_
