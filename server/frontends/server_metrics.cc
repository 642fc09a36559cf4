#include "server/frontends/server_metrics.h"

#include <algorithm>

#include "server/frontends/cluster_collector.h"

namespace headwise {
namespace {

using Buckets = prometheus::Histogram::BucketBoundaries;
using prometheus::BuildCounter;
using prometheus::BuildHistogram;

// Seconds. The boundaries that dashboards of vLLM use, with finer ones where a
// small model is faster than they can show.
Buckets FirstTokenBuckets() {
  return {.001, .005, .01, .02, .04, .06, .08, .1, .25, .5,  .75,
          1,    2.5,  5,   7.5, 10,  20,  40,  80, 160, 640, 2560};
}
Buckets TokenGapBuckets() {
  return {.001, .002, .005, .01, .025, .05, .075, .1, .15, .2, .3,
          .4,   .5,   .75,  1,   2.5,  5,   7.5,  10, 20,  40, 80};
}
Buckets RequestBuckets() {
  return {.01, .05, .1, .3, .5, .8, 1,   1.5, 2,   2.5, 5,    10,
          15,  20,  30, 40, 50, 60, 120, 240, 480, 960, 1920, 7680};
}
// 1e-5 to 10 s, factor 2.
Buckets StepBuckets() {
  Buckets buckets;
  for (double bound = 1e-5; bound < 11; bound *= 2) buckets.push_back(bound);
  return buckets;
}

constexpr std::array<const char*, 5> kContextNames = {"<=4k", "<=32k", "<=128k",
                                                      "<=1m", ">1m"};
constexpr std::array<const char*, 6> kRejectionNames = {
    "size", "memory_ever", "memory_now", "deadline", "quota", "unavailable"};

}  // namespace

ServerMetrics::ServerMetrics(const std::string& model, const Engine& engine,
                             const ClusterState& cluster)
    : model_(model), registry_(std::make_shared<prometheus::Registry>()) {
  AddLatencyFamilies();
  AddTokenFamilies();
  AddStepFamilies();
  collectables_ = {registry_, std::make_shared<ClusterCollector>(
                                  model, engine, cluster, skew_)};
}

void ServerMetrics::AddLatencyFamilies() {
  auto& first_token =
      BuildHistogram()
          .Name("headwise_time_to_first_token_seconds")
          .Help("From a request's arrival to its first token, by context.")
          .Register(*registry_);
  auto& token_gap = BuildHistogram()
                        .Name("headwise_inter_token_latency_seconds")
                        .Help("Between two tokens of an answer, by context.")
                        .Register(*registry_);
  for (int i = 0; i < kNumContextClasses; ++i) {
    const prometheus::Labels labels = {{"model", model_},
                                       {"ctx", kContextNames[i]}};
    first_token_[i] = &first_token.Add(labels, FirstTokenBuckets());
    token_gap_[i] = &token_gap.Add(labels, TokenGapBuckets());
  }
  const auto family = [this](const char* name, const char* help) {
    return &BuildHistogram().Name(name).Help(help).Register(*registry_);
  };
  request_latency_ =
      family("headwise_request_latency_seconds",
             "From arrival to the end, also of requests that fail.");
  queue_ = family("headwise_queue_seconds", "Waiting for the first step.");
  prefill_ = family("headwise_prefill_seconds",
                    "Steps over the prompt, of requests that had any.");
  decode_ = family("headwise_decode_seconds",
                   "Steps over new tokens, of requests that had any.");
  for (auto* latency : {request_latency_, queue_, prefill_, decode_}) {
    latency->Add({{"model", model_}, {"outcome", "OK"}}, RequestBuckets());
  }
}

void ServerMetrics::AddTokenFamilies() {
  requests_ = &BuildCounter()
                   .Name("headwise_requests_total")
                   .Help("Finished requests by API and status code.")
                   .Register(*registry_);
  for (const char* api : {"generate", "chat", "score", "embed"}) {
    requests_->Add({{"model", model_}, {"api", api}, {"code", "OK"}});
  }
  auto& rejected = BuildCounter()
                       .Name("headwise_admission_rejected_total")
                       .Help("Requests refused before any work, by reason.")
                       .Register(*registry_);
  for (size_t i = 0; i < rejections_.size(); ++i) {
    rejections_[i] =
        &rejected.Add({{"model", model_}, {"reason", kRejectionNames[i]}});
  }
  auto& tokens = BuildCounter()
                     .Name("headwise_tokens_total")
                     .Help(
                         "Tokens of prompts that were worked on, of them "
                         "found in a prefix; generated, scored.")
                     .Register(*registry_);
  const auto kind = [&](const char* name) {
    return &tokens.Add({{"model", model_}, {"kind", name}});
  };
  prompt_tokens_ = kind("prompt");
  cached_tokens_ = kind("cached");
  generated_tokens_ = kind("generated");
  scored_tokens_ = kind("scored");
}

void ServerMetrics::AddStepFamilies() {
  step_ = &BuildHistogram()
               .Name("headwise_step_seconds")
               .Help(
                   "A rank's time in a step: phase compute; inside "
                   "collectives, wait for peers and transfer.")
               .Register(*registry_);
  collective_ = &BuildHistogram()
                     .Name("headwise_collective_seconds")
                     .Help(
                         "Mean time of one collective, once for each step "
                         "and rank: phase wait (for late peers), transfer.")
                     .Register(*registry_);
  collective_bytes_ = &BuildCounter()
                           .Name("headwise_collective_bytes_total")
                           .Help("Bytes moved by collectives, over all ranks.")
                           .Register(*registry_);
  groups_lost_ = &BuildCounter()
                      .Name("headwise_groups_lost_total")
                      .Help("Groups of workers lost, by the error's code.")
                      .Register(*registry_);
  rebuild_ = &BuildHistogram()
                  .Name("headwise_rebuild_seconds")
                  .Help(
                      "Without a group of workers until the next one stood, "
                      "by cause: death, or scale.")
                  .Register(*registry_);
  rebuilds_ = &BuildCounter()
                   .Name("headwise_rebuilds_total")
                   .Help("Requests that went on in another group of workers.")
                   .Register(*registry_)
                   .Add({{"model", model_}});
  steps_ = &BuildCounter()
                .Name("headwise_steps_total")
                .Help("Steps that a worker has answered: its heartbeat.")
                .Register(*registry_);
}

int ServerMetrics::ContextClass(int64_t context_len) {
  constexpr std::array<int64_t, kNumContextClasses - 1> kBounds = {
      4 << 10, 32 << 10, 128 << 10, 1 << 20};
  return static_cast<int>(
      std::lower_bound(kBounds.begin(), kBounds.end(), context_len) -
      kBounds.begin());
}

void ServerMetrics::RecordRequest(const RequestRecord& record) {
  const std::string code = absl::StatusCodeToString(record.code);
  requests_->Add({{"model", model_}, {"api", record.api}, {"code", code}})
      .Increment();
  const prometheus::Labels labels = {{"model", model_}, {"outcome", code}};
  request_latency_->Add(labels, RequestBuckets())
      .Observe(absl::ToDoubleSeconds(record.latency));
  if (!record.has_usage) return;
  const RequestUsage& usage = record.usage;
  queue_->Add(labels, RequestBuckets())
      .Observe(absl::ToDoubleSeconds(usage.queue_time));
  // Ended in the queue: no work, so neither its time nor its tokens count.
  if (usage.prefill_time > absl::ZeroDuration()) {
    prefill_->Add(labels, RequestBuckets())
        .Observe(absl::ToDoubleSeconds(usage.prefill_time));
    prompt_tokens_->Increment(static_cast<double>(usage.prompt_tokens));
    cached_tokens_->Increment(static_cast<double>(usage.cached_tokens));
  }
  // Scores and embeddings have no decode.
  if (usage.generated_tokens > 0) {
    decode_->Add(labels, RequestBuckets())
        .Observe(absl::ToDoubleSeconds(usage.decode_time));
    // Those that the caller had already were counted when they came.
    generated_tokens_->Increment(
        static_cast<double>(usage.generated_tokens - usage.received_tokens));
  }
  scored_tokens_->Increment(static_cast<double>(record.scored_tokens));
}

void ServerMetrics::RecordRejection(Rejection reason) {
  rejections_[static_cast<size_t>(reason)]->Increment();
}

void ServerMetrics::RecordFirstToken(int64_t context_len,
                                     absl::Duration since_arrival) {
  first_token_[ContextClass(context_len)]->Observe(
      absl::ToDoubleSeconds(since_arrival));
}

void ServerMetrics::RecordTokenGap(int64_t context_len,
                                   absl::Duration since_last_token) {
  token_gap_[ContextClass(context_len)]->Observe(
      absl::ToDoubleSeconds(since_last_token));
}

const ServerMetrics::WorkerSeries& ServerMetrics::SeriesOfWorker(
    absl::string_view worker) {
  const auto known = workers_.find(worker);
  if (known != workers_.end()) return known->second;
  if (workers_.size() >= kMaxSeenWorkers) worker = "other";
  const std::string name(worker);
  WorkerSeries& series = workers_[name];
  series.steps = &steps_->Add({{"worker", name}});
  series.compute =
      &step_->Add({{"worker", name}, {"phase", "compute"}}, StepBuckets());
  series.wait =
      &step_->Add({{"worker", name}, {"phase", "wait"}}, StepBuckets());
  series.transfer =
      &step_->Add({{"worker", name}, {"phase", "transfer"}}, StepBuckets());
  return series;
}

const ServerMetrics::GroupSeries& ServerMetrics::SeriesOfGroup(
    absl::string_view group) {
  const auto known = groups_.find(group);
  if (known != groups_.end()) return known->second;
  const std::string name(group);
  GroupSeries& series = groups_[name];
  series.wait =
      &collective_->Add({{"group", name}, {"phase", "wait"}}, StepBuckets());
  series.transfer = &collective_->Add({{"group", name}, {"phase", "transfer"}},
                                      StepBuckets());
  series.bytes = &collective_bytes_->Add({{"group", name}});
  return series;
}

void ServerMetrics::OnWorkerStep(const WorkerStepSample& sample) {
  skew_.Observe(sample.worker, sample.compute_seconds);
  absl::MutexLock lock(&mutex_);
  const WorkerSeries& worker = SeriesOfWorker(sample.worker);
  worker.steps->Increment();
  worker.compute->Observe(sample.compute_seconds);
  worker.wait->Observe(sample.wait_seconds);
  worker.transfer->Observe(sample.transfer_seconds);
  if (sample.num_collectives <= 0) return;
  const GroupSeries& group = SeriesOfGroup(sample.group);
  const auto count = static_cast<double>(sample.num_collectives);
  group.wait->Observe(sample.wait_seconds / count);
  group.transfer->Observe(sample.transfer_seconds / count);
  group.bytes->Increment(static_cast<double>(sample.collective_bytes));
}

void ServerMetrics::OnGroupLost(absl::string_view group,
                                const absl::Status& reason) {
  groups_lost_
      ->Add({{"group", std::string(group)},
             {"code", absl::StatusCodeToString(reason.code())}})
      .Increment();
}

void ServerMetrics::OnRebuild(GroupEnd end, const ResumeReport& resumed) {
  const char* cause = end == GroupEnd::kPlanned ? "scale" : "death";
  rebuild_->Add({{"cause", cause}}, RequestBuckets())
      .Observe(absl::ToDoubleSeconds(resumed.paused));
  rebuilds_->Increment(static_cast<double>(resumed.num_rebuilt));
}

}  // namespace headwise
