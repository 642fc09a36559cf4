#include "worker/service/run_stream.h"

#include <utility>

#include "worker/step_wire/message_checksum.h"
#include "worker/step_wire/step_wire.h"

namespace headwise {

RunStream::RunStream(WorkerNode& node, uint64_t membership_epoch)
    : node_(node), membership_epoch_(membership_epoch) {
  Next next;
  {
    absl::MutexLock lock(&mutex_);
    next = DecideLocked();
  }
  Do(next);
}

void RunStream::OnReadDone(bool ok) {
  if (!ok) {
    // Also after a clean end: the coordinator has done with this group.
    node_.AbortGroup(membership_epoch_,
                     absl::UnavailableError("the stream of steps ended"));
    Next next;
    {
      absl::MutexLock lock(&mutex_);
      reading_ = false;
      ended_ = true;
      next = DecideLocked();
    }
    Do(next);
    return;
  }
  absl::StatusOr<Step> step = ParseStep(request_);
  const absl::Status is_whole = CheckChecksum(request_);
  if (!is_whole.ok()) step = is_whole;
  if (request_.membership_epoch() != membership_epoch_) {
    step = absl::AbortedError("the step is of another membership epoch");
  }
  uint64_t number = 0;
  {
    absl::MutexLock lock(&mutex_);
    number = first_slot_ + slots_.size();
    slots_.push_back(
        {request_.membership_epoch(), request_.step_id(), std::nullopt});
  }
  absl::Status started = step.status();
  if (started.ok()) {
    started = node_.RunStep(membership_epoch_, *std::move(step),
                            [this, number](absl::StatusOr<StepResult> result) {
                              OnResult(number, std::move(result));
                            });
  }
  // Until here reading_ kept the call from finishing.
  Next next;
  {
    absl::MutexLock lock(&mutex_);
    if (!started.ok()) slots_[number - first_slot_].result.emplace(started);
    reading_ = false;
    next = DecideLocked();
  }
  Do(next);
}

void RunStream::OnResult(uint64_t slot_number,
                         absl::StatusOr<StepResult> result) {
  Next next;
  {
    absl::MutexLock lock(&mutex_);
    slots_[slot_number - first_slot_].result.emplace(std::move(result));
    next = DecideLocked();
  }
  Do(next);
}

void RunStream::OnWriteDone(bool ok) {
  Next next;
  {
    absl::MutexLock lock(&mutex_);
    writing_ = false;
    broken_ = broken_ || !ok;
    next = DecideLocked();
  }
  Do(next);
}

void RunStream::OnCancel() {
  node_.AbortGroup(membership_epoch_,
                   absl::UnavailableError("the stream of steps broke"));
  Next next;
  {
    absl::MutexLock lock(&mutex_);
    ended_ = true;
    broken_ = true;
    next = DecideLocked();
  }
  Do(next);
}

void RunStream::OnDone() { delete this; }

RunStream::Next RunStream::DecideLocked() {
  Next next;
  if (finished_) return next;
  const auto has_answer = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return !slots_.empty() && slots_.front().result.has_value();
  };
  const auto pop = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    slots_.pop_front();
    ++first_slot_;
  };
  // What can't be written any more is dropped, but not before the node has
  // answered it: its callback refers to the slot.
  while (broken_ && has_answer()) pop();
  if (!writing_ && !broken_ && has_answer()) {
    Slot& slot = slots_.front();
    response_.Clear();
    WriteStepAnswer(
        {slot.membership_epoch, slot.step_id, *std::move(slot.result)},
        &response_);
    pop();
    writing_ = next.write = true;
  }
  if (!reading_ && !ended_ && slots_.size() < kMaxSteps) {
    reading_ = next.read = true;
  }
  if (ended_ && !reading_ && !writing_ && slots_.empty()) {
    finished_ = next.finish = true;
  }
  return next;
}

void RunStream::Do(Next next) {
  if (next.write) StartWrite(&response_);
  if (next.read) StartRead(&request_);
  if (next.finish) Finish(grpc::Status::OK);
}

}  // namespace headwise
