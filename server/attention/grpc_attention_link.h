// AttentionLink over gRPC.

#ifndef HEADWISE_SERVER_ATTENTION_GRPC_ATTENTION_LINK_H_
#define HEADWISE_SERVER_ATTENTION_GRPC_ATTENTION_LINK_H_

#include <memory>
#include <string>
#include <vector>

#include "grpcpp/channel.h"
#include "headwise/worker/v1/attention_worker.grpc.pb.h"
#include "server/attention/attention_link.h"

namespace headwise {

// Keeps one channel, as MakeWorkerChannel makes it. Callbacks come in any case,
// perhaps after the destructor.
class GrpcAttentionLink final : public AttentionLink {
 public:
  explicit GrpcAttentionLink(const std::shared_ptr<grpc::Channel>& channel)
      : stub_(worker::v1::AttentionWorker::NewStub(channel)) {}

  void Open(OpenPartRequest request, absl::Duration timeout,
            Done<int64_t> done) override;
  void Stage(StageRequest request, absl::Duration timeout,
             Done<Nothing> done) override;
  void Attend(AttendPartRequest request, absl::Duration timeout,
              Done<AttendPartResult> done) override;
  void Probe(ProbePartRequest request, absl::Duration timeout,
             Done<ProbePartResult> done) override;
  void Fork(const std::string& session_id, const std::string& fork_id,
            int64_t length, absl::Duration timeout,
            Done<int64_t> done) override;
  void Export(const std::string& session_id, const BlockRun& run,
              int64_t length, absl::Duration timeout,
              Done<std::string> done) override;
  void Import(const std::string& session_id, const BlockRun& run,
              std::string data, absl::Duration timeout,
              Done<Nothing> done) override;
  void Delete(const std::string& session_id, absl::Duration timeout,
              Done<Nothing> done) override;
  void Renew(std::vector<std::string> session_ids, absl::Duration timeout,
             Done<std::vector<std::string>> done) override;

 private:
  const std::shared_ptr<worker::v1::AttentionWorker::Stub> stub_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_GRPC_ATTENTION_LINK_H_
