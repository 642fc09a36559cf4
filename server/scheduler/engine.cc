#include "server/scheduler/engine.h"

#include <memory>
#include <thread>

#include "base/pulse.h"
#include "server/scheduler/engine_loop.h"

namespace headwise {
namespace {

// The loop and the one thread that turns it.
class ThreadedEngine final : public EngineLoop {
 public:
  ThreadedEngine(const EngineOptions& options, Dispatcher& dispatcher,
                 const Clock& clock)
      : EngineLoop(options, dispatcher, clock), thread_([this] { Run(); }) {}

  ~ThreadedEngine() override {
    BeginShutdown();
    thread_.join();
  }

 private:
  void Run() {
    ThreadPulse pulse("hw-engine");
    while (true) {
      pulse.Beat();
      if (Step()) continue;
      if (finished()) return;
      AwaitWork();
    }
  }

  std::thread thread_;  // last: it runs from its construction on
};

}  // namespace

std::unique_ptr<Engine> Engine::Create(const EngineOptions& options,
                                       Dispatcher& dispatcher,
                                       const Clock& clock) {
  return std::make_unique<ThreadedEngine>(options, dispatcher, clock);
}

}  // namespace headwise
