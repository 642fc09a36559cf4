// Workers of attention sessions in this process, one thread each: what a
// cluster computes, without what it sends.

#ifndef HEADWISE_BENCH_DISTRIBUTED_MHA_SESSION_WORKERS_H_
#define HEADWISE_BENCH_DISTRIBUTED_MHA_SESSION_WORKERS_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "worker/sessions/session_node.h"

namespace headwise {

// Tensors are fp32, [num_heads][num_tokens][head_dim].
struct MhaInput {
  const float* queries = nullptr;  // multiplied by softmax_scale
  const float* keys = nullptr;
  const float* values = nullptr;
  int64_t num_tokens = 0;
  int64_t num_heads = 0;  // each with keys and values of its own
  int64_t head_dim = 0;
};

struct MhaSeconds {
  double wall = 0.0;
  // Of the worker that took longest over it.
  double append = 0.0;
  double attend = 0.0;
  // Of its thread: where each worker has a core of its own, as wall.
  double cpu = 0.0;
};

// Worker w of P has heads [H w / P, H (w + 1) / P).
class SessionWorkers {
 public:
  explicit SessionWorkers(int num_workers);

  // Opens a session, appends all keys and values and attends to them with all
  // queries, causally; only opening is not timed. `out` is shaped as the
  // queries are.
  MhaSeconds Run(const MhaInput& input, float* out);

 private:
  struct Part;

  std::vector<std::unique_ptr<SessionNode>> nodes_;
};

}  // namespace headwise

#endif  // HEADWISE_BENCH_DISTRIBUTED_MHA_SESSION_WORKERS_H_
