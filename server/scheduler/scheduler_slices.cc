// The part of the scheduler that fills a step with rows.

#include <algorithm>
#include <utility>

#include "server/scheduler/long_prompts.h"
#include "server/scheduler/prompt_shares.h"
#include "server/scheduler/scheduler.h"

namespace headwise {
namespace {

// Workers take a step through the layers so many rows at a time
// (worker/executor/row_batch.h); a step that is not the last of its prompt
// leaves no small rest.
constexpr int64_t kBatchRows = 128;

}  // namespace

int64_t Scheduler::ProbeBytes(const Sequence& sequence,
                              int64_t num_rows) const {
  return num_rows *
         ProbeBytesPerRow(sequence.request().probe,
                          options_.kv.num_layers * options_.kv.num_heads());
}

double Scheduler::RowCost(const Sequence& sequence) const {
  return row_costs_.Of(sequence.request().plan.get(),
                       sequence.next_position()) *
         static_cast<double>(sequence.row_cost());
}

void Scheduler::AddSlices(Step& step, SentStep& sent) {
  AddRows(/*of_background=*/false, options_.max_step_tokens, step, sent);
  if (!step.slices.empty() || steps_unanswered() > 0) return;
  AddRows(/*of_background=*/true,
          std::min(options_.max_step_tokens, options_.max_background_rows),
          step, sent);
}

void Scheduler::AddRows(bool of_background, int64_t max_cost, Step& step,
                        SentStep& sent) {
  StepRoom room = {
      .cost = static_cast<double>(max_cost),
      .rows = options_.max_step_tokens,
      .probe_bytes = kMaxProbeBytes,
  };
  const double kept = room.cost * kPromptShare;
  const bool wants_prompts = std::any_of(
      running_.begin(), running_.end(), [of_background](const auto& running) {
        return running.second.is_background() == of_background &&
               running.second.has_prompt_left();
      });
  AddDecodes(of_background, wants_prompts ? room.cost - kept : room.cost, room,
             step, sent);
  if (!wants_prompts) return;
  room.cost = std::max(room.cost, kept);
  AddPrompts(of_background, room, step, sent);
}

void Scheduler::AddDecodes(bool of_background, double budget, StepRoom& room,
                           Step& step, SentStep& sent) {
  std::vector<Sequence*> decodes;
  double cost = 0;
  for (auto& [id, sequence] : running_) {
    if (sequence.is_background() != of_background || !sequence.can_decode()) {
      continue;
    }
    decodes.push_back(&sequence);
    cost += RowCost(sequence);
  }
  const auto add = [&](Sequence& sequence) {
    const int64_t probe_bytes = ProbeBytes(sequence, 1);
    if (probe_bytes > room.probe_bytes) return 0.0;  // the next step has room
    const double row_cost = RowCost(sequence);
    room.probe_bytes -= probe_bytes;
    room.cost -= row_cost;
    --room.rows;
    sent.cost += row_cost;
    sequence.OnDecode(last_step_id_ + 1);
    AddSlice(sequence.NextDecodeSlice(), step, sent);
    return row_cost;
  };
  if (cost <= budget) {
    for (Sequence* sequence : decodes) add(*sequence);
    return;
  }
  // In turn: those come first whose last row was the longest ago.
  std::stable_sort(decodes.begin(), decodes.end(),
                   [](const Sequence* a, const Sequence* b) {
                     return a->last_decode_step() < b->last_decode_step();
                   });
  std::vector<PromptNeed> needs;
  for (const Sequence* sequence : decodes) {
    needs.push_back({.tenant = sequence->request().tenant, .rows_left = 1});
  }
  DealRoom(needs, budget, [&](size_t index, double share) {
    if (index > 0 && RowCost(*decodes[index]) > share) return 0.0;
    return add(*decodes[index]);
  });
}

bool Scheduler::IsLong(const Sequence& sequence) const {
  const int64_t rows = sequence.prompt_rows();
  const double room = static_cast<double>(options_.max_step_tokens) /
                      static_cast<double>(sequence.row_cost());
  if (static_cast<double>(rows) > room) return true;
  return row_costs_.RowsWithin(sequence.request().plan.get(),
                               sequence.prefix_len(), rows, room) < rows;
}

double Scheduler::RoomOfLong(const std::vector<Prompt>& prompts,
                             const StepRoom& room) {
  LongPromptTerms terms = {
      .step_room = static_cast<double>(options_.max_step_tokens),
      .room = room.cost,
      .num_passed = num_passed_};
  for (const SentStep& sent : steps_) {
    terms.is_in_flight |= sent.has_long_rows;
    terms.is_short_in_flight |= sent.has_short_rows;
  }
  int64_t num_others = 0;
  for (const auto& [id, sequence] : running_) {
    num_others += sequence.is_background() ? 0 : 1;
  }
  int64_t num_long = 0;
  for (const auto& [sequence, is_long] : prompts) {
    if (is_long) {
      ++num_long;
      terms.longest_cost =
          std::max(terms.longest_cost, sequence->prompt_cost());
      continue;
    }
    terms.short_cost +=
        RowCost(*sequence) * static_cast<double>(sequence->prompt_rows_left());
  }
  terms.has_others = num_others > num_long;
  if (terms.has_others && num_long > 0) long_steps_alone_ = 0;
  terms.steps_alone = long_steps_alone_;
  return RoomOfLongPrompts(terms);
}

void Scheduler::AddPrompts(bool of_background, StepRoom room, Step& step,
                           SentStep& sent) {
  std::vector<Prompt> prompts;
  for (auto& [id, sequence] : running_) {
    if (sequence.is_background() != of_background) continue;
    if (!sequence.has_prompt_left()) continue;
    prompts.push_back({&sequence, !of_background && IsLong(sequence)});
  }
  double long_room = of_background ? 0 : RoomOfLong(prompts, room);
  if (long_room <= 0) {
    std::erase_if(prompts, [](const Prompt& prompt) { return prompt.is_long; });
  }
  std::vector<PromptNeed> needs;
  for (const auto& [sequence, is_long] : prompts) {
    needs.push_back({.tenant = sequence->request().tenant,
                     .rows_left = sequence->prompt_rows_left()});
  }
  DealRoom(needs, room.cost, [&](size_t index, double budget) {
    const auto& [sequence, is_long] = prompts[index];
    if (is_long) budget = std::min(budget, long_room);
    const double row_cost = RowCost(*sequence);
    if (index > 0 && row_cost > budget) return 0.0;
    const double taken =
        row_cost * AddPrompt(*sequence, budget, room, step, sent);
    sent.cost += taken;
    if (is_long) long_room -= taken;
    bool& has_rows = is_long ? sent.has_long_rows : sent.has_short_rows;
    has_rows |= taken > 0;
    return taken;
  });
  if (sent.has_long_rows) {
    ++long_steps_alone_;
    num_passed_ = 0;
  } else if (sent.has_short_rows) {
    ++num_passed_;
  }
}

int64_t Scheduler::AddPrompt(Sequence& sequence, double budget, StepRoom& room,
                             Step& step, SentStep& sent) {
  if (room.rows == 0) return 0;
  const int64_t row_cost = sequence.row_cost();
  int64_t max_rows = std::min(std::max<int64_t>(room.rows / row_cost, 1),
                              options_.prefill_chunk);
  const int64_t row_bytes =
      sequence.is_replaying() ? 0 : ProbeBytes(sequence, 1);
  if (row_bytes > 0) {
    max_rows = std::min(max_rows, room.probe_bytes / row_bytes);
  }
  if (max_rows == 0) return 0;
  if (sequence.is_new()) {
    if (step.forks.size() == static_cast<size_t>(kMaxForks)) return 0;
    plans_.AddTo(step, sequence.plan_id());
    plans_.AddTo(step, sequence.contrast_plan_id());
    if (const auto fork = sequence.FirstFork()) step.forks.push_back(*fork);
  }
  max_rows = row_costs_.RowsWithin(sequence.request().plan.get(),
                                   sequence.next_position(), max_rows,
                                   budget / static_cast<double>(row_cost));
  if (max_rows > kBatchRows && max_rows < sequence.prompt_rows_left()) {
    max_rows -= max_rows % kBatchRows;
  }
  const bool is_replay = sequence.is_replaying();
  Slice slice = sequence.NextPrefillSlice(max_rows);
  const int64_t num_rows = slice.num_rows();
  room.rows = std::max<int64_t>(room.rows - num_rows * row_cost, 0);
  room.probe_bytes -= num_rows * row_bytes;
  AddSlice(std::move(slice), step, sent);
  sent.slices.back().is_replay = is_replay;
  return num_rows;
}

void Scheduler::AddSlice(Slice slice, Step& step, SentStep& sent) {
  sent.slices.push_back(
      {.sequence_id = slice.sequence_id,
       .first_position = slice.first_position,
       .num_rows = slice.num_rows(),
       .sample = slice.sample,
       .score = !slice.score_targets.empty(),
       .contrast = slice.contrast_plan_id != 0 && !slice.score_targets.empty(),
       .hash_logits = slice.hash_logits,
       .embed = slice.embed,
       .probe = !slice.probe.empty()});
  step.slices.push_back(std::move(slice));
}

}  // namespace headwise
