#include "server/selection/shard_scorer.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

// Also the longest time that a status is behind.
constexpr absl::Duration kMaxWait = absl::Seconds(1);
// Until a shard of another server is asked for again.
constexpr absl::Duration kHeldWait = absl::Seconds(1);

}  // namespace

ShardScorer::ShardScorer(Job job, Parts parts, DocumentScorer& scorer)
    : job_(std::move(job)),
      parts_(std::move(parts)),
      scorer_(scorer),
      back_off_(job_.min_back_off, job_.max_back_off) {}

absl::Status ShardScorer::Run(const std::vector<bool>& is_committed) {
  is_committed_ = is_committed;
  num_committed_ = std::count(is_committed.begin(), is_committed.end(), true);
  while (!IsAllCommitted()) {
    HEADWISE_ASSIGN_OR_RETURN(const bool goes_on, parts_.pulse.GoesOn());
    if (!goes_on) return absl::OkStatus();
    HEADWISE_RETURN_IF_ERROR(TakeAnswers());
    HEADWISE_RETURN_IF_ERROR(CommitComplete());
    HEADWISE_ASSIGN_OR_RETURN(const bool has_moved, SendOne());
    if (has_moved || IsAllCommitted()) continue;
    TellPace();
    parts_.inbox->Wait(WaitTime());
  }
  return absl::OkStatus();
}

bool ShardScorer::IsAllCommitted() const {
  return num_committed_ == static_cast<int64_t>(is_committed_.size());
}

absl::Status ShardScorer::TakeAnswers() {
  for (const ScorerAnswer& answer : parts_.inbox->Take()) {
    HEADWISE_RETURN_IF_ERROR(TakeAnswer(answer));
  }
  return absl::OkStatus();
}

absl::Status ShardScorer::TakeAnswer(const ScorerAnswer& answer) {
  const auto found = in_flight_.find(answer.ticket);
  HEADWISE_CHECK(found != in_flight_.end());
  Flight flight = std::move(found->second);
  in_flight_.erase(found);
  const absl::Time now = parts_.clock.Now();
  flight.cost_seconds += cost_.End(now, flight.begin);

  const absl::Status& status = answer.loss.status();
  if (absl::IsUnavailable(status) || absl::IsCancelled(status)) {
    back_off_.Failed(now);
    parts_.live.SetNote(
        absl::StrCat("the model is not there: ", status.message()));
    again_.push_back(std::move(flight));
    return absl::OkStatus();
  }
  back_off_.Succeeded();
  parts_.live.SetNote("");
  text_bytes_ -= static_cast<int64_t>(flight.text.size());
  if (answer.loss.ok()) rate_.Add(now, answer.loss->num_tokens);
  return flight.shard->Put(flight.document, answer.loss, flight.cost_seconds);
}

absl::StatusOr<bool> ShardScorer::Commit(OpenShard& shard) {
  // Who takes a lost lease over removes the unfinished file, too.
  HEADWISE_ASSIGN_OR_RETURN(const bool is_ours,
                            parts_.books.Holds(job_.number, shard.index()));
  if (!is_ours) return false;
  HEADWISE_ASSIGN_OR_RETURN(const PartEntry part, shard.Commit());
  return parts_.books.Commit(job_.number, part, shard.sketches());
}

absl::Status ShardScorer::CommitComplete() {
  for (auto shard = open_.begin(); shard != open_.end();) {
    if (!(*shard)->is_complete()) {
      ++shard;
      continue;
    }
    HEADWISE_ASSIGN_OR_RETURN(const bool is_ours, Commit(**shard));
    const int64_t index = (*shard)->index();
    if (is_ours) {
      is_committed_[static_cast<size_t>(index)] = true;
      ++num_committed_;
    } else {
      held_.push_back({index, parts_.clock.Now() + kHeldWait});
    }
    shard = open_.erase(shard);
    TellPace();
  }
  return absl::OkStatus();
}

bool ShardScorer::HasRoom() const {
  int64_t num_waiting = 0;
  for (const auto& shard : open_) num_waiting += shard->num_waiting();
  return num_waiting < kMaxWaitingRows &&
         (text_bytes_ == 0 || text_bytes_ < job_.max_text_bytes);
}

void ShardScorer::Send(Flight flight) {
  const int64_t ticket = next_ticket_++;
  flight.begin = cost_.Begin(parts_.clock.Now());
  std::string text = flight.text;
  in_flight_.emplace(ticket, std::move(flight));
  scorer_.Score(std::move(text), [inbox = parts_.inbox,
                                  ticket](absl::StatusOr<DocumentLoss> loss) {
    inbox->Put({ticket, std::move(loss)});
  });
}

// One small thing, so that answers are looked at in between. False: there is
// nothing to do but wait.
absl::StatusOr<bool> ShardScorer::SendOne() {
  const bool is_full = static_cast<int64_t>(in_flight_.size()) >=
                       std::max<int64_t>(1, scorer_.num_at_once());
  if (is_full || back_off_.Left(parts_.clock.Now()) > absl::ZeroDuration()) {
    return false;
  }
  if (!again_.empty()) {
    Send(std::move(again_.front()));
    again_.pop_front();
    return true;
  }
  if (!HasRoom()) return false;
  if (reading_ == nullptr) return OpenOne();
  HEADWISE_ASSIGN_OR_RETURN(OpenShard::Read read, reading_->Next());
  if (read.is_end) reading_ = nullptr;
  if (!read.document.has_value()) return true;
  text_bytes_ += static_cast<int64_t>(read.text.size());
  Send({.shard = reading_,
        .document = *read.document,
        .text = std::move(read.text)});
  return true;
}

absl::StatusOr<bool> ShardScorer::OpenOne() {
  if (static_cast<int64_t>(open_.size()) >= job_.max_open_shards) return false;
  const auto num_shards = static_cast<int64_t>(is_committed_.size());
  while (next_shard_ < num_shards &&
         is_committed_[static_cast<size_t>(next_shard_)]) {
    ++next_shard_;
  }
  int64_t shard = next_shard_;
  if (shard < num_shards) {
    ++next_shard_;
  } else if (!held_.empty() && held_.front().ask_again <= parts_.clock.Now()) {
    shard = held_.front().shard;
    held_.pop_front();
  } else {
    return false;
  }
  HEADWISE_ASSIGN_OR_RETURN(const bool is_ours, TryLease(shard));
  if (!is_ours) return true;
  HEADWISE_ASSIGN_OR_RETURN(
      auto open,
      OpenShard::Open(job_.input,
                      job_.manifest.shards[static_cast<size_t>(shard)],
                      job_.manifest.ranking, job_.place));
  reading_ = open.get();
  open_.push_back(std::move(open));
  return true;
}

absl::StatusOr<bool> ShardScorer::TryLease(int64_t shard) {
  HEADWISE_ASSIGN_OR_RETURN(const LeaseAnswer answer,
                            parts_.books.Lease(job_.number, shard));
  if (answer == LeaseAnswer::kIsCommitted) {
    is_committed_[static_cast<size_t>(shard)] = true;
    ++num_committed_;
  } else if (answer == LeaseAnswer::kHeldByOther) {
    held_.push_back({shard, parts_.clock.Now() + kHeldWait});
  }
  return answer == LeaseAnswer::kTaken;
}

absl::Duration ShardScorer::WaitTime() const {
  const absl::Time now = parts_.clock.Now();
  absl::Duration time = std::min(kMaxWait, parts_.pulse.UntilNext());
  const absl::Duration back_off = back_off_.Left(now);
  if (back_off > absl::ZeroDuration()) time = std::min(time, back_off);
  if (!held_.empty()) time = std::min(time, held_.front().ask_again - now);
  return std::max(time, absl::Milliseconds(1));
}

void ShardScorer::TellPace() {
  int64_t num_open_tokens = 0;
  for (const auto& shard : open_) num_open_tokens += shard->num_tokens();
  parts_.live.SetPace(rate_.PerSecond(parts_.clock.Now()), num_open_tokens);
}

}  // namespace headwise
