#include <cstdio>
#include <memory>
#include <vector>

#include "base/status_macros.h"
#include "client/cli/bench_commands.h"
#include "client/cli/bench_runner.h"
#include "client/cli/commands.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

struct BenchFlags {
  ClusterFlags cluster;
  std::vector<int64_t> prefill = {512};
  int64_t decode = 64;
  std::vector<int64_t> depths = {0};
  int repeat = 3;
  bool through_grpc = false;
  bool json = false;
};

// A pair of measures: at which length, tokens/s.
struct BenchResult {
  std::vector<std::pair<int64_t, double>> prefill;
  std::vector<std::pair<int64_t, double>> decode;
};

absl::StatusOr<BenchResult> Measure(const BenchFlags& flags, int64_t vocab_size,
                                    TimedGeneration time) {
  BenchResult result;
  for (const int64_t length : flags.prefill) {
    if (length == 0) continue;
    HEADWISE_ASSIGN_OR_RETURN(
        const double rate, PrefillRate(length, flags.repeat, vocab_size, time));
    result.prefill.emplace_back(length, rate);
  }
  for (const int64_t depth : flags.depths) {
    if (flags.decode == 0) break;
    HEADWISE_ASSIGN_OR_RETURN(
        const double rate,
        DecodeRate(depth, flags.decode, flags.repeat, vocab_size, time));
    result.decode.emplace_back(depth, rate);
  }
  return result;
}

void PrintResult(const BenchFlags& flags, const BenchResult& result) {
  if (!flags.json) {
    for (const auto& [length, rate] : result.prefill) {
      std::printf("prefill of %-7lld %10.1f tokens/s\n",
                  static_cast<long long>(length), rate);
    }
    for (const auto& [depth, rate] : result.decode) {
      std::printf("decode at %-8lld %10.1f tokens/s\n",
                  static_cast<long long>(depth), rate);
    }
    return;
  }
  nlohmann::ordered_json json = {{"repeat", flags.repeat},
                                 {"decode_tokens", flags.decode},
                                 {"prefill", nlohmann::ordered_json::array()},
                                 {"decode", nlohmann::ordered_json::array()}};
  for (const auto& [length, rate] : result.prefill) {
    json["prefill"].push_back({{"tokens", length}, {"tokens_per_s", rate}});
  }
  for (const auto& [depth, rate] : result.decode) {
    json["decode"].push_back({{"depth", depth}, {"tokens_per_s", rate}});
  }
  PrintJsonLine(json);
}

absl::Status RunBench(const BenchFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster));
  HEADWISE_ASSIGN_OR_RETURN(const v1::Model model,
                            session->client().GetModel({}));
  const bool through_client = flags.through_grpc || session->local() == nullptr;
  const auto time = [&](const std::vector<int32_t>& prompt,
                        int64_t num_tokens) {
    return through_client
               ? TimeClient(session->client(), prompt, num_tokens)
               : TimeEngine(session->local()->engine(), prompt, num_tokens);
  };
  HEADWISE_ASSIGN_OR_RETURN(const BenchResult result,
                            Measure(flags, model.vocab_size(), time));
  PrintResult(flags, result);
  return absl::OkStatus();
}

}  // namespace

void AddBenchCommand(CLI::App& app, CommandRun* run) {
  CLI::App* command = app.add_subcommand(
      "bench", "Tokens per second of prefill and decode, medians");
  auto flags = std::make_shared<BenchFlags>();
  AddSessionFlags(*command, flags->cluster);
  command->add_option("--prefill", flags->prefill, "Prompt lengths; 0: none")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--decode", flags->decode, "New tokens; 0: none")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--depth", flags->depths,
                   "Tokens before the decoded ones, e.g. 0,4096")
      ->delimiter(',')
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--repeat", flags->repeat,
                   "Runs, after one that is not counted")
      ->check(CLI::Range(1, 1000))
      ->capture_default_str();
  command->add_flag("--grpc", flags->through_grpc,
                    "Time at the client's end, also without --server");
  command->add_flag("--json", flags->json, "One JSON object");
  command->footer(
      "Example:\n  headwise bench -m M --threads 2 --prefill 512,4096 "
      "--decode 64 --depth 0,4096 --repeat 3 --json");
  AddBenchMemoryCommand(*command, run);
  AddBenchNeedleCommand(*command, run);
  // Parsed after the command below it, if that was given.
  const CLI::Option* model = command->get_option("--model");
  const CLI::Option* server = command->get_option("--server");
  command->parse_complete_callback([command, model, server] {
    if (!command->get_subcommands().empty()) return;
    if (model->count() + server->count() == 0) {
      throw CLI::RequiredError("--model or --server");
    }
  });
  command->final_callback([command, run, flags] {
    if (!command->get_subcommands().empty()) return;
    *run = [flags] { return RunBench(*flags); };
  });
}

}  // namespace headwise
