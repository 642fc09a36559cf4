// The pulse of gRPC's timers, without which no deadline and no ping works.

#ifndef HEADWISE_PROTO_TIMER_PULSE_H_
#define HEADWISE_PROTO_TIMER_PULSE_H_

#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "base/pulse.h"
#include "grpcpp/alarm.h"

namespace headwise {

// Beats "grpc-timers" every kPulseInterval while it lives.
class TimerPulse {
 public:
  TimerPulse();
  // Waits for the callback that is to come.
  ~TimerPulse();

 private:
  void OnAlarm();
  void SetAlarmLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Pulse pulse_;
  absl::Mutex mutex_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Null once stopping_ and its callback has come.
  std::unique_ptr<grpc::Alarm> alarm_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace headwise

#endif  // HEADWISE_PROTO_TIMER_PULSE_H_
