// A cluster of processes that is asked over gRPC while faults strike.

#ifndef HEADWISE_TESTS_CLUSTER_SERVED_CLUSTER_H_
#define HEADWISE_TESTS_CLUSTER_SERVED_CLUSTER_H_

#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "grpcpp/support/status.h"
#include "headwise/v1/admin.grpc.pb.h"
#include "headwise/v1/inference.grpc.pb.h"
#include "headwise/v1/sessions.grpc.pb.h"
#include "tests/cluster/history.h"
#include "tests/support/fault_proxy.h"
#include "tests/support/process_cluster.h"

namespace headwise {

class ServedCluster : public ProcessCluster {
 protected:
  ServedCluster();

  // With metrics and stubs. `flags` and the rest come beside them.
  void StartServer(int min_workers, Started how = {});
  // The same, of a worker w0 that is reached through proxy_ alone.
  void StartServerAndProxiedWorker(int min_workers,
                                   std::vector<std::string> flags = {});
  // And so many workers, w0, w1, ... that announce themselves; returns when
  // they serve.
  void StartServing(int num_workers,
                    const std::vector<std::string>& flags = {});
  // Writes a tiny llama model, which a step of takes well under a millisecond,
  // and takes it for the cluster's.
  void UseTinyModel(int64_t max_context_len = 1 << 16);

  bool WaitForWorldSize(size_t size, absl::Duration timeout = kReady);
  uint64_t MembershipEpoch();

  // `num_tokens` tokens after a prompt that `seed` changes.
  static v1::GenerateRequest Request(int num_tokens, uint64_t seed = 1);
  // After a prompt of exactly so many tokens.
  static v1::GenerateRequest PromptOf(int64_t num_prompt_tokens,
                                      int num_tokens);
  // A stream that nobody reads on before its end.
  class Stream {
   public:
    Stream(v1::Inference::Stub& stub, const v1::GenerateRequest& request,
           absl::Duration timeout);
    ~Stream();  // cancels it
    // Returns once text has come, or the stream has ended.
    void WaitForText();
    void Cancel() { context_.TryCancel(); }
    // Reads the rest; to be called once.
    grpc::Status End();

   private:
    grpc::ClientContext context_;
    std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> reader_;
    bool has_ended_ = false;
  };
  // One whose text flows.
  std::unique_ptr<Stream> Begin(const v1::GenerateRequest& request);
  // Records the undisturbed answer in fault_free_.
  void AskUndisturbed(const v1::GenerateRequest& request);
  // What a caller sees who asks until the answer is whole: it is asked again
  // after UNAVAILABLE. Recorded in history_.
  HeardAnswer AskUntilWhole(const v1::GenerateRequest& request,
                            const History::Asking& asking);
  // The same, with `fault` once the text flows.
  HeardAnswer AskWithFault(const v1::GenerateRequest& request,
                           const std::function<void()>& fault);
  // Of a prompt session: tokens [begin, end) of a text that all tests share.
  static v1::UploadRequest PieceOf(int64_t begin, int64_t end);
  // Sends the pieces, and breaks off once that says so, as its caller's death
  // would. `session` as it then is.
  grpc::Status Upload(const std::vector<v1::UploadRequest>& pieces,
                      v1::PromptSession* session,
                      const std::function<bool(const v1::UploadProgress&)>&
                          breaks_off = nullptr);
  // The fault-free run's requests count in the metrics too: history_ gets them
  // once it is over.
  void ExpectInvariants();

  // Of /metrics; empty if it can't be had.
  std::string MetricsPage();
  // The sum of a series; -1: there is none.
  double Metric(const std::string& name, const std::string& labels = "");
  bool WaitForKvFreed(absl::Duration timeout);
  // Both logs, for messages of failed expectations.
  std::string Logs() const;

  std::unique_ptr<v1::Inference::Stub> inference_;
  std::unique_ptr<v1::Admin::Stub> admin_;
  std::unique_ptr<v1::Sessions::Stub> sessions_;
  std::unique_ptr<FaultProxy> proxy_;
  absl::Time struck_at_;  // monotonic: the last fault
  History fault_free_;
  History history_;
};

// A line of /proc/PID/status: VmHWM, the most memory that the process has had;
// RssAnon, what it has of its own now.
int64_t MemoryBytes(const ChildProcess& process, const std::string& line);

// On the monotonic clock.
absl::Duration Since(absl::Time begin);

// Does the error carry google.rpc.RetryInfo?
bool HasRetryInfo(const grpc::Status& status);

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_SERVED_CLUSTER_H_
