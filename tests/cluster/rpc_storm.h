// Any bytes to any method of a server, many calls at once.

#ifndef HEADWISE_TESTS_CLUSTER_RPC_STORM_H_
#define HEADWISE_TESTS_CLUSTER_RPC_STORM_H_

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/completion_queue.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/status.h"

namespace headwise {

// Not thread-safe: it runs within Send and Finish.
class RpcStorm {
 public:
  struct Call {
    std::string method;                 // "/headwise.v1.Inference/Generate"
    std::vector<std::string> messages;  // serialized, in order
    std::vector<std::pair<std::string, std::string>> metadata = {};
    absl::Duration timeout = absl::Seconds(5);
  };
  // Of each call once it has ended, with the first message that came back.
  using OnEnd = std::function<void(const Call&, const grpc::Status&,
                                   const std::string& first_answer)>;

  RpcStorm(std::shared_ptr<grpc::Channel> channel, int max_in_flight,
           OnEnd on_end);
  ~RpcStorm();  // Finish

  // Waits until fewer than max_in_flight calls run.
  void Send(Call call);
  // Until all have ended.
  void Finish();

 private:
  struct Running;
  // Of the next event.
  void Advance();

  const std::shared_ptr<grpc::Channel> channel_;
  grpc::GenericStub stub_;
  const int max_in_flight_;
  const OnEnd on_end_;
  grpc::CompletionQueue queue_;
  std::map<Running*, std::unique_ptr<Running>> running_;
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_RPC_STORM_H_
