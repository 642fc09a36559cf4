// For tests: a sink that keeps what it hears.

#ifndef HEADWISE_SERVER_SCHEDULER_RECORDING_SINK_H_
#define HEADWISE_SERVER_SCHEDULER_RECORDING_SINK_H_

#include <cstdint>
#include <functional>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/notification.h"
#include "server/scheduler/engine.h"

namespace headwise {

class RecordingSink final : public RequestSink {
 public:
  explicit RecordingSink(int64_t stop_after = -1) : stop_after_(stop_after) {}

  bool OnToken(const SliceResult& outcome) override {
    tokens.push_back(outcome.token);
    if (on_token) on_token();
    return static_cast<int64_t>(tokens.size()) != stop_after_;
  }
  void OnFinished(const absl::Status& status, const RequestUsage&) override {
    ++num_finished;
    end = status;
    finished.Notify();  // a second Notify would abort
  }

  // Written by the engine's thread; read once `finished`.
  std::vector<int32_t> tokens;
  absl::Status end;
  int num_finished = 0;
  std::function<void()> on_token;
  absl::Notification finished;

 private:
  const int64_t stop_after_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_RECORDING_SINK_H_
