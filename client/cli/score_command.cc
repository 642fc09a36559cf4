#include <atomic>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/blocking_counter.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/company.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

struct ScoreFlags {
  ClusterFlags cluster;
  TextFlags text;
  int64_t max_tokens = 0;
  std::string priority;
  int batch_with = 0;
  bool logprobs = false;
  bool json = false;
};

// The tokens that are to be scored.
absl::StatusOr<std::vector<int32_t>> TokensOf(Client& client,
                                              const v1::ScoreRequest& request) {
  v1::TokenizeRequest tokenize;
  tokenize.set_text(request.text());
  HEADWISE_ASSIGN_OR_RETURN(const v1::TokenizeResponse tokens,
                            client.Tokenize(tokenize));
  std::vector<int32_t> ids(tokens.ids().begin(), tokens.ids().end());
  if (request.max_tokens() > 0 &&
      request.max_tokens() < static_cast<int64_t>(ids.size())) {
    ids.resize(static_cast<size_t>(request.max_tokens()));
  }
  return ids;
}

// Scores `request` while `num_others` other texts of the same length are scored
// again and again, each at least once before, so that the wanted rows come into
// steps that are full of others'.
absl::StatusOr<v1::ScoreResponse> ScoreInCompany(
    Client& client, const v1::ScoreRequest& request, int num_others) {
  if (num_others == 0) return client.Score(request);
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids,
                            TokensOf(client, request));
  std::vector<absl::Status> statuses(static_cast<size_t>(num_others));
  std::atomic<bool> done = false;
  absl::BlockingCounter all_came(num_others);
  std::vector<std::thread> others;
  for (int i = 0; i < num_others; ++i) {
    others.emplace_back([&, i] {
      v1::ScoreRequest other;
      other.set_plan(request.plan());
      const std::vector<int32_t> other_ids = OtherText(ids, i, num_others);
      other.mutable_tokens()->mutable_ids()->Assign(other_ids.begin(),
                                                    other_ids.end());
      absl::Status& status = statuses[static_cast<size_t>(i)];
      status = client.Score(other).status();
      all_came.DecrementCount();
      while (status.ok() && !done) status = client.Score(other).status();
    });
  }
  all_came.Wait();
  absl::StatusOr<v1::ScoreResponse> result = client.Score(request);
  done = true;
  for (std::thread& other : others) other.join();
  // A score without its company would prove nothing.
  for (const absl::Status& status : statuses) HEADWISE_RETURN_IF_ERROR(status);
  return result;
}

absl::Status RunScore(const ScoreFlags& flags) {
  v1::ScoreRequest request;
  HEADWISE_ASSIGN_OR_RETURN(*request.mutable_text(), ReadUtf8Text(flags.text));
  request.set_max_tokens(flags.max_tokens);
  // A step must have room for a chunk of everybody, or they would take turns.
  ClusterFlags cluster = flags.cluster;
  cluster.max_step_tokens = cluster.prefill_chunk * (1 + flags.batch_with);
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(cluster));
  request.set_plan(session->plan());
  request.set_priority(PriorityOf(flags.priority));
  HEADWISE_ASSIGN_OR_RETURN(
      const v1::ScoreResponse score,
      ScoreInCompany(session->client(), request, flags.batch_with));
  if (flags.json) {
    PrintJsonLine(ScoreToJson(score, flags.logprobs));
    return absl::OkStatus();
  }
  std::printf("tokens         %lld\nnll            %.6f\n",
              static_cast<long long>(score.num_tokens()), score.nll());
  std::printf("perplexity     %.6f\nlogits_sha256  %s\n", score.perplexity(),
              score.logits_sha256().c_str());
  return absl::OkStatus();
}

}  // namespace

void AddScoreCommand(CLI::App& app, CommandRun* run) {
  CLI::App* command = app.add_subcommand(
      "score", "Log-probability of a text, and the hash of its logits");
  auto flags = std::make_shared<ScoreFlags>();
  AddTextFlags(*command, "text", /*required=*/true, flags->text);
  AddSessionFlags(*command, flags->cluster);
  AddPlanFlag(*command, flags->cluster);
  AddPriorityFlag(*command, flags->priority);
  command
      ->add_option("--max-tokens", flags->max_tokens,
                   "Score only the first tokens, 2 or more; 0: all")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--batch-with", flags->batch_with,
                   "Score this many other texts in the same steps; the result "
                   "is the text's own and must not change")
      ->check(CLI::Range(0, 63))
      ->capture_default_str();
  command->add_flag("--logprobs", flags->logprobs,
                    "Log-probability of each token (with --json)");
  command->add_flag("--json", flags->json,
                    "tokens, nll, perplexity, logits_sha256");
  command->footer(
      "Examples; the hash is the same whatever computes it:\n"
      "  headwise score -m M --text-file T --json\n"
      "  headwise score -m M --text-file T --json --local-workers 3 --threads "
      "1\n"
      "  headwise score -m M --text-file T --json --prefill-chunk 17 "
      "--batch-with 5\n"
      "  headwise score -m M --text-file T --json --isa avx2 --group gloo "
      "--local-workers 2");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunScore(*flags); }; });
}

}  // namespace headwise
