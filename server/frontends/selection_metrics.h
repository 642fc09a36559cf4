// The series of data selection.

#ifndef HEADWISE_SERVER_FRONTENDS_SELECTION_METRICS_H_
#define HEADWISE_SERVER_FRONTENDS_SELECTION_METRICS_H_

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "prometheus/collectable.h"
#include "prometheus/metric_family.h"
#include "server/selection/document.h"
#include "server/selection/selection_jobs.h"

namespace headwise {

// Label values are bounded: of a job's domains the first 64 names, "other"
// stands for the rest; 16 jobs, by the first 12 digits of their ids: those that
// go on before those that have ended, new ones before old ones. Documents that
// were streamed have job "stream".
//
//   headwise_selection_documents_total{job, domain, outcome}  ranked,
//                                       not_ranked, not_scored
//   headwise_selection_tokens_total{job, domain}
//   headwise_selection_cost_seconds_total{job, domain}
//   headwise_selection_shards{job, state}                     done, left
//   headwise_selection_job_state{job, state}                  1
//   headwise_selection_jobs{state}                            of all jobs
//
// A job's counts are those of its books: they go on after a restart, and
// "ranked" falls where duplicate ids lose their rank at the end. Thread-safe.
class SelectionMetrics final : public prometheus::Collectable {
 public:
  // Null while there are none.
  using Jobs = std::function<std::shared_ptr<const SelectionJobs>()>;
  explicit SelectionMetrics(Jobs jobs) : jobs_(std::move(jobs)) {}

  void RecordStreamedRow(const ScoreRow& row);
  std::vector<prometheus::MetricFamily> Collect() const override;

 private:
  using Domains = std::map<std::string, DomainProgress>;

  const Jobs jobs_;
  mutable absl::Mutex mutex_;
  Domains streamed_ ABSL_GUARDED_BY(mutex_);
};

inline constexpr size_t kMaxMetricDomains = 64;
inline constexpr size_t kMaxMetricJobs = 16;

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SELECTION_METRICS_H_
