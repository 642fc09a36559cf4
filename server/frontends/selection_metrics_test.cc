#include "server/frontends/selection_metrics.h"

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

// Knows what it is given.
class FakeJobs final : public SelectionJobs {
 public:
  absl::StatusOr<JobStatus> Create(const JobSpec&,
                                   const PlanProgress&) override {
    return absl::UnimplementedError("fake");
  }
  absl::StatusOr<JobStatus> Get(absl::string_view id) const override {
    for (const JobStatus& job : jobs) {
      if (job.id == id) return job;
    }
    return absl::NotFoundError("fake");
  }
  absl::StatusOr<std::vector<JobStatus>> List() const override {
    std::vector<JobStatus> list = jobs;
    for (JobStatus& job : list) job.domains.clear();
    return list;
  }
  absl::StatusOr<DomainSketches> Sketches(absl::string_view) const override {
    return absl::UnimplementedError("fake");
  }
  absl::StatusOr<std::vector<JobPart>> Parts(absl::string_view) const override {
    return absl::UnimplementedError("fake");
  }
  absl::StatusOr<JobStatus> Pause(absl::string_view,
                                  absl::string_view) override {
    return absl::UnimplementedError("fake");
  }
  absl::StatusOr<JobStatus> Resume(absl::string_view) override {
    return absl::UnimplementedError("fake");
  }
  absl::StatusOr<JobStatus> Cancel(absl::string_view) override {
    return absl::UnimplementedError("fake");
  }
  absl::StatusOr<std::unique_ptr<JobWatch>> Watch(
      absl::string_view, absl::Duration,
      std::function<void(const JobStatus&)>) override {
    return absl::UnimplementedError("fake");
  }

  std::vector<JobStatus> jobs;
};

class SelectionMetricsTest : public testing::Test {
 protected:
  // The value of the series with these labels, nullopt if there is none.
  std::optional<double> Value(
      const std::string& name,
      const std::map<std::string, std::string>& labels) {
    for (const prometheus::MetricFamily& family : metrics_.Collect()) {
      if (family.name != name) continue;
      for (const prometheus::ClientMetric& metric : family.metric) {
        std::map<std::string, std::string> found;
        for (const auto& label : metric.label) found[label.name] = label.value;
        if (found != labels) continue;
        return family.type == prometheus::MetricType::Counter
                   ? metric.counter.value
                   : metric.gauge.value;
      }
    }
    return std::nullopt;
  }
  size_t CountSeries(const std::string& name) {
    for (const prometheus::MetricFamily& family : metrics_.Collect()) {
      if (family.name == name) return family.metric.size();
    }
    return 0;
  }
  static JobStatus Job(int number, JobState state) {
    JobStatus job;
    job.id = absl::StrCat(1000 + number, "0123456789abcdef");
    job.state = state;
    job.num_shards = 10;
    job.num_shards_done = 4;
    return job;
  }

  std::shared_ptr<FakeJobs> jobs_;
  SelectionMetrics metrics_{[this] { return jobs_; }};
};

TEST_F(SelectionMetricsTest, RowsOfStreamsCountByDomainAndOutcome) {
  EXPECT_EQ(metrics_.Collect().size(), 0u);
  ScoreRow row;
  row.domain = "web";
  row.loss = {.base = 10, .masked = 12, .num_tokens = 5};
  metrics_.RecordStreamedRow(row);
  row.flags = kTooShort;
  metrics_.RecordStreamedRow(row);
  row.flags = kEmptyText;
  row.loss = {};
  metrics_.RecordStreamedRow(row);
  for (const char* outcome : {"ranked", "not_ranked", "not_scored"}) {
    EXPECT_EQ(
        Value("headwise_selection_documents_total",
              {{"job", "stream"}, {"domain", "web"}, {"outcome", outcome}}),
        1.0);
  }
  EXPECT_EQ(Value("headwise_selection_tokens_total",
                  {{"job", "stream"}, {"domain", "web"}}),
            10.0);
}

TEST_F(SelectionMetricsTest, DomainsAreBounded) {
  ScoreRow row;
  row.loss = {.base = 1, .masked = 2, .num_tokens = 1};
  for (int i = 0; i < 1000; ++i) {
    row.domain = absl::StrCat("domain", i);
    metrics_.RecordStreamedRow(row);
  }
  EXPECT_EQ(CountSeries("headwise_selection_tokens_total"),
            kMaxMetricDomains + 1);
  EXPECT_EQ(Value("headwise_selection_tokens_total",
                  {{"job", "stream"}, {"domain", "other"}}),
            1000.0 - kMaxMetricDomains);
}

TEST_F(SelectionMetricsTest, AJobTellsWhatItsBooksSay) {
  jobs_ = std::make_shared<FakeJobs>();
  jobs_->jobs.push_back(Job(1, JobState::kRunning));
  jobs_->jobs[0].domains["code"] = {.num_documents = 9,
                                    .num_scored = 7,
                                    .num_ranked = 4,
                                    .num_tokens = 70,
                                    .cost_seconds = 1.5};
  const std::string job = "100101234567";
  EXPECT_EQ(
      Value("headwise_selection_documents_total",
            {{"job", job}, {"domain", "code"}, {"outcome", "not_scored"}}),
      2.0);
  EXPECT_EQ(Value("headwise_selection_cost_seconds_total",
                  {{"job", job}, {"domain", "code"}}),
            1.5);
  EXPECT_EQ(
      Value("headwise_selection_shards", {{"job", job}, {"state", "left"}}),
      6.0);
  EXPECT_EQ(Value("headwise_selection_job_state",
                  {{"job", job}, {"state", "RUNNING"}}),
            1.0);
  EXPECT_EQ(Value("headwise_selection_jobs", {{"state", "RUNNING"}}), 1.0);
  EXPECT_EQ(Value("headwise_selection_jobs", {{"state", "DONE"}}), 0.0);
}

TEST_F(SelectionMetricsTest, JobsThatGoOnComeBeforeThoseThatHaveEnded) {
  jobs_ = std::make_shared<FakeJobs>();
  jobs_->jobs.push_back(Job(0, JobState::kPaused));
  for (int i = 1; i < 40; ++i) jobs_->jobs.push_back(Job(i, JobState::kDone));
  EXPECT_EQ(CountSeries("headwise_selection_job_state"), kMaxMetricJobs);
  EXPECT_EQ(Value("headwise_selection_job_state",
                  {{"job", "100001234567"}, {"state", "PAUSED"}}),
            1.0);
  EXPECT_EQ(Value("headwise_selection_job_state",
                  {{"job", "103901234567"}, {"state", "DONE"}}),
            1.0);
  EXPECT_EQ(Value("headwise_selection_jobs", {{"state", "DONE"}}), 39.0);
}

}  // namespace
}  // namespace headwise
