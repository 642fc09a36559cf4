// Packed weights that outlive an executor, for the next one of the same model.

#ifndef HEADWISE_WORKER_EXECUTOR_HELD_WEIGHTS_H_
#define HEADWISE_WORKER_EXECUTOR_HELD_WEIGHTS_H_

#include <memory>

namespace headwise {

struct ShardWeights;

// What the last Executor::Create packed or took over; shared with its executor
// while that lives. Not thread-safe.
class HeldWeights {
 public:
  HeldWeights();
  ~HeldWeights();
  HeldWeights(const HeldWeights&) = delete;

  // Before another model is served.
  void Clear();

  ShardWeights* weights() { return weights_.get(); }

 private:
  std::unique_ptr<ShardWeights> weights_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_HELD_WEIGHTS_H_
