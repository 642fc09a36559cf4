// Messages that have more in them than this version knows, on every wire
// between coordinator and worker.

#include <signal.h>

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/protobuf/message.h"
#include "google/protobuf/unknown_field_set.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "headwise/worker/v1/worker.grpc.pb.h"
#include "tests/cluster/served_cluster.h"
#include "worker/service/registrar.h"
#include "worker/step_wire/message_checksum.h"
#include "worker/step_wire/rpc_limits.h"

namespace headwise {
namespace {

namespace wire = worker::v1;

// Two fields of a later version in `message` and in every message of it.
void AddLaterFields(google::protobuf::Message* message) {
  const auto& reflection = *message->GetReflection();
  const auto& descriptor = *message->GetDescriptor();
  for (int i = 0; i < descriptor.field_count(); ++i) {
    const auto* field = descriptor.field(i);
    if (field->cpp_type() != field->CPPTYPE_MESSAGE) continue;
    if (!field->is_repeated()) {
      if (reflection.HasField(*message, field)) {
        AddLaterFields(reflection.MutableMessage(message, field));
      }
      continue;
    }
    for (int k = 0; k < reflection.FieldSize(*message, field); ++k) {
      AddLaterFields(reflection.MutableRepeatedMessage(message, field, k));
    }
  }
  auto& unknown = *reflection.MutableUnknownFields(message);
  unknown.AddVarint(1000, 7);
  unknown.AddLengthDelimited(1001, "what it says is not known yet");
}

template <typename Message>
const Message& Later(Message* message) {
  AddLaterFields(message);
  WriteChecksum(message);
  return *message;
}

// Stands between a coordinator and a worker, and is to each of them what the
// other would be as a later version.
class LaterVersion final : public wire::Worker::Service {
 public:
  explicit LaterVersion(const std::string& worker)
      : stub_(wire::Worker::NewStub(
            grpc::CreateChannel(worker, grpc::InsecureChannelCredentials()))) {
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(),
                             &port_);
    builder.AddChannelArgument(
        GRPC_ARG_HTTP2_MIN_RECV_PING_INTERVAL_WITHOUT_DATA_MS, 1000);
    builder.RegisterService(this);
    server_ = builder.BuildAndStart();
  }
  ~LaterVersion() override {
    registrar_.reset();
    server_->Shutdown(absl::ToChronoTime(absl::Now()));
    server_->Wait();
  }
  // Announces itself in the worker's place.
  void Register(const std::string& coordinator) {
    RegistrarOptions options;
    options.coordinators = {coordinator};
    grpc::ClientContext context;
    const grpc::Status asked =
        stub_->GetInfo(&context, wire::GetInfoRequest(), &options.info);
    ASSERT_TRUE(asked.ok()) << asked.error_message();
    options.info.set_address(absl::StrCat("127.0.0.1:", port_));
    AddLaterFields(&options.info);
    registrar_ = std::make_unique<Registrar>(std::move(options));
  }

  grpc::Status GetInfo(grpc::ServerContext* context,
                       const wire::GetInfoRequest* request,
                       wire::WorkerInfo* info) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    const grpc::Status status = stub_->GetInfo(onward.get(), *request, info);
    Later(info);
    return status;
  }
  grpc::Status Prepare(
      grpc::ServerContext* context, const wire::PrepareRequest* request,
      grpc::ServerWriter<wire::PrepareResponse>* writer) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    wire::PrepareRequest later = *request;
    const auto reader = stub_->Prepare(onward.get(), Later(&later));
    wire::PrepareResponse response;
    while (reader->Read(&response)) writer->Write(Later(&response));
    return reader->Finish();
  }
  grpc::Status Join(grpc::ServerContext* context,
                    const wire::JoinRequest* request,
                    wire::JoinResponse* response) override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    wire::JoinRequest later = *request;
    const grpc::Status status =
        stub_->Join(onward.get(), Later(&later), response);
    AddLaterFields(response);
    return status;
  }
  grpc::Status Run(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<wire::StepResponse, wire::StepRequest>* stream)
      override {
    const auto onward = grpc::ClientContext::FromServerContext(*context);
    for (const auto& [key, value] : context->client_metadata()) {
      if (key != kEpochMetadata) continue;
      onward->AddMetadata(kEpochMetadata, {value.data(), value.size()});
    }
    const auto worker = stub_->Run(onward.get());
    std::thread requests([&] {
      wire::StepRequest request;
      while (stream->Read(&request) && worker->Write(Later(&request))) {
      }
      worker->WritesDone();
    });
    wire::StepResponse response;
    while (worker->Read(&response) && stream->Write(Later(&response))) {
      ++num_steps;
    }
    context->TryCancel();
    requests.join();
    return worker->Finish();
  }

  std::atomic<int> num_steps = 0;

 private:
  int port_ = 0;
  std::unique_ptr<wire::Worker::Stub> stub_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<Registrar> registrar_;
};

class NextMessagesTest : public ServedCluster {};

TEST_F(NextMessagesTest, FieldsThatAreNotKnownChangeNoAnswer) {
  UseTinyModel();
  StartServing(1);
  ASSERT_FALSE(HasFatalFailure());
  const std::vector<v1::GenerateRequest> requests = {Request(40),
                                                     PromptOf(900, 20)};
  for (const auto& request : requests) AskUndisturbed(request);
  // A worker that announces itself to nobody.
  const std::string coordinator = std::exchange(address_, "");
  StartWorker("w1");
  LaterVersion later(WaitForWorkerAddress("w1"));
  ASSERT_NO_FATAL_FAILURE(later.Register(coordinator));
  ASSERT_TRUE(WaitForWorldSize(2)) << Logs();
  for (const auto& request : requests) AskUntilWhole(request, {});
  workers_[0]->Signal(SIGTERM);
  ASSERT_TRUE(WaitForWorldSize(1)) << Logs();
  for (const auto& request : requests) AskUntilWhole(request, {});
  EXPECT_GE(later.num_steps, 2 * 60);
  EXPECT_THAT(coordinator_->Log(),
              testing::Not(testing::HasSubstr("changed on its way")));
  ExpectInvariants();
}

}  // namespace
}  // namespace headwise
