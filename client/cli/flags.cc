#include "client/cli/flags.h"

#include <fstream>
#include <iostream>
#include <iterator>

#include "CLI/Validators.hpp"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "client/cli/local_server.h"
#include "model/tokenizer/utf8.h"

namespace headwise {
namespace {

CLI::Option* AddServerFlag(CLI::App& command, ClusterFlags& flags) {
  return command.add_option("--server", flags.server,
                            "host:port of a running headwise server, or "
                            "host:port,... of several, one of which leads");
}

void AddTimeoutFlag(CLI::App& command, ClusterFlags& flags) {
  command
      .add_option("--timeout", flags.timeout_seconds, "Seconds for one request")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
}

// How numbers are computed, kept and summed.
void AddNumberFlags(CLI::App& command, const std::string& group,
                    ClusterFlags& flags) {
  command.add_option("--isa", flags.isa, "Instruction set; the bits are equal")
      ->check(CLI::IsMember({"avx2", "avx512", "amx", "best"}))
      ->capture_default_str()
      ->group(group);
  command.add_option("--kv-type", flags.kv_type, "Type of the KV cache")
      ->check(CLI::IsMember({"fp32", "fp16", "bf16", "int8"}))
      ->capture_default_str()
      ->group(group);
  command.add_option("--group", flags.group, "How the workers exchange sums")
      ->check(CLI::IsMember({"in-process", "shm", "gloo", "nccl", "auto"}))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--ranks-per-context", flags.ranks_per_context,
                  "Workers that the context of every full head is cut over, so "
                  "that each holds a part; 1: none is cut; the bits are equal")
      ->check(CLI::Range(1, 64))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--reduction", flags.reduction,
                  "exact: the same bits on any cluster; fast: fp32 sums")
      ->check(CLI::IsMember({"exact", "fast"}))
      ->capture_default_str()
      ->group(group);
}

}  // namespace

void AddServerFlags(CLI::App& command, ClusterFlags& flags) {
  AddServerFlag(command, flags)->required();
  AddTlsFlags(command, flags.tls);
  AddTimeoutFlag(command, flags);
}

void AddModelFlag(CLI::App& command, ClusterFlags& flags) {
  command
      .add_option("-m,--model", flags.model,
                  "A .gguf or .safetensors file, or a folder with one")
      ->check(CLI::ExistingPath);
}

void AddClusterFlags(CLI::App& command, ClusterFlags& flags) {
  AddModelFlag(command, flags);
  const std::string group = "Cluster in this process";
  auto* local = command
                    .add_option("--local-workers", flags.local_workers,
                                "Workers that share the heads")
                    ->check(CLI::Range(1, 64))
                    ->capture_default_str()
                    ->group(group);
  auto* workers =
      command
          .add_option("--workers", flags.workers,
                      "Running headwise-workers, host:port,...")
          ->delimiter(',')
          ->check(CLI::Validator(
              [](const std::string& address) {
                return std::string(CheckWorkerAddress(address).message());
              },
              "host:port"))
          ->group(group);
  workers->excludes(local);
  command
      .add_option("--speed", flags.speeds,
                  "Relative speed of each local worker, e.g. 1,0.5: a slower "
                  "one gets fewer heads")
      ->delimiter(',')
      ->check(CLI::PositiveNumber)
      ->group(group);
  command
      .add_option("-t,--threads", flags.threads,
                  "Threads of each worker; 0: all CPUs, shared out")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--prefill-chunk", flags.prefill_chunk,
                  "Prompt tokens of one request in one step")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str()
      ->group(group);
  command
      .add_option(
          "--context", flags.context_len,
          "Tokens of KV cache for all requests, under --plan if there is one; "
          "0: a quarter of the free memory")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(group);
  AddNumberFlags(command, group, flags);
  AddTlsFlags(command, flags.tls);
}

void AddSessionFlags(CLI::App& command, ClusterFlags& flags) {
  AddClusterFlags(command, flags);
  CLI::Option* server = AddServerFlag(command, flags);
  CLI::Option* model = command.get_option("--model");
  // Flags of a cluster would silently do nothing for a server's.
  for (const char* name :
       {"--local-workers", "--workers", "--speed", "--threads",
        "--prefill-chunk", "--context", "--isa", "--kv-type", "--group",
        "--ranks-per-context", "--reduction"}) {
    command.get_option(name)->excludes(server);
  }
  server->excludes(model);
  AddTimeoutFlag(command, flags);
  command.parse_complete_callback([server, model] {
    if (server->count() + model->count() == 0) {
      throw CLI::RequiredError("--model or --server");
    }
  });
}

void AddPlanFlag(CLI::App& command, ClusterFlags& flags) {
  command.add_option(
      "--plan", flags.plan,
      "A head plan: a file, which is put to the server first, the hash of a "
      "plan that the server has, or \"full\"; default: the server's");
}

void AddPriorityFlag(CLI::App& command, std::string& priority) {
  command
      .add_option("--priority", priority,
                  "interactive; or batch: it has what interactive requests "
                  "leave, and its answer is the same")
      ->check(CLI::IsMember({kInteractive, kBatch}));
}

v1::Priority PriorityOf(absl::string_view priority) {
  return priority == kBatch ? v1::PRIORITY_BATCH : v1::PRIORITY_INTERACTIVE;
}

CLI::Validator Utf8() {
  return CLI::Validator(
      [](const std::string& text) {
        return std::string(CheckUtf8("the text", text).message());
      },
      "");
}

void AddGenerationFlags(CLI::App& command, GenerationFlags& flags) {
  const std::string group = "Generation";
  command
      .add_option("-n,--max-tokens", flags.max_tokens,
                  "New tokens; 0: up to the context limit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--temperature", flags.temperature,
                  "0: always the most probable token")
      ->capture_default_str()
      ->group(group);
  command.add_option("--top-k", flags.top_k, "Keep the k best; 0: all")
      ->capture_default_str()
      ->group(group);
  command.add_option("--top-p", flags.top_p, "Keep the best that sum to p")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--min-p", flags.min_p,
                  "Keep those with p times the best's probability")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--repetition-penalty", flags.repetition_penalty, "1: none")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--seed", flags.seed,
                  "The same seed gives the same text on any cluster")
      ->capture_default_str()
      ->group(group);
  command
      .add_option("--stop", flags.stop,
                  "Text that ends the answer; may be repeated")
      ->allow_extra_args(false)
      ->check(Utf8())
      ->group(group);
  command
      .add_flag("--logprobs", flags.logprobs,
                "Log-probability of each token (with --json)")
      ->group(group);
  command
      .add_option("--top-logprobs", flags.top_logprobs,
                  "Alternatives for each token (with --json)")
      ->check(CLI::Range(0, 20))
      ->group(group);
  command
      .add_flag("--ignore-eos", flags.ignore_eos,
                "Go on after an end-of-generation token")
      ->group(group);
}

void AddAnswerFlags(CLI::App& command, bool& json, bool& verbose) {
  CLI::Option* option = command.add_flag(
      "--json", json, "One JSON object a line: prefill, text, finished");
  command.add_flag("-v,--verbose", verbose, "Times and tokens/s to stderr")
      ->excludes(option);
}

void AddTextFlags(CLI::App& command, const std::string& name, bool required,
                  TextFlags& flags) {
  CLI::Option_group* group = command.add_option_group(name);
  CLI::Option* text =
      group->add_option("--" + name, flags.text, "The " + name + " itself");
  CLI::Option* file =
      group
          ->add_option("--" + name + "-file", flags.file,
                       "A file with the " + name + "; -: standard input")
          ->check(CLI::ExistingFile | CLI::IsMember({"-"}));
  text->excludes(file);
  if (required) group->require_option(1);
}

void WriteGenerationOptions(const GenerationFlags& flags,
                            v1::GenerationOptions* options) {
  options->set_max_tokens(flags.max_tokens);
  options->set_logprobs(flags.logprobs);
  options->set_top_logprobs(flags.top_logprobs);
  options->set_ignore_eos(flags.ignore_eos);
  for (const std::string& stop : flags.stop) options->add_stop(stop);
  v1::SamplingOptions& sampling = *options->mutable_sampling();
  sampling.set_temperature(flags.temperature);
  sampling.set_top_k(flags.top_k);
  sampling.set_top_p(flags.top_p);
  sampling.set_min_p(flags.min_p);
  sampling.set_repetition_penalty(flags.repetition_penalty);
  sampling.set_seed(flags.seed);
}

absl::StatusOr<std::string> ReadText(const TextFlags& flags) {
  if (flags.file.empty()) return flags.text;
  if (flags.file == "-") {
    return std::string(std::istreambuf_iterator<char>(std::cin), {});
  }
  std::ifstream file(flags.file, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(absl::StrCat("cannot read ", flags.file));
  }
  return std::string(std::istreambuf_iterator<char>(file), {});
}

absl::Status CheckUtf8(absl::string_view what, absl::string_view text) {
  for (size_t at = 0; at < text.size();) {
    const Utf8Char next = DecodeUtf8(text.substr(at));
    if (next.state != Utf8State::kValid) {
      return absl::InvalidArgumentError(absl::StrCat(
          what, ": byte ", at, " (",
          absl::Hex(static_cast<unsigned char>(text[at]), absl::kZeroPad2),
          " hexadecimal) is not UTF-8"));
    }
    at += static_cast<size_t>(next.size);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadUtf8Text(const TextFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(std::string text, ReadText(flags));
  HEADWISE_RETURN_IF_ERROR(
      CheckUtf8(flags.file.empty() ? "the text" : flags.file, text));
  return text;
}

}  // namespace headwise
