// Calls whose work waits for workers: it runs on a pool of threads, never on
// gRPC's.

#ifndef HEADWISE_SERVER_FRONTENDS_POOLED_CALLS_H_
#define HEADWISE_SERVER_FRONTENDS_POOLED_CALLS_H_

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "grpcpp/support/server_callback.h"
#include "server/frontends/frontend_context.h"
#include "server/frontends/pooled_streams.h"
#include "server/leases/caller.h"
#include "server/leases/task_pool.h"

namespace headwise {

// Thread-safe.
class PooledCalls {
 public:
  PooledCalls(const FrontendContext& frontend, int num_threads)
      : frontend_(frontend), pool_(num_threads) {}

  // One call: who makes it, and how it is counted.
  struct Entry {
    Arrival arrival;
    Caller caller;
    CancelFlag cancelled;
    std::shared_ptr<void> counted;  // open while it lives
    absl::Status status;            // why it is refused
  };
  Entry Enter(const char* api, grpc::CallbackServerContext& context);
  // What ends a stream that was entered.
  std::function<void(const absl::Status&)> EndOf(const Entry& entry);
  TaskPool& pool() { return pool_; }

  // Runs `work` on the pool and finishes with its status.
  grpc::ServerUnaryReactor* Run(
      const char* api, grpc::CallbackServerContext* context,
      std::function<absl::Status(const Caller&)> work);

 private:
  const FrontendContext frontend_;
  TaskPool pool_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_POOLED_CALLS_H_
