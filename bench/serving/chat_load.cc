// headwise_chat_load: callers who ask a server for short texts, and what they
// got, second by second. bench/serving/overload.py, streams.py and
// beside_a_flood.py run it.

#include <condition_variable>
#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/cpp/client_call.h"
#include "grpcpp/grpcpp.h"
#include "headwise/v1/inference.grpc.pb.h"

namespace headwise {
namespace {

struct Flags {
  std::string server;
  std::string tenant;  // empty: none is named
  int callers = 0;     // who ask again once they are answered; or
  double rate = 0;     // that many come a second, whoever is still there
  double seconds = 10;
  int64_t requests = 0;  // that come; 0: as many as do
  double deadline = 5;
  int words = 40;    // of a prompt
  int tokens = 32;   // of an answer
  int channels = 8;  // a connection carries 1,024 streams
  uint64_t seed = 1;
};

// Of the requests that came in one second.
struct Second {
  int64_t came = 0;     // first tries
  int64_t retries = 0;  // further ones
  int64_t answered = 0;
  int64_t refused = 0;  // and did not come again within their deadline
  int64_t expired = 0;
  int64_t failed = 0;
  int64_t tokens = 0;  // that came in this second, of answers that were whole
};

class Load;

// One try of one request; deletes itself.
class ChatCall : public grpc::ClientReadReactor<v1::GenerateResponse> {
 public:
  ChatCall(Load& load, absl::Time deadline)
      : load_(load), deadline_(deadline) {}
  void Start(v1::Inference::Stub& stub, const std::string& tenant,
             const v1::GenerateRequest& request);

  void OnReadDone(bool ok) override {
    if (!ok) return;
    num_tokens_ += event_.generated().tokens_size();
    StartRead(&event_);
  }
  void OnDone(const grpc::Status& status) override;

 private:
  Load& load_;
  const absl::Time deadline_;
  grpc::ClientContext context_;
  v1::GenerateRequest request_;
  v1::GenerateResponse event_;
  int64_t num_tokens_ = 0;
};

// Starts calls on the thread that runs it; hears of their ends on gRPC's.
class Load {
 public:
  explicit Load(const Flags& flags);
  void Run();
  void Print() const;

  void OnEnd(const grpc::Status& status, int64_t num_tokens,
             absl::Time deadline);

 private:
  struct Start {
    absl::Time deadline;
    bool is_retry = false;
  };

  v1::GenerateRequest NextRequest();
  Second& SecondOf(absl::Time time) {
    const int64_t index = (time - begin_) / absl::Seconds(1);
    if (seconds_.size() <= static_cast<size_t>(index)) {
      seconds_.resize(index + 1);
    }
    return seconds_[index];
  }
  void AddStartLocked(absl::Time at, absl::Time deadline, bool is_retry) {
    starts_.emplace(at, Start{deadline, is_retry});
    changed_.notify_one();
  }

  const Flags flags_;
  std::vector<std::unique_ptr<v1::Inference::Stub>> stubs_;
  std::mt19937_64 draws_;
  absl::Time begin_;
  absl::Time end_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::multimap<absl::Time, Start> starts_;
  int64_t num_open_ = 0;
  int64_t num_come_ = 0;
  absl::Time last_end_;
  std::vector<Second> seconds_;
};

void ChatCall::Start(v1::Inference::Stub& stub, const std::string& tenant,
                     const v1::GenerateRequest& request) {
  request_ = request;
  if (!tenant.empty()) context_.AddMetadata("x-headwise-tenant", tenant);
  context_.set_deadline(std::chrono::system_clock::now() +
                        absl::ToChronoNanoseconds(deadline_ - absl::Now()));
  stub.async()->Generate(&context_, &request_, this);
  StartRead(&event_);
  StartCall();
}

void ChatCall::OnDone(const grpc::Status& status) {
  load_.OnEnd(status, num_tokens_, deadline_);
  delete this;
}

Load::Load(const Flags& flags) : flags_(flags), draws_(flags.seed) {
  for (int i = 0; i < flags.channels; ++i) {
    grpc::ChannelArguments arguments;
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    stubs_.push_back(v1::Inference::NewStub(grpc::CreateCustomChannel(
        flags.server, grpc::InsecureChannelCredentials(), arguments)));
  }
}

v1::GenerateRequest Load::NextRequest() {
  static constexpr const char* kWords[] = {"the", "river", "of",    "salt",
                                           "and", "wool",  "every", "town",
                                           "by",  "week"};
  v1::GenerateRequest request;
  std::string text;
  for (int i = 0; i < flags_.words; ++i) {
    absl::StrAppend(&text, i == 0 ? "" : " ", kWords[draws_() % 10]);
  }
  request.set_text(std::move(text));
  request.mutable_options()->set_max_tokens(flags_.tokens);
  request.mutable_options()->set_ignore_eos(true);
  return request;
}

void Load::Run() {
  begin_ = absl::Now();
  end_ = begin_ + absl::Seconds(flags_.seconds);
  std::unique_lock<std::mutex> lock(mutex_);
  for (int i = 0; i < flags_.callers; ++i) {
    AddStartLocked(begin_, absl::InfiniteFuture(), /*is_retry=*/false);
  }
  absl::Time next = flags_.rate > 0 ? begin_ : absl::InfiniteFuture();
  std::exponential_distribution<double> pause(std::max(flags_.rate, 1e-9));
  while (true) {
    const absl::Time now = absl::Now();
    while (next <= std::min(now, end_)) {
      AddStartLocked(next, absl::InfiniteFuture(), /*is_retry=*/false);
      next += absl::Seconds(pause(draws_));
    }
    if (!starts_.empty() && starts_.begin()->first <= now) {
      Start start = starts_.begin()->second;
      starts_.erase(starts_.begin());
      const bool is_last = flags_.requests > 0 && num_come_ >= flags_.requests;
      if (!start.is_retry && (now >= end_ || is_last)) continue;
      if (start.deadline == absl::InfiniteFuture()) {
        start.deadline = now + absl::Seconds(flags_.deadline);
      }
      Second& second = SecondOf(now);
      ++(start.is_retry ? second.retries : second.came);
      num_come_ += start.is_retry ? 0 : 1;
      ++num_open_;
      const v1::GenerateRequest request = NextRequest();
      auto& stub = *stubs_[draws_() % stubs_.size()];
      lock.unlock();
      (new ChatCall(*this, start.deadline))
          ->Start(stub, flags_.tenant, request);
      lock.lock();
      continue;
    }
    const bool is_over =
        now >= end_ || (flags_.requests > 0 && num_come_ >= flags_.requests);
    if (is_over && num_open_ == 0 && starts_.empty()) return;
    absl::Time wake = std::min(next, now + absl::Milliseconds(50));
    if (!starts_.empty()) wake = std::min(wake, starts_.begin()->first);
    changed_.wait_for(lock, absl::ToChronoNanoseconds(wake - now));
  }
}

// A refused request comes again when the server said, if that is before its
// deadline. A caller who got nothing waits as long before he asks anew.
void Load::OnEnd(const grpc::Status& status, int64_t num_tokens,
                 absl::Time deadline) {
  const Attempt attempt = ToAttempt(status);
  const absl::Time now = absl::Now();
  const std::lock_guard<std::mutex> lock(mutex_);
  --num_open_;
  last_end_ = now;
  Second& second = SecondOf(now);
  absl::Time again = now;
  if (status.ok()) {
    ++second.answered;
    second.tokens += num_tokens;
  } else if (status.error_code() == grpc::StatusCode::DEADLINE_EXCEEDED) {
    ++second.expired;
  } else if (attempt.retry_delay > absl::ZeroDuration()) {
    again += attempt.retry_delay * (1 + 0.5 * RandomChance());
    if (again < deadline) {
      AddStartLocked(again, deadline, /*is_retry=*/true);
      return;
    }
    ++second.refused;
  } else {
    ++second.failed;
    std::fprintf(stderr, "%s\n", status.error_message().c_str());
  }
  if (flags_.callers > 0 && again < end_) {
    AddStartLocked(again, absl::InfiniteFuture(), /*is_retry=*/false);
  }
  changed_.notify_one();
}

void Load::Print() const {
  for (size_t i = 0; i < seconds_.size(); ++i) {
    const Second& second = seconds_[i];
    std::printf(
        "{\"second\": %zu, \"came\": %ld, \"retries\": %ld, \"answered\": %ld, "
        "\"refused\": %ld, \"expired\": %ld, \"failed\": %ld, \"tokens\": "
        "%ld}\n",
        i, second.came, second.retries, second.answered, second.refused,
        second.expired, second.failed, second.tokens);
  }
  std::printf("{\"elapsed_seconds\": %.6f}\n",
              absl::ToDoubleSeconds(last_end_ - begin_));
}

int Main(int argc, char** argv) {
  CLI::App app(
      "Callers who ask a server for short texts; a line of JSON for "
      "each second.");
  Flags flags;
  app.add_option("--server", flags.server, "host:port")->required();
  app.add_option("--tenant", flags.tenant, "that all of them are of");
  app.add_option("--callers", flags.callers,
                 "who ask again once they are answered")
      ->check(CLI::Range(0, 4096));
  app.add_option("--rate", flags.rate,
                 "requests that come in a second, at random moments");
  app.add_option("--seconds", flags.seconds, "while requests come");
  app.add_option("--requests", flags.requests, "that come at most; 0: any");
  app.add_option("--deadline", flags.deadline, "of a request, in seconds");
  app.add_option("--words", flags.words, "of a prompt");
  app.add_option("--tokens", flags.tokens, "of an answer");
  app.add_option("--seed", flags.seed, "of prompts and moments");
  CLI11_PARSE(app, argc, argv);
  if ((flags.callers > 0) == (flags.rate > 0)) {
    std::fprintf(stderr, "one of --callers and --rate must be above 0\n");
    return 2;
  }
  Load load(flags);
  load.Run();
  load.Print();
  return 0;
}

}  // namespace
}  // namespace headwise

int main(int argc, char** argv) { return headwise::Main(argc, argv); }
