// What the simulation expects of each step.

#include <cstdint>

#include "gtest/gtest.h"
#include "server/scheduler/scheduler_simulation.h"

namespace headwise {

// Within the bounds of the options, and only what is still wanted.
void SchedulerSimulation::CheckStep(const Step& step) {
  EXPECT_FALSE(step.slices.empty() && step.free_sequence_ids.empty());
  for (const uint64_t id : step.free_sequence_ids) CheckFree(id);
  int64_t num_rows = 0;
  for (const Slice& slice : step.slices) {
    num_rows += slice.num_rows();
    Record& record = records_.at(slice.sequence_id);
    record.is_begun = true;
    EXPECT_TRUE(
        !record.finished.has_value() ||
        (record.request.kind == WorkKind::kPrefix && record.replay_rows > 0))
        << "nobody wants " << slice.sequence_id;
    EXPECT_LE(slice.num_rows(), options_.prefill_chunk);
    const auto prompt_len = static_cast<int64_t>(record.request.prompt.size());
    const int64_t end = slice.first_position + slice.num_rows() -
                        static_cast<int64_t>(record.prefix.tokens.size());
    const bool generates = record.request.kind == WorkKind::kGenerate;
    const bool is_replay = end <= record.replay_rows;
    EXPECT_EQ(slice.sample, generates && end >= prompt_len && !is_replay);
    if (is_replay) {
      EXPECT_TRUE(slice.score_targets.empty() && slice.probe.empty() &&
                  !slice.hash_logits && !slice.embed);
    }
    // A row whose sample would be one too many is never sent.
    EXPECT_LT(end - prompt_len, generates ? record.request.max_new_tokens : 1);
  }
  EXPECT_LE(num_rows, options_.max_step_tokens);
  CheckPriorities(step);
  EXPECT_LE(step.plans.size(), static_cast<size_t>(kMaxPlans));
  const EngineStats stats = scheduler_.stats();
  for (size_t rank = 0; rank < 2; ++rank) {
    EXPECT_LE(stats.kv_bytes_used[rank], stats.kv_bytes_capacity[rank]);
  }
  EXPECT_LE(stats.running, options_.max_running_sequences);
}

// Those in the background run alone, but for their prefixes, until they are
// old.
void SchedulerSimulation::CheckPriorities(const Step& step) {
  int64_t num_rows = 0;
  int64_t num_others = 0;
  for (const Slice& slice : step.slices) {
    const Record& record = records_.at(slice.sequence_id);
    if (record.request.kind == WorkKind::kPrefix) continue;
    if (record.request.is_background &&
        now_ < record.submitted + kBackgroundPatience) {
      num_rows += slice.num_rows();
    } else if (!record.request.is_background) {
      ++num_others;
    }
  }
  if (num_rows == 0) return;
  EXPECT_EQ(num_others, 0);
  // A prompt has one row at least, whatever others have.
  EXPECT_LE(num_rows, options_.max_background_rows + 1);
  EXPECT_TRUE(steps_.empty() && lost_steps_.empty());
}

// Ended, or a prefix that is evicted and may run again for nobody to hear.
void SchedulerSimulation::CheckFree(uint64_t id) {
  Record& record = records_.at(id);
  if (!record.finished.has_value()) {
    EXPECT_TRUE(record.request.is_background);  // preempted
    SetBack(record);
  }
  if (record.request.kind != WorkKind::kPrefix) return;
  record.replay_rows = static_cast<int64_t>(record.request.prompt.size());
  EXPECT_TRUE(!held_.contains(id) || record.request.may_evict);
  for (const auto& [fork_id, fork] : records_) {
    EXPECT_TRUE(fork.request.fork_from != id || fork_id == id ||
                !fork.is_begun || fork.finished.has_value())
        << fork_id << " runs after " << id;
  }
}

// If nothing runs and no step was formed, then of all that waits nothing fits
// beside the prefixes that somebody holds. What runs comes further, but for the
// rows that run again, each at most once.
void SchedulerSimulation::CheckProgress(bool is_step) {
  int64_t max_steps = 100;
  bool is_promised = false;
  for (const auto& [id, record] : records_) {
    max_steps += static_cast<int64_t>(record.request.prompt.size() +
                                      record.tokens.size());
    is_promised |= held_.contains(id) && !record.request.may_evict;
  }
  steps_without_progress_ += is_step ? 1 : 0;
  EXPECT_LE(steps_without_progress_, max_steps) << "no progress";
  if (is_step || is_suspended_ || is_promised || !steps_.empty() ||
      !lost_steps_.empty()) {
    return;
  }
  const EngineStats stats = scheduler_.stats();
  EXPECT_EQ(stats.waiting, 0) << "no progress: " << stats.running << " run, "
                              << stats.held << " prefixes are there";
}

}  // namespace headwise
