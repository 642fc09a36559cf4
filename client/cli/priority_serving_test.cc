// Priorities as a caller meets them: a server with a tiny model on a socket.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/program_log.h"
#include "client/cli/command_test_folder.h"
#include "client/cli/local_server.h"
#include "client/cpp/client.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr int kNewTokens = 100;

// With memory for one long answer.
class PriorityServingTest : public CommandTestFolder {
 protected:
  PriorityServingTest() {
    LogToStderr({.level = "warn"});
    EXPECT_TRUE(WriteFile(Path("m.gguf"), WriteTinyGguf({})).ok());
    LocalServerOptions options;
    options.cluster.model = Path("m.gguf");
    options.cluster.threads = 1;
    options.cluster.context_len = 128;
    options.listen_address = "127.0.0.1:0";
    auto server = LocalServer::Create(options);
    EXPECT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = Client::Connect(
        absl::StrCat("127.0.0.1:", server_->frontends().port()), {});
  }

  // Its tokens; calls `on_first` once the first has come.
  std::vector<int32_t> TokensOf(v1::Priority priority, const std::string& text,
                                const std::function<void()>& on_first = {}) {
    v1::GenerateRequest request;
    request.set_text(text);
    request.set_priority(priority);
    request.mutable_options()->set_max_tokens(kNewTokens);
    request.mutable_options()->set_ignore_eos(true);
    std::vector<int32_t> tokens;
    const absl::Status status =
        client_->Generate(request, [&](const v1::GenerateResponse& event) {
          const bool is_first = tokens.empty();
          for (const auto& token : event.generated().tokens()) {
            tokens.push_back(token.token());
          }
          if (is_first && !tokens.empty() && on_first) on_first();
          return true;
        });
    EXPECT_TRUE(status.ok()) << status;
    return tokens;
  }

  std::unique_ptr<LocalServer> server_;
  std::unique_ptr<Client> client_;
};

// Whether the second request finds the first at work is chance; tried until it
// does.
TEST_F(PriorityServingTest, ABatchAnswerGivesWayAndIsTheSame) {
  const std::vector<int32_t> alone =
      TokensOf(v1::PRIORITY_INTERACTIVE, "a cat sat");
  const std::vector<int32_t> other =
      TokensOf(v1::PRIORITY_UNSPECIFIED, "the dog");
  ASSERT_EQ(alone.size(), static_cast<size_t>(kNewTokens));
  for (int i = 0; i < 50; ++i) {
    std::thread second;
    EXPECT_EQ(TokensOf(v1::PRIORITY_BATCH, "a cat sat",
                       [&] {
                         second = std::thread([&] {
                           EXPECT_EQ(
                               TokensOf(v1::PRIORITY_INTERACTIVE, "the dog"),
                               other);
                         });
                       }),
              alone);
    second.join();
    if (server_->engine().stats().preemptions_total > 0) return;
  }
  FAIL() << "never preempted";
}

TEST_F(PriorityServingTest, AnotherPriorityIsRefusedByFieldValueAndLimit) {
  v1::ScoreRequest request;
  request.set_text("a cat");
  request.set_priority(static_cast<v1::Priority>(9));
  const absl::Status status = client_->Score(request).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("priority: is 9; must be from 0 to 2"));
}

}  // namespace
}  // namespace headwise
