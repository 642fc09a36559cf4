#include "proto/timer_pulse.h"

#include "absl/time/clock.h"

namespace headwise {

TimerPulse::TimerPulse() : pulse_("grpc-timers") {
  absl::MutexLock lock(&mutex_);
  SetAlarmLocked();
}

TimerPulse::~TimerPulse() {
  absl::MutexLock lock(&mutex_);
  stopping_ = true;
  if (alarm_ != nullptr) alarm_->Cancel();
  const auto over = [this]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return alarm_ == nullptr;
  };
  mutex_.Await(absl::Condition(&over));
}

void TimerPulse::OnAlarm() {
  pulse_.Beat();
  absl::MutexLock lock(&mutex_);
  alarm_.reset();
  if (!stopping_) SetAlarmLocked();
}

void TimerPulse::SetAlarmLocked() {
  alarm_ = std::make_unique<grpc::Alarm>();
  alarm_->Set(absl::ToChronoTime(absl::Now() + kPulseInterval),
              [this](bool) { OnAlarm(); });
}

}  // namespace headwise
