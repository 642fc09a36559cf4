// For tests: a scheduler whose steps are read and answered one at a time.

#ifndef HEADWISE_SERVER_SCHEDULER_SCHEDULER_FIXTURE_H_
#define HEADWISE_SERVER_SCHEDULER_SCHEDULER_FIXTURE_H_

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "gtest/gtest.h"
#include "server/scheduler/model_workers.h"
#include "server/scheduler/scheduler.h"

namespace headwise {

inline constexpr absl::Time kStart = absl::UnixEpoch();

inline EngineOptions Options() {
  return {.max_step_tokens = 32,
          .max_running_sequences = 8,
          .max_queued_requests = 16,
          .prefill_chunk = 16,
          .kv = kTinyKv,
          .kv_capacity = CapacityOf(1024),
          .max_context_len = 1024};
}

inline EngineRequest Generate(int64_t prompt_len, int64_t max_new_tokens) {
  EngineRequest request;
  for (int64_t i = 0; i < prompt_len; ++i) {
    request.prompt.push_back(static_cast<int32_t>(100 + i));
  }
  request.max_new_tokens = max_new_tokens;
  return request;
}

// "id@first+rows", "?" for a row of the last sample, "*" if it samples.
inline std::vector<std::string> Rows(const Step& step) {
  std::vector<std::string> rows;
  for (const Slice& slice : step.slices) {
    rows.push_back(std::to_string(slice.sequence_id) + "@" +
                   std::to_string(slice.first_position) + "+" +
                   std::to_string(slice.num_rows()) +
                   (slice.use_last_sample ? "?" : "") +
                   (slice.sample ? "*" : ""));
  }
  return rows;
}

class SchedulerTest : public testing::Test {
 protected:
  void Use(const EngineOptions& options) {
    scheduler_.emplace(options);
    workers_.emplace(options.kv, options.kv_capacity);
  }

  uint64_t Submit(EngineRequest request) {
    const auto id = scheduler_->Submit(std::move(request), now_);
    EXPECT_TRUE(id.ok()) << id.status();
    return id.value_or(0);
  }

  // The next step's rows; empty if there is none.
  std::vector<std::string> Next() {
    std::optional<TicketedStep> step = scheduler_->NextStep(now_);
    if (!step.has_value()) return {};
    std::vector<std::string> rows = Rows(step->step);
    for (const uint64_t id : step->step.free_sequence_ids) {
      rows.push_back("free " + std::to_string(id));
    }
    sent_.push_back(*std::move(step));
    return rows;
  }

  // The group is lost, and another one, of empty caches, comes.
  ResumeReport LoseGroup(KvCapacity capacity = CapacityOf(1024),
                         GroupEnd end = GroupEnd::kLost) {
    scheduler_->Suspend(absl::UnavailableError("gone"), end, now_);
    for (const TicketedStep& step : sent_) {
      scheduler_->AddOutcome(step.ticket, absl::UnavailableError("gone"));
    }
    sent_.clear();
    workers_.emplace(kTinyKv, capacity);
    return scheduler_->Resume(capacity, now_);
  }

  // Answers the oldest step.
  void Answer() { AnswerWith(workers_->Execute(sent_.front().step)); }
  void AnswerWith(absl::StatusOr<StepResult> outcome) {
    scheduler_->AddOutcome(sent_.front().ticket, std::move(outcome));
    sent_.erase(sent_.begin());
    while (scheduler_->ApplyOutcome(now_)) {
    }
  }

  // How each request that ended since the last call ended.
  std::vector<std::pair<uint64_t, absl::StatusCode>> Ends() {
    std::vector<std::pair<uint64_t, absl::StatusCode>> ends;
    for (const SchedulerEvent& event : scheduler_->TakeEvents()) {
      if (event.kind == SchedulerEvent::Kind::kFinished) {
        ends.emplace_back(event.request_id, event.status.code());
      }
    }
    return ends;
  }

  // A prefix whose prompt has run.
  uint64_t HoldPrefix(int64_t length, uint64_t fork_from = 0) {
    EngineRequest request = Generate(length, 0);
    request.kind = WorkKind::kPrefix;
    request.fork_from = fork_from;
    const uint64_t id = Submit(std::move(request));
    RunAll();
    const std::vector<std::pair<uint64_t, absl::StatusCode>> held = {
        {id, absl::StatusCode::kOk}};
    EXPECT_EQ(Ends(), held);
    return id;
  }
  void RunAll() {
    while (!Next().empty() || !sent_.empty()) {
      if (!sent_.empty()) Answer();
    }
  }

  absl::Time now_ = kStart;
  std::optional<Scheduler> scheduler_{Options()};
  std::optional<ModelWorkers> workers_{std::in_place, kTinyKv,
                                       CapacityOf(1024)};
  std::vector<TicketedStep> sent_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_SCHEDULER_FIXTURE_H_
