// Calibrations as a client meets them, with an engine that follows a script.

#include <atomic>
#include <chrono>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "headwise/v1/calibration.grpc.pb.h"
#include "server/frontends/services_fixture.h"

namespace headwise {
namespace {

using testing::HasSubstr;

// Large enough for a small echo calibration.
class EchoModel final : public StubModel {
 public:
  EchoModel() {
    sha256_ = std::string(64, 'b');
    hyper_.name = "tiny";
    hyper_.num_layers = 2;
    hyper_.num_heads = 4;
    hyper_.num_kv_heads = 2;
    hyper_.head_dim = 8;
    hyper_.model_dim = 3;
    hyper_.ffn_dim = 64;
    hyper_.vocab_size = 259;
    hyper_.max_context_len = 256;
  }
};

// Head 5 looks back by one period less one.
void AnswerEcho(const FakeEngine::Call& call) {
  const size_t rows = call.request.prompt.size();
  SliceResult result;
  result.score_logprobs.assign(rows, -1.0f);
  for (int32_t head = 0; head < 8; ++head) {
    HeadProbe probe;
    probe.layer = head / 4;
    probe.head = head % 4;
    probe.distance_probs.assign(2 * rows, 0.0f);
    if (head == 5) {
      std::fill_n(probe.distance_probs.begin(), rows, 0.75f);
    }
    result.probes.push_back(probe);
  }
  call.sink.OnRows(0, result);
  call.sink.OnFinished(absl::OkStatus(), RequestUsage());
}

class CalibrationServiceTest : public testing::Test {
 protected:
  CalibrationServiceTest() {
    auto map = std::make_shared<HeadMap>(*cluster_.head_map());
    map->max_context_len = 256;
    cluster_.Set(map, true);
    ServerFrontendsOptions options;
    options.model_name = "tiny";
    options.listen_address = "";
    options.metrics_address = "";
    options.shape = FakeShape();
    frontends_ = *ServerFrontends::Create(options, {.engine = engine_,
                                                    .model = model_,
                                                    .tokenizer = tokenizer_,
                                                    .cluster = cluster_});
    stub_ = v1::Calibration::NewStub(frontends_->InProcessChannel());
    engine_.SetScript(AnswerEcho);
  }

  static v1::CalibrateRequest Request() {
    v1::CalibrateRequest request;
    request.mutable_echo()->set_block(16);
    request.mutable_echo()->set_copies(3);
    request.mutable_echo()->set_tests(2);
    return request;
  }

  struct Answer {
    grpc::Status status;
    std::vector<v1::CalibrateResponse> events;
  };
  // Cancels after `max_events`.
  Answer Calibrate(const v1::CalibrateRequest& request,
                   size_t max_events = 1000) {
    Answer answer;
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() +
                         std::chrono::seconds(30));
    const auto reader = stub_->Calibrate(&context, request);
    v1::CalibrateResponse event;
    while (answer.events.size() < max_events && reader->Read(&event)) {
      answer.events.push_back(event);
    }
    if (answer.events.size() == max_events) context.TryCancel();
    while (reader->Read(&event)) {
    }
    answer.status = reader->Finish();
    return answer;
  }

  EchoModel model_;
  FakeTokenizer tokenizer_;
  FakeCluster cluster_;
  FakeEngine engine_;
  std::unique_ptr<ServerFrontends> frontends_;
  std::unique_ptr<v1::Calibration::Stub> stub_;
};

TEST_F(CalibrationServiceTest, StreamsTheStartEachTestAndTheResult) {
  const Answer answer = Calibrate(Request());
  ASSERT_TRUE(answer.status.ok()) << answer.status.error_message();
  ASSERT_EQ(answer.events.size(), 4u);
  EXPECT_THAT(answer.events[0].started().manifest(), HasSubstr("\"echo\""));
  EXPECT_EQ(answer.events[0].started().progress().tests_total(), 2);
  EXPECT_EQ(answer.events[1].test().test().id(), "echo/0");
  EXPECT_EQ(answer.events[1].test().test().values_size(), 16);
  EXPECT_EQ(answer.events[1].test().unit_scores_size(), 4);
  EXPECT_EQ(answer.events[2].test().progress().fraction(), 1.0);
  const v1::CalibrationResult& result = answer.events[3].result();
  EXPECT_EQ(result.scores().method(), "echo");
  EXPECT_EQ(result.scores().heads(5), 0.75);
  EXPECT_EQ(result.scores().model_sha256(), std::string(64, 'b'));
  // 15 % of 4 units is 1: the best by echo, which all units tie for.
  EXPECT_EQ(result.plan().units_size(), 4);
  EXPECT_EQ(result.plan().units(2).kind(), v1::POLICY_KIND_STREAMING);
  EXPECT_EQ(result.rows(), 2 * 49);
  EXPECT_EQ(result.rows_without_reuse(), 8 * result.rows());
  EXPECT_FALSE(result.has_check());
}

TEST_F(CalibrationServiceTest, GoesOnFromTestsThatTheClientHasKept) {
  const Answer whole = Calibrate(Request());
  ASSERT_EQ(whole.events.size(), 4u);
  v1::CalibrateRequest request = Request();
  request.mutable_finished()->set_manifest(
      whole.events[0].started().manifest());
  *request.mutable_finished()->add_tests() = whole.events[1].test().test();
  const Answer rest = Calibrate(request);
  ASSERT_TRUE(rest.status.ok()) << rest.status.error_message();
  ASSERT_EQ(rest.events.size(), 3u);
  EXPECT_EQ(rest.events[0].started().progress().tests_done(), 1);
  EXPECT_EQ(rest.events[1].test().test().id(), "echo/1");
  EXPECT_EQ(rest.events[2].SerializeAsString(),
            whole.events[3].SerializeAsString());
  request.mutable_echo()->set_block(32);
  const Answer other = Calibrate(request);
  EXPECT_EQ(other.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(other.status.error_message(), HasSubstr("its block is 16"));
}

TEST_F(CalibrationServiceTest, RefusesWhatItCannotDo) {
  EXPECT_EQ(Calibrate({}).status.error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  v1::CalibrateRequest request = Request();
  request.set_model("other");
  EXPECT_EQ(Calibrate(request).status.error_code(),
            grpc::StatusCode::NOT_FOUND);
  request = Request();
  request.mutable_echo()->set_block(4096);
  EXPECT_THAT(Calibrate(request).status.error_message(),
              HasSubstr("block: 4096 is outside [16, 85]"));
}

TEST_F(CalibrationServiceTest, AnErrorOfTheEngineEndsTheStream) {
  engine_.Refuse(absl::UnavailableError("the group is lost"));
  const Answer answer = Calibrate(Request());
  EXPECT_EQ(answer.status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_EQ(answer.events.size(), 1u);
}

// One runs until its client leaves; meanwhile another one is refused, and after
// it a third one runs.
TEST_F(CalibrationServiceTest, OneRunsAtATimeAndEndsWithItsClient) {
  std::atomic<bool> waits = true;
  engine_.SetScript([&waits](const FakeEngine::Call& call) {
    if (!waits) return AnswerEcho(call);
    call.wait_for_cancel();
    call.sink.OnFinished(absl::CancelledError("cancelled"), RequestUsage());
  });
  grpc::ClientContext context;
  const auto reader = stub_->Calibrate(&context, Request());
  v1::CalibrateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  const Answer second = Calibrate(Request());
  EXPECT_EQ(second.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(second.status.error_message(),
              HasSubstr("another calibration runs"));
  context.TryCancel();
  EXPECT_EQ(reader->Finish().error_code(), grpc::StatusCode::CANCELLED);
  waits = false;
  // The server hears of the leaving a little after the client has left.
  Answer third;
  const auto give_up =
      std::chrono::steady_clock::now() + std::chrono::seconds(10);
  do {
    third = Calibrate(Request());
  } while (third.status.error_code() == grpc::StatusCode::RESOURCE_EXHAUSTED &&
           std::chrono::steady_clock::now() < give_up);
  EXPECT_TRUE(third.status.ok()) << third.status.error_message();
}

TEST_F(CalibrationServiceTest, OneAfterTheOtherIsNeverRefused) {
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(Calibrate(Request()).status.ok()) << i;
  }
}

TEST_F(CalibrationServiceTest, ADrainingServerRefusesAndShutdownEndsOne) {
  engine_.SetScript([](const FakeEngine::Call& call) {
    call.wait_for_cancel();
    call.sink.OnFinished(absl::CancelledError("cancelled"), RequestUsage());
  });
  grpc::ClientContext context;
  const auto reader = stub_->Calibrate(&context, Request());
  v1::CalibrateResponse event;
  ASSERT_TRUE(reader->Read(&event));
  frontends_->Drain(absl::ZeroDuration());
  EXPECT_EQ(Calibrate(Request()).status.error_code(),
            grpc::StatusCode::UNAVAILABLE);
  frontends_->Shutdown(absl::ZeroDuration());
  EXPECT_FALSE(reader->Finish().ok());
}

}  // namespace
}  // namespace headwise
