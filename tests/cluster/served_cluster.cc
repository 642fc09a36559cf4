#include "tests/cluster/served_cluster.h"

#include <fstream>
#include <utility>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/clock.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "model/files/test_model_writer.h"
#include "tests/support/metrics_page.h"

namespace headwise {

int64_t MemoryBytes(const ChildProcess& process, const std::string& line) {
  std::ifstream status(absl::StrCat("/proc/", process.pid(), "/status"));
  std::string text;
  while (std::getline(status, text)) {
    const std::vector<std::string> words =
        absl::StrSplit(text, absl::ByAnyChar(" \t"), absl::SkipEmpty());
    int64_t kib = 0;
    if (words.size() == 3 && words[0] == line + ":" &&
        absl::SimpleAtoi(words[1], &kib)) {
      return kib << 10;
    }
  }
  ADD_FAILURE() << "no " << line << " of process " << process.pid();
  return 0;
}

absl::Duration Since(absl::Time begin) {
  return Clock::Monotonic().Now() - begin;
}

bool HasRetryInfo(const grpc::Status& status) {
  google::rpc::Status rich;
  if (!rich.ParseFromString(status.error_details())) return false;
  for (const auto& detail : rich.details()) {
    if (detail.Is<google::rpc::RetryInfo>()) return true;
  }
  return false;
}

ServedCluster::ServedCluster() = default;

void ServedCluster::StartServer(int min_workers, Started how) {
  how.flags.insert(how.flags.end(),
                   {"--min-workers", std::to_string(min_workers),
                    "--metrics-listen", "127.0.0.1:0"});
  StartCoordinatorWith(how);
  ASSERT_FALSE(HasFatalFailure());
  inference_ = v1::Inference::NewStub(channel_);
  admin_ = v1::Admin::NewStub(channel_);
  sessions_ = v1::Sessions::NewStub(channel_);
}

void ServedCluster::StartServerAndProxiedWorker(
    int min_workers, std::vector<std::string> flags) {
  StartWorker("w0");
  const std::string address = WaitForWorkerAddress("w0");
  ASSERT_FALSE(HasFailure());
  auto proxy = FaultProxy::Start(address);
  ASSERT_TRUE(proxy.ok()) << proxy.status();
  proxy_ = *std::move(proxy);
  flags.insert(flags.end(), {"--workers", proxy_->address()});
  StartServer(min_workers, {.flags = std::move(flags)});
}

void ServedCluster::StartServing(int num_workers,
                                 const std::vector<std::string>& flags) {
  StartServer(num_workers, {.flags = flags});
  ASSERT_FALSE(HasFatalFailure());
  for (int i = 0; i < num_workers; ++i) StartWorker(absl::StrCat("w", i));
  ASSERT_TRUE(WaitForWorldSize(static_cast<size_t>(num_workers))) << Logs();
}

void ServedCluster::UseTinyModel(int64_t max_context_len) {
  TinyModelOptions options;
  options.max_context_len = max_context_len;
  model_path_ = folder_.Path("tiny.gguf");
  ASSERT_TRUE(WriteFile(model_path_, WriteTinyGguf(options)).ok());
}

bool ServedCluster::WaitForWorldSize(size_t size, absl::Duration timeout) {
  const absl::Time end = Clock::Monotonic().Now() + timeout;
  while (true) {
    v1::HeadMap map;
    const auto context = Context(absl::Seconds(5));
    if (admin_->GetHeadMap(context.get(), {}, &map).ok() &&
        map.world_size() == size) {
      return true;
    }
    if (Clock::Monotonic().Now() > end) return false;
    absl::SleepFor(absl::Milliseconds(100));  // each is a line of the log
  }
}

uint64_t ServedCluster::MembershipEpoch() {
  v1::HeadMap map;
  const auto context = Context(absl::Seconds(5));
  return admin_->GetHeadMap(context.get(), {}, &map).ok()
             ? map.membership_epoch()
             : 0;
}

v1::GenerateRequest ServedCluster::Request(int num_tokens, uint64_t seed) {
  v1::GenerateRequest request;
  request.set_text(absl::StrCat("The capital of country ", seed, " is"));
  auto& options = *request.mutable_options();
  options.set_max_tokens(num_tokens);
  options.set_ignore_eos(true);
  options.mutable_sampling()->set_temperature(1.0f);
  options.mutable_sampling()->set_seed(seed);
  return request;
}

v1::GenerateRequest ServedCluster::PromptOf(int64_t num_prompt_tokens,
                                            int num_tokens) {
  v1::GenerateRequest request;
  for (int64_t i = 0; i < num_prompt_tokens; ++i) {
    request.mutable_tokens()->add_ids(static_cast<int32_t>(i % 250));
  }
  request.mutable_options()->set_max_tokens(num_tokens);
  request.mutable_options()->set_ignore_eos(true);
  return request;
}

ServedCluster::Stream::Stream(v1::Inference::Stub& stub,
                              const v1::GenerateRequest& request,
                              absl::Duration timeout) {
  context_.set_deadline(absl::ToChronoTime(absl::Now() + timeout));
  reader_ = stub.Generate(&context_, request);
}

ServedCluster::Stream::~Stream() {
  if (has_ended_) return;
  Cancel();
  End();
}

void ServedCluster::Stream::WaitForText() {
  v1::GenerateResponse response;
  while (reader_->Read(&response) && !response.has_generated()) {
  }
}

grpc::Status ServedCluster::Stream::End() {
  v1::GenerateResponse response;
  while (reader_->Read(&response)) {
  }
  has_ended_ = true;
  return reader_->Finish();
}

std::unique_ptr<ServedCluster::Stream> ServedCluster::Begin(
    const v1::GenerateRequest& request) {
  auto stream = std::make_unique<Stream>(*inference_, request, kReady);
  stream->WaitForText();
  return stream;
}

void ServedCluster::AskUndisturbed(const v1::GenerateRequest& request) {
  const HeardAnswer answer = fault_free_.Generate(*inference_, request);
  ASSERT_TRUE(answer.is_whole()) << answer.end->error_message() << Logs();
  history_.Add(answer);
}

HeardAnswer ServedCluster::AskUntilWhole(const v1::GenerateRequest& request,
                                         const History::Asking& asking) {
  HeardAnswer answer;
  const bool is_over = WaitUntil(
      [&] {
        answer = history_.Generate(*inference_, request, asking);
        return answer.end->error_code() != grpc::StatusCode::UNAVAILABLE;
      },
      kReady);
  EXPECT_TRUE(is_over && answer.is_whole())
      << answer.end->error_message() << Logs();
  return answer;
}

HeardAnswer ServedCluster::AskWithFault(const v1::GenerateRequest& request,
                                        const std::function<void()>& fault) {
  bool struck = false;
  return AskUntilWhole(request, {.on_token = [&](size_t number, auto&) {
                         if (number < 5 || std::exchange(struck, true)) return;
                         struck_at_ = Clock::Monotonic().Now();
                         fault();
                       }});
}

v1::UploadRequest ServedCluster::PieceOf(int64_t begin, int64_t end) {
  v1::UploadRequest piece;
  piece.set_offset(begin);
  for (int64_t i = begin; i < end; ++i) {
    piece.mutable_tokens()->add_ids(static_cast<int32_t>(i * 7 % 250));
  }
  return piece;
}

grpc::Status ServedCluster::Upload(
    const std::vector<v1::UploadRequest>& pieces, v1::PromptSession* session,
    const std::function<bool(const v1::UploadProgress&)>& breaks_off) {
  const auto context = Context(kReady);
  const auto stream = sessions_->Upload(context.get());
  for (const v1::UploadRequest& piece : pieces) {
    if (!stream->Write(piece)) break;
  }
  v1::UploadProgress progress;
  if (breaks_off) {
    while (stream->Read(&progress) && !breaks_off(progress)) {
    }
    context->TryCancel();
  } else {
    stream->WritesDone();
  }
  while (stream->Read(&progress)) {
  }
  *session = progress.session();
  return stream->Finish();
}

void ServedCluster::ExpectInvariants() {
  EXPECT_TRUE(WaitForKvFreed(absl::Seconds(20)));
  const std::vector<std::string> violations =
      history_.Check(fault_free_, MetricsPage());
  EXPECT_TRUE(violations.empty()) << absl::StrJoin(violations, "\n") << Logs();
}

std::string ServedCluster::MetricsPage() {
  return MetricsPageOf(folder_.Path("coordinator.port"));
}

double ServedCluster::Metric(const std::string& name,
                             const std::string& labels) {
  return SumOfSeries(MetricsPage(), name, labels).value_or(-1.0);
}

bool ServedCluster::WaitForKvFreed(absl::Duration timeout) {
  return WaitUntil([this] { return Metric("headwise_kv_bytes") == 0.0; },
                   timeout);
}

std::string ServedCluster::Logs() const {
  std::string all = absl::StrCat("\ncoordinator:\n", coordinator_->Log());
  for (size_t i = 0; i < workers_.size(); ++i) {
    absl::StrAppend(&all, "worker ", i, " of start:\n", workers_[i]->Log());
  }
  return all;
}

}  // namespace headwise
