#include "server/frontends/server_metrics.h"

#include <map>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "prometheus/text_serializer.h"
#include "server/frontends/cluster_collector.h"
#include "server/frontends/frontend_fakes.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::Not;

class ServerMetricsTest : public testing::Test {
 protected:
  // The page that a scrape would get.
  std::string Page() const {
    std::vector<prometheus::MetricFamily> families;
    for (const auto& collectable : metrics_.collectables()) {
      for (auto& family : collectable->Collect()) families.push_back(family);
    }
    return prometheus::TextSerializer().Serialize(families);
  }

  FakeEngine engine_;
  FakeCluster cluster_;
  ServerMetrics metrics_{"tiny", engine_, cluster_};
};

TEST_F(ServerMetricsTest, AllSeriesExistBeforeTheFirstRequest) {
  const std::string page = Page();
  for (const char* series :
       {"headwise_time_to_first_token_seconds_count{ctx=\"<=4k\"",
        "headwise_inter_token_latency_seconds_count{ctx=\">1m\"",
        "headwise_request_latency_seconds_count{model=\"tiny\"",
        "headwise_queue_seconds_count{",
        "headwise_prefill_seconds_count{",
        "headwise_decode_seconds_count{",
        "headwise_requests_total{api=\"chat\",code=\"OK\",model=\"tiny\"} 0",
        "headwise_admission_rejected_total{model=\"tiny\",reason=\"size\"} 0",
        "headwise_admission_rejected_total{model=\"tiny\",reason=\"quota\"} 0",
        "headwise_prompt_prefixes{place=\"tokens\"} 0",
        "headwise_prompt_evictions_total 0",
        "headwise_batch_preemptions_total 0",
        "headwise_tokens_total{kind=\"scored\",model=\"tiny\"} 0",
        "headwise_requests_running{model=\"tiny\"} 2",
        "headwise_requests_waiting{model=\"tiny\"} 3",
        "headwise_kv_bytes{tier=\"memory\",worker=\"w0\"} 50",
        "headwise_kv_bytes{tier=\"disk\",worker=\"w0\"} 70",
        "headwise_kv_capacity_bytes{tier=\"memory\",worker=\"w0\"} 1000",
        "headwise_worker_up{worker=\"w0\"} 1",
        "headwise_worker_epoch{worker=\"w0\"} 7",
        "headwise_worker_skew_ratio{worker=\"w0\"} 1",
        "headwise_worker_arrivals_total{worker=\"w1\"} 4",
        "headwise_requests_waiting_limit{model=\"tiny\"} 1024",
        "headwise_build_info{version="}) {
    EXPECT_THAT(page, HasSubstr(series));
  }
}

TEST_F(ServerMetricsTest, RequestsAndTokensAddUp) {
  RequestRecord record;
  record.api = "generate";
  record.latency = absl::Milliseconds(20);
  record.has_usage = true;
  record.usage.prompt_tokens = 10;
  record.usage.generated_tokens = 4;
  record.usage.prefill_time = absl::Seconds(3);
  metrics_.RecordRequest(record);
  metrics_.RecordRequest(record);
  record.code = absl::StatusCode::kUnavailable;
  record.has_usage = false;
  metrics_.RecordRequest(record);
  const std::string page = Page();
  for (const char* series :
       {"headwise_requests_total{api=\"generate\",code=\"OK\",model=\"tiny\"} "
        "2",
        "headwise_requests_total{api=\"generate\",code=\"UNAVAILABLE\","
        "model=\"tiny\"} 1",
        "headwise_tokens_total{kind=\"prompt\",model=\"tiny\"} 20",
        "headwise_tokens_total{kind=\"generated\",model=\"tiny\"} 8",
        // Failures are timed too.
        "headwise_request_latency_seconds_count{model=\"tiny\",outcome="
        "\"UNAVAILABLE\"} 1",
        "headwise_request_latency_seconds_bucket{model=\"tiny\",outcome="
        "\"OK\",le=\"0.05\"} 2",
        "headwise_request_latency_seconds_bucket{model=\"tiny\",outcome="
        "\"OK\",le=\"0.01\"} 0",
        "headwise_prefill_seconds_sum{model=\"tiny\",outcome=\"OK\"} 6"}) {
    EXPECT_THAT(page, HasSubstr(series));
  }
  EXPECT_THAT(page, Not(HasSubstr("headwise_prefill_seconds_count{model="
                                  "\"tiny\",outcome=\"UNAVAILABLE\"}")));
}

TEST_F(ServerMetricsTest, WhatDidNoWorkIsNotTimedAsWork) {
  RequestRecord score;
  score.api = "score";
  score.has_usage = true;
  score.usage.prompt_tokens = 10;
  score.usage.prefill_time = absl::Seconds(3);
  metrics_.RecordRequest(score);
  RequestRecord ended_in_queue = score;
  ended_in_queue.code = absl::StatusCode::kUnavailable;
  ended_in_queue.usage.queue_time = absl::Seconds(2);
  ended_in_queue.usage.prefill_time = absl::ZeroDuration();
  metrics_.RecordRequest(ended_in_queue);
  const std::string page = Page();
  for (const char* series :
       {"headwise_decode_seconds_count{model=\"tiny\",outcome=\"OK\"} 0",
        "headwise_prefill_seconds_count{model=\"tiny\",outcome=\"OK\"} 1",
        "headwise_queue_seconds_sum{model=\"tiny\",outcome=\"UNAVAILABLE\"} "
        "2",
        "headwise_tokens_total{kind=\"prompt\",model=\"tiny\"} 10"}) {
    EXPECT_THAT(page, HasSubstr(series));
  }
  EXPECT_THAT(page, Not(HasSubstr("headwise_prefill_seconds_count{model="
                                  "\"tiny\",outcome=\"UNAVAILABLE\"}")));
}

TEST_F(ServerMetricsTest, ContextClassesSplitAtTheirBounds) {
  for (const int64_t context_len :
       {1, 4096, 4097, 32768, 32769, 131072, 131073, 1048576, 1048577}) {
    metrics_.RecordFirstToken(context_len, absl::Milliseconds(1));
  }
  const std::string page = Page();
  const std::map<std::string, int> counts = {
      {"<=4k", 2}, {"<=32k", 2}, {"<=128k", 2}, {"<=1m", 2}, {">1m", 1}};
  for (const auto& [name, count] : counts) {
    EXPECT_THAT(
        page, HasSubstr("headwise_time_to_first_token_seconds_count{ctx=\"" +
                        name + "\",model=\"tiny\"} " + std::to_string(count)));
  }
}

TEST_F(ServerMetricsTest, StepsAreCountedForEachWorker) {
  metrics_.OnWorkerStep({.worker = "w0",
                         .group = "gloo",
                         .compute_seconds = 0.5,
                         .wait_seconds = 0.25,
                         .transfer_seconds = 0.125,
                         .collective_bytes = 1000,
                         .num_collectives = 5});
  metrics_.OnWorkerStep({.worker = "w1", .compute_seconds = 0.125});
  metrics_.OnGroupLost("gloo", absl::DeadlineExceededError("frozen"));
  metrics_.OnRebuild(GroupEnd::kLost,
                     {.num_rebuilt = 3, .paused = absl::Milliseconds(500)});
  const std::string page = Page();
  for (const char* series :
       {"headwise_steps_total{worker=\"w0\"} 1",
        "headwise_steps_total{worker=\"w1\"} 1",
        "headwise_step_seconds_sum{phase=\"compute\",worker=\"w0\"} 0.5",
        "headwise_step_seconds_sum{phase=\"wait\",worker=\"w0\"} 0.25",
        "headwise_step_seconds_sum{phase=\"transfer\",worker=\"w0\"} 0.125",
        // One mean for the step, and none where nothing was exchanged.
        "headwise_collective_seconds_sum{group=\"gloo\",phase=\"wait\"} 0.05",
        "headwise_collective_seconds_count{group=\"gloo\",phase=\"wait\"} 1",
        "headwise_collective_seconds_sum{group=\"gloo\",phase=\"transfer\"} "
        "0.025",
        "headwise_collective_bytes_total{group=\"gloo\"} 1000",
        "headwise_rebuild_seconds_sum{cause=\"death\"} 0.5",
        "headwise_rebuilds_total{model=\"tiny\"} 3",
        "headwise_groups_lost_total{code=\"DEADLINE_EXCEEDED\","
        "group=\"gloo\"} 1"}) {
    EXPECT_THAT(page, HasSubstr(series));
  }
}

TEST_F(ServerMetricsTest, AWorkerThatIsGoneReadsZero) {
  EXPECT_THAT(Page(), HasSubstr("headwise_worker_up{worker=\"w0\"} 1"));
  auto map = std::make_shared<HeadMap>();
  map->workers.emplace_back();
  map->workers[0].name = "w1";
  cluster_.Set(map, true);
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("headwise_worker_up{worker=\"w0\"} 0"));
  EXPECT_THAT(page, HasSubstr("headwise_worker_up{worker=\"w1\"} 1"));
  cluster_.Set(nullptr, false);
  EXPECT_THAT(Page(), HasSubstr("headwise_worker_up{worker=\"w1\"} 0"));
}

TEST_F(ServerMetricsTest, WorkerNamesCantGrowThePageWithoutBound) {
  for (size_t i = 0; i < kMaxSeenWorkers + 10; ++i) {
    metrics_.OnWorkerStep({.worker = "n" + std::to_string(i)});
  }
  const std::string page = Page();
  EXPECT_THAT(page, HasSubstr("headwise_steps_total{worker=\"other\"} 10"));
  EXPECT_THAT(page, Not(HasSubstr("worker=\"n260\"")));
}

TEST_F(ServerMetricsTest, LabelValuesAreEscaped) {
  ServerMetrics metrics("a\"b\n", engine_, cluster_);
  std::vector<prometheus::MetricFamily> families;
  for (auto& family : metrics.collectables()[0]->Collect()) {
    families.push_back(family);
  }
  EXPECT_THAT(prometheus::TextSerializer().Serialize(families),
              HasSubstr("model=\"a\\\"b\\n\""));
}

}  // namespace
}  // namespace headwise
