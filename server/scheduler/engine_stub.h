// For tests: an engine that does nothing, to derive one from that does little.

#ifndef HEADWISE_SERVER_SCHEDULER_ENGINE_STUB_H_
#define HEADWISE_SERVER_SCHEDULER_ENGINE_STUB_H_

#include <memory>
#include <string>
#include <vector>

#include "server/scheduler/engine.h"

namespace headwise {

class EngineStub : public Engine {
 public:
  absl::StatusOr<uint64_t> Submit(EngineRequest,
                                  std::shared_ptr<RequestSink>) override {
    return absl::UnimplementedError("fake");
  }
  void Cancel(uint64_t) override {}
  uint64_t HoldTokens(std::vector<int32_t>, std::shared_ptr<const HeadPlan>,
                      std::string) override {
    return 0;
  }
  absl::StatusOr<std::vector<int32_t>> TokensOf(uint64_t) const override {
    return absl::UnimplementedError("fake");
  }
  void Release(uint64_t) override {}
  absl::StatusOr<uint64_t> Park(uint64_t,
                                std::shared_ptr<RequestSink>) override {
    return absl::UnimplementedError("fake");
  }
  absl::StatusOr<uint64_t> Unpark(uint64_t,
                                  std::shared_ptr<RequestSink>) override {
    return absl::UnimplementedError("fake");
  }
  void Suspend(absl::Status, GroupEnd) override {}
  ResumeReport Resume(KvCapacity) override { return {}; }
  void Refuse(absl::Status) override {}
  void Close(absl::Status) override {}
  absl::StatusOr<SizeAnswer> AskSize(const SizeQuestion&) const override {
    return absl::UnimplementedError("fake");
  }
  EngineStats stats() const override { return {}; }
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_ENGINE_STUB_H_
