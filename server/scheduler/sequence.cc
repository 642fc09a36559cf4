#include "server/scheduler/sequence.h"

#include <algorithm>
#include <utility>

#include "base/check.h"

namespace headwise {

// The row of the last token that came is not among them: it samples the next.
int64_t WaitingRequest::heard_rows() const {
  if (progress.generated.empty()) return progress.prompt_rows;
  return prompt_len() + static_cast<int64_t>(progress.generated.size()) - 1;
}

Sequence::Sequence(uint64_t id, uint64_t plan_id, uint64_t contrast_plan_id,
                   WaitingRequest waiting)
    : id_(id),
      plan_id_(plan_id),
      contrast_plan_id_(contrast_plan_id),
      waiting_(std::move(waiting)),
      replay_rows_(waiting_.heard_rows()),
      planned_samples_(
          static_cast<int64_t>(waiting_.progress.generated.size())) {}

std::optional<Fork> Sequence::FirstFork() const {
  if (waiting_.request.fork_from == 0) return std::nullopt;
  return Fork{.sequence_id = id_,
              .from_sequence_id = waiting_.request.fork_from,
              .length = waiting_.prefix_len,
              .plan_id = plan_id_,
              .prompt_len = waiting_.prefix_len + prompt_len()};
}

bool Sequence::can_decode() const {
  return planned_samples_ >= 1 && !has_prompt_left() &&
         planned_samples_ < waiting_.request.max_new_tokens;
}

// A slice has rows of a replay alone or none, and so of the prompt.
Slice Sequence::NextPrefillSlice(int64_t max_rows) {
  HEADWISE_CHECK(has_prompt_left() && max_rows >= 1);
  const EngineRequest& request = waiting_.request;
  const int64_t first = planned_rows_;
  const bool is_replay = is_replaying();
  const bool is_prompt = first < prompt_len();
  int64_t end = is_replay ? replay_rows_ : prompt_len();
  if (is_prompt) end = std::min(end, prompt_len());
  end = first + std::min(max_rows, end - first);
  Slice slice;
  slice.sequence_id = id_;
  slice.first_position = waiting_.prefix_len + first;
  if (first == 0 && request.fork_from == 0) {
    slice.plan_id = plan_id_;
    slice.prompt_len = prompt_len();
  }
  slice.contrast_plan_id = contrast_plan_id_;
  const std::vector<int32_t>& from =
      is_prompt ? request.prompt : waiting_.progress.generated;
  const int64_t begin = is_prompt ? first : first - prompt_len();
  slice.tokens.assign(from.begin() + begin, from.begin() + begin + end - first);
  planned_rows_ = end;
  ++slices_in_flight_;
  if (!is_replay) AskForPromptRows(first, end, slice);
  return slice;
}

void Sequence::AskForPromptRows(int64_t first, int64_t end, Slice& slice) {
  const EngineRequest& request = waiting_.request;
  slice.probe = request.probe;
  switch (request.kind) {
    case WorkKind::kGenerate:
      slice.sample = end == prompt_len();
      if (slice.sample) {
        slice.sampling = request.sampling;
        ++planned_samples_;
      }
      break;
    case WorkKind::kScore:
      // Row i is scored by the token that follows it; nothing follows the last.
      for (int64_t row = first; row < end; ++row) {
        slice.score_targets.push_back(
            row + 1 < prompt_len() ? request.prompt[row + 1] : -1);
      }
      slice.hash_logits = request.hash_logits;
      break;
    case WorkKind::kEmbed:
      slice.embed = true;
      break;
    case WorkKind::kPrefix:
      break;
  }
}

Slice Sequence::NextDecodeSlice() {
  HEADWISE_CHECK(can_decode() && !has_prompt_left());
  Slice slice;
  slice.sequence_id = id_;
  slice.first_position = waiting_.prefix_len + planned_rows_;
  slice.probe = waiting_.request.probe;
  const std::vector<int32_t>& came = waiting_.progress.generated;
  if (static_cast<int64_t>(came.size()) == planned_samples_) {
    slice.tokens = {came.back()};
  } else {
    slice.use_last_sample = true;  // it is still in flight
  }
  slice.sample = true;
  slice.sampling = waiting_.request.sampling;
  ++planned_rows_;
  ++planned_samples_;
  ++slices_in_flight_;
  return slice;
}

void Sequence::OnSliceDone(bool ran) {
  HEADWISE_CHECK(slices_in_flight_ > 0);
  --slices_in_flight_;
  known_to_workers_ = known_to_workers_ || ran;
}

bool Sequence::OnReplayedRows(int64_t rows, absl::Time now) {
  replayed_rows_ += rows;
  // A prompt that ran in an earlier group keeps its time.
  if (replayed_rows_ >= prompt_len()) {
    waiting_.times.prompt_done = std::min(waiting_.times.prompt_done, now);
  }
  return is_restore() && replayed_rows_ == replay_rows_;
}

void Sequence::OnPromptRowsDone(int64_t rows, absl::Time now) {
  waiting_.progress.prompt_rows += rows;
  waiting_.progress.num_losses = 0;
  if (done_prompt_rows() == prompt_len()) waiting_.times.prompt_done = now;
}

bool Sequence::OnToken(int32_t token) {
  std::vector<int32_t>& came = waiting_.progress.generated;
  came.push_back(token);
  waiting_.progress.num_losses = 0;
  const std::vector<int32_t>& stops = waiting_.request.stop_tokens;
  return static_cast<int64_t>(came.size()) == waiting_.request.max_new_tokens ||
         std::find(stops.begin(), stops.end(), token) != stops.end();
}

RequestUsage Sequence::Usage(absl::Time now) const {
  return UsageOf(waiting_, now);
}

RequestUsage UsageOf(const WaitingRequest& waiting, absl::Time now) {
  const RequestTimes& times = waiting.times;
  RequestUsage usage;
  usage.prompt_tokens = static_cast<int64_t>(waiting.request.prompt.size());
  usage.generated_tokens =
      static_cast<int64_t>(waiting.progress.generated.size());
  usage.received_tokens = static_cast<int64_t>(waiting.request.received.size());
  usage.cached_tokens = waiting.prefix_len;
  const absl::Time admitted = std::min(times.admitted, now);
  const absl::Time prompt_done = std::min(times.prompt_done, now);
  usage.queue_time = admitted - times.submitted;
  usage.prefill_time = prompt_done - admitted;
  usage.decode_time = now - prompt_done;
  return usage;
}

}  // namespace headwise
