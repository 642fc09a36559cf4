#include "server/frontends/selection_metrics.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/status/statusor.h"

namespace headwise {
namespace {

using prometheus::MetricFamily;
using prometheus::MetricType;

constexpr size_t kJobDigits = 12;
constexpr char kOtherDomains[] = "other";
constexpr std::array<JobState, 5> kStates = {
    JobState::kRunning, JobState::kPaused, JobState::kFinishing,
    JobState::kDone, JobState::kCancelled};

MetricFamily FamilyOf(const char* name, const char* help, MetricType type) {
  MetricFamily family;
  family.name = name;
  family.help = help;
  family.type = type;
  return family;
}

void AddMetric(std::vector<prometheus::ClientMetric::Label> labels,
               double value, MetricFamily& family) {
  prometheus::ClientMetric metric;
  metric.label = std::move(labels);
  if (family.type == MetricType::Counter) {
    metric.counter.value = value;
  } else {
    metric.gauge.value = value;
  }
  family.metric.push_back(std::move(metric));
}

void Add(const DomainProgress& more, DomainProgress& sum) {
  sum.num_documents += more.num_documents;
  sum.num_scored += more.num_scored;
  sum.num_ranked += more.num_ranked;
  sum.num_tokens += more.num_tokens;
  sum.cost_seconds += more.cost_seconds;
}

// The page's families, filled job by job.
class Page {
 public:
  void AddDomains(const std::string& job,
                  const std::map<std::string, DomainProgress>& domains) {
    std::map<std::string, DomainProgress> told;
    for (const auto& [name, progress] : domains) {
      const bool has_room = told.size() < kMaxMetricDomains;
      Add(progress, told[has_room ? name : kOtherDomains]);
    }
    for (const auto& [name, progress] : told) {
      const auto outcome = [&, &domain = name](const char* what,
                                               int64_t documents) {
        AddMetric({{"job", job}, {"domain", domain}, {"outcome", what}},
                  static_cast<double>(documents), documents_);
      };
      outcome("ranked", progress.num_ranked);
      outcome("not_ranked", progress.num_scored - progress.num_ranked);
      outcome("not_scored", progress.num_documents - progress.num_scored);
      AddMetric({{"job", job}, {"domain", name}},
                static_cast<double>(progress.num_tokens), tokens_);
      if (progress.cost_seconds == 0.0) continue;
      AddMetric({{"job", job}, {"domain", name}}, progress.cost_seconds, cost_);
    }
  }

  void AddJob(const JobStatus& status) {
    const std::string job = status.id.substr(0, kJobDigits);
    AddDomains(job, status.domains);
    AddMetric({{"job", job}, {"state", "done"}},
              static_cast<double>(status.num_shards_done), shards_);
    AddMetric({{"job", job}, {"state", "left"}},
              static_cast<double>(status.num_shards - status.num_shards_done),
              shards_);
    AddMetric({{"job", job}, {"state", JobStateName(status.state)}}, 1.0,
              job_state_);
  }

  void AddStates(const std::map<JobState, int64_t>& counts) {
    for (const JobState state : kStates) {
      const auto count = counts.find(state);
      AddMetric(
          {{"state", JobStateName(state)}},
          count == counts.end() ? 0.0 : static_cast<double>(count->second),
          jobs_);
    }
  }

  std::vector<MetricFamily> Take() {
    std::vector<MetricFamily> families;
    for (MetricFamily* family :
         {&documents_, &tokens_, &cost_, &shards_, &job_state_, &jobs_}) {
      if (!family->metric.empty()) families.push_back(std::move(*family));
    }
    return families;
  }

 private:
  MetricFamily documents_ =
      FamilyOf("headwise_selection_documents_total",
               "Documents that have a row.", MetricType::Counter);
  MetricFamily tokens_ =
      FamilyOf("headwise_selection_tokens_total", "Tokens whose loss counts.",
               MetricType::Counter);
  MetricFamily cost_ = FamilyOf("headwise_selection_cost_seconds_total",
                                "Time of a job, by the domain it went into.",
                                MetricType::Counter);
  MetricFamily shards_ = FamilyOf("headwise_selection_shards",
                                  "Shards of a job.", MetricType::Gauge);
  MetricFamily job_state_ =
      FamilyOf("headwise_selection_job_state",
               "1 for the state that a job is in.", MetricType::Gauge);
  MetricFamily jobs_ = FamilyOf("headwise_selection_jobs",
                                "Selection jobs by state.", MetricType::Gauge);
};

}  // namespace

void SelectionMetrics::RecordStreamedRow(const ScoreRow& row) {
  absl::MutexLock lock(&mutex_);
  const bool has_room =
      streamed_.size() < kMaxMetricDomains || streamed_.contains(row.domain);
  DomainProgress& sum = streamed_[has_room ? row.domain : kOtherDomains];
  ++sum.num_documents;
  sum.num_scored += row.is_scored() ? 1 : 0;
  sum.num_ranked += row.is_ranked() ? 1 : 0;
  sum.num_tokens += row.loss.num_tokens;
}

std::vector<MetricFamily> SelectionMetrics::Collect() const {
  Page page;
  {
    absl::MutexLock lock(&mutex_);
    page.AddDomains("stream", streamed_);
  }
  const std::shared_ptr<const SelectionJobs> jobs = jobs_();
  if (jobs == nullptr) return page.Take();
  absl::StatusOr<std::vector<JobStatus>> list = jobs->List();
  if (!list.ok()) return page.Take();
  std::map<JobState, int64_t> counts;
  for (const JobStatus& job : *list) ++counts[job.state];
  page.AddStates(counts);
  std::reverse(list->begin(), list->end());
  std::stable_partition(list->begin(), list->end(), [](const JobStatus& job) {
    return !IsFinal(job.state);
  });
  if (list->size() > kMaxMetricJobs) list->resize(kMaxMetricJobs);
  for (const JobStatus& job : *list) {
    const absl::StatusOr<JobStatus> status = jobs->Get(job.id);
    if (status.ok()) page.AddJob(*status);
  }
  return page.Take();
}

}  // namespace headwise
