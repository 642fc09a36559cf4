// What the tests of the services share: a server of fakes and a plain client.

#ifndef HEADWISE_SERVER_FRONTENDS_SERVICES_FIXTURE_H_
#define HEADWISE_SERVER_FRONTENDS_SERVICES_FIXTURE_H_

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "headwise/v1/admin.grpc.pb.h"
#include "headwise/v1/inference.grpc.pb.h"
#include "server/frontends/frontend_fakes.h"
#include "server/frontends/server_frontends.h"

namespace headwise {

// Calls with a deadline of 30 s and no retries.
class TestClient {
 public:
  using OnEvent = std::function<bool(const v1::GenerateResponse&)>;

  explicit TestClient(std::shared_ptr<grpc::Channel> channel)
      : inference_(v1::Inference::NewStub(channel)),
        admin_(v1::Admin::NewStub(channel)) {}

  // False from `on_event` cancels.
  absl::Status Generate(const v1::GenerateRequest& request,
                        const OnEvent& on_event) {
    grpc::ClientContext context;
    SetDeadline(&context);
    return Drain(*inference_->Generate(&context, request), &context, on_event);
  }
  absl::Status Chat(const v1::ChatRequest& request, const OnEvent& on_event) {
    grpc::ClientContext context;
    SetDeadline(&context);
    return Drain(*inference_->Chat(&context, request), &context, on_event);
  }
  absl::StatusOr<v1::ScoreResponse> Score(const v1::ScoreRequest& request) {
    return Call(*inference_, &v1::Inference::Stub::Score, request);
  }
  absl::StatusOr<v1::EmbedResponse> Embed(const v1::EmbedRequest& request) {
    return Call(*inference_, &v1::Inference::Stub::Embed, request);
  }
  absl::StatusOr<v1::TokenizeResponse> Tokenize(
      const v1::TokenizeRequest& request) {
    return Call(*inference_, &v1::Inference::Stub::Tokenize, request);
  }
  absl::StatusOr<v1::DetokenizeResponse> Detokenize(
      const v1::DetokenizeRequest& request) {
    return Call(*inference_, &v1::Inference::Stub::Detokenize, request);
  }
  absl::StatusOr<v1::Model> GetModel(const v1::GetModelRequest& request) {
    return Call(*inference_, &v1::Inference::Stub::GetModel, request);
  }
  absl::StatusOr<v1::HeadMap> GetHeadMap(const v1::GetHeadMapRequest& request) {
    return Call(*admin_, &v1::Admin::Stub::GetHeadMap, request);
  }
  absl::StatusOr<v1::HeadMap> PlanPlacement(
      const v1::PlanPlacementRequest& request) {
    return Call(*admin_, &v1::Admin::Stub::PlanPlacement, request);
  }
  absl::StatusOr<v1::CheckCapacityResponse> CheckCapacity(
      const v1::CheckCapacityRequest& request) {
    return Call(*admin_, &v1::Admin::Stub::CheckCapacity, request);
  }

 private:
  static void SetDeadline(grpc::ClientContext* context) {
    context->set_deadline(std::chrono::system_clock::now() +
                          std::chrono::seconds(30));
  }
  static absl::Status ToStatus(const grpc::Status& status) {
    return absl::Status(static_cast<absl::StatusCode>(status.error_code()),
                        status.error_message());
  }
  static absl::Status Drain(grpc::ClientReader<v1::GenerateResponse>& reader,
                            grpc::ClientContext* context,
                            const OnEvent& on_event) {
    v1::GenerateResponse event;
    while (reader.Read(&event)) {
      if (!on_event(event)) {
        context->TryCancel();
        break;
      }
    }
    return ToStatus(reader.Finish());
  }
  template <typename Stub, typename Request, typename Response>
  static absl::StatusOr<Response> Call(
      Stub& stub,
      grpc::Status (Stub::*method)(grpc::ClientContext*, const Request&,
                                   Response*),
      const Request& request) {
    grpc::ClientContext context;
    SetDeadline(&context);
    Response response;
    const absl::Status status =
        ToStatus((stub.*method)(&context, request, &response));
    if (!status.ok()) return status;
    return response;
  }

  const std::unique_ptr<v1::Inference::Stub> inference_;
  const std::unique_ptr<v1::Admin::Stub> admin_;
};

// What a status carries for programs.
struct Details {
  google::rpc::ErrorInfo info;
  google::rpc::BadRequest bad_request;
  google::rpc::RetryInfo retry;
  google::rpc::ResourceInfo resource;
  google::rpc::QuotaFailure quota;
  bool has_retry = false;
};

inline Details DetailsOf(const grpc::Status& status) {
  Details details;
  google::rpc::Status rich;
  EXPECT_TRUE(rich.ParseFromString(status.error_details()));
  EXPECT_EQ(rich.code(), static_cast<int>(status.error_code()));
  EXPECT_EQ(rich.message(), status.error_message());
  for (const auto& detail : rich.details()) {
    detail.UnpackTo(&details.info);
    detail.UnpackTo(&details.bad_request);
    detail.UnpackTo(&details.resource);
    detail.UnpackTo(&details.quota);
    details.has_retry |= detail.UnpackTo(&details.retry);
  }
  return details;
}

inline SliceResult Token(int32_t id, float logprob = -0.5f) {
  SliceResult outcome;
  outcome.has_token = true;
  outcome.token = id;
  outcome.logprob = logprob;
  return outcome;
}

class ServicesTest : public testing::Test {
 protected:
  void SetUp() override { Start(""); }

  void Start(const std::string& listen) {
    ServerFrontendsOptions options;
    options.model_name = "tiny";
    options.listen_address = listen;
    options.metrics_address = "";
    options.shape = FakeShape();
    auto frontends = ServerFrontends::Create(
        options, {.engine = engine_,
                  .model = fakes_.model,
                  .tokenizer = fakes_.tokenizer,
                  .chat_template = &fakes_.chat_template,
                  .cluster = cluster_});
    ASSERT_TRUE(frontends.ok()) << frontends.status();
    frontends_ = *std::move(frontends);
    client_ = std::make_unique<TestClient>(frontends_->InProcessChannel());
    stub_ = v1::Inference::NewStub(frontends_->InProcessChannel());
  }

  struct Answer {
    absl::Status status;
    std::string text;
    std::vector<v1::GenerateResponse> events;
    v1::Finished finished;
  };

  Answer Generate(const v1::GenerateRequest& request) {
    Answer answer;
    answer.status =
        client_->Generate(request, [&](const v1::GenerateResponse& event) {
          answer.events.push_back(event);
          answer.text += event.generated().text();
          if (event.has_finished()) answer.finished = event.finished();
          return true;
        });
    return answer;
  }

  static v1::GenerateRequest Prompt() {
    v1::GenerateRequest request;
    request.set_text("hi");
    return request;
  }

  FakeServed fakes_;
  FakeCluster cluster_;
  FakeEngine engine_;
  std::unique_ptr<ServerFrontends> frontends_;
  std::unique_ptr<TestClient> client_;
  std::unique_ptr<v1::Inference::Stub> stub_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SERVICES_FIXTURE_H_
