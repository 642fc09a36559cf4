// A cluster of processes with a tiny model, and requests to it whose answers
// must not depend on what becomes of the workers.

#ifndef HEADWISE_TESTS_CLUSTER_REPLAY_FIXTURE_H_
#define HEADWISE_TESTS_CLUSTER_REPLAY_FIXTURE_H_

#include <signal.h>

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "grpcpp/client_context.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "tests/cluster/served_cluster.h"

namespace headwise {

// What the client of a stream heard.
struct Heard {
  std::vector<int32_t> tokens;
  grpc::Status status;
};

class ReplayFixture : public ServedCluster {
 protected:
  // Three KV heads, so that workers have unequal shares.
  void SetUp() override {
    TinyModelOptions options;
    options.num_heads = 6;
    options.num_kv_heads = 3;
    options.model_dim = 96;
    options.max_context_len = 1 << 15;
    model_path_ = folder_.Path("tiny.gguf");
    ASSERT_TRUE(WriteFile(model_path_, WriteTinyGguf(options)).ok());
  }

  void StartCluster(int num_workers,
                    const std::vector<std::string>& flags = {}) {
    std::vector<std::string> all = {"--kv-bytes", "268435456"};
    all.insert(all.end(), flags.begin(), flags.end());
    ASSERT_NO_FATAL_FAILURE(StartServer(num_workers, {.flags = all}));
    for (int i = 0; i < num_workers; ++i) AddWorker();
    ASSERT_TRUE(WaitForWorldSize(num_workers)) << coordinator_->Log();
  }

  // Under a name of its own: nobody takes it for one that died.
  void AddWorker() {
    StartWorker("w" + std::to_string(workers_.size()),
                {"--park-dir", park_dir_});
  }
  void Kill(size_t worker) { workers_[worker]->Signal(SIGKILL); }

  static v1::GenerateRequest Ask(int max_tokens, int prompt_tokens = 20) {
    v1::GenerateRequest request;
    for (int i = 0; i < prompt_tokens; ++i) {
      request.mutable_tokens()->add_ids(1 + (i * i + 7 * i) % 250);
    }
    request.mutable_options()->set_max_tokens(max_tokens);
    request.mutable_options()->set_ignore_eos(true);
    // Draws hang on seed and position, not on who draws.
    auto& sampling = *request.mutable_options()->mutable_sampling();
    sampling.set_temperature(1.0f);
    sampling.set_repetition_penalty(1.1f);
    sampling.set_seed(11);
    return request;
  }

  // `on_event` after each message, with what was heard so far.
  Heard Generate(const v1::GenerateRequest& request,
                 const std::function<void(const v1::GenerateResponse&,
                                          const Heard&)>& on_event = nullptr) {
    Heard heard;
    const auto context = Context(absl::Minutes(2));
    const auto stream = inference_->Generate(context.get(), request);
    v1::GenerateResponse event;
    while (stream->Read(&event)) {
      for (const auto& token : event.generated().tokens()) {
        heard.tokens.push_back(token.token());
      }
      if (on_event) on_event(event, heard);
    }
    heard.status = stream->Finish();
    return heard;
  }

  // `fault` strikes once, after so many tokens.
  Heard GenerateWithFault(const v1::GenerateRequest& request,
                          size_t after_tokens,
                          const std::function<void()>& fault) {
    bool struck = false;
    return Generate(request,
                    [&](const v1::GenerateResponse&, const Heard& heard) {
                      if (struck || heard.tokens.size() < after_tokens) return;
                      struck = true;
                      fault();
                    });
  }

  void ExpectWhole(const Heard& heard, const Heard& expected) {
    EXPECT_TRUE(heard.status.ok())
        << heard.status.error_message() << coordinator_->Log();
    EXPECT_EQ(heard.tokens, expected.tokens);
  }

  // `change` runs while clients ask without a pause.
  void ExpectWholeWhile(const std::function<void()>& change) {
    const v1::GenerateRequest request = Ask(100);
    const Heard expected = Generate(request);
    std::atomic<bool> is_over = false;
    std::vector<std::vector<Heard>> heard(2);
    std::vector<std::thread> clients;
    for (std::vector<Heard>& of_client : heard) {
      clients.emplace_back([&] {
        while (!is_over) of_client.push_back(Generate(request));
      });
    }
    change();
    is_over = true;
    for (std::thread& client : clients) client.join();
    for (const std::vector<Heard>& of_client : heard) {
      EXPECT_FALSE(of_client.empty());
      for (const Heard& one : of_client) ExpectWhole(one, expected);
    }
  }

  std::string park_dir_ = folder_.Path("");
};

// So many that no answer has ended when a worker dies of a signal that was sent
// at one of its first 64 tokens.
inline constexpr int kTokens = 256;

// At each of `indices` tokens of an answer a worker is killed, and another one
// takes its place for the next answer.
class KillFixture : public ReplayFixture,
                    public testing::WithParamInterface<int> {
 protected:
  void KillAt(const std::vector<size_t>& indices) {
    const int num_workers = GetParam();
    StartCluster(num_workers);
    ASSERT_FALSE(HasFatalFailure());
    const Heard expected = Generate(Ask(kTokens));
    ASSERT_EQ(expected.tokens.size(), size_t{kTokens});
    for (const size_t index : indices) {
      SCOPED_TRACE(testing::Message() << "killed at token " << index);
      // One of those that live, and another one each time.
      const size_t victim = workers_.size() - 1 - index % num_workers;
      std::swap(workers_[victim], workers_[workers_.size() - num_workers]);
      const size_t first = workers_.size() - num_workers;
      const Heard heard =
          GenerateWithFault(Ask(kTokens), index, [&] { Kill(first); });
      ASSERT_NO_FATAL_FAILURE(ExpectWhole(heard, expected));
      AddWorker();
      ASSERT_TRUE(WaitForWorldSize(num_workers)) << coordinator_->Log();
      if (HasFailure()) return;
    }
    EXPECT_EQ(Metric("headwise_rebuilds_total"), indices.size());
  }
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_REPLAY_FIXTURE_H_
