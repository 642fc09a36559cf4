#include <cstdio>
#include <memory>

#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cpp/client.h"
#include "model/model.h"
#include "model/tokenizer/tokenizer.h"

namespace headwise {
namespace {

// A model file or a server: neither command needs a cluster.
struct TokenizerSource {
  std::string server;
  TlsFiles tls;
  std::string model;
};

void AddSourceFlags(CLI::App& command, TokenizerSource& source) {
  CLI::Option_group* group = command.add_option_group("source");
  group
      ->add_option("-m,--model", source.model,
                   "A .gguf or .safetensors file, or a folder with one")
      ->check(CLI::ExistingPath);
  group->add_option("--server", source.server,
                    "host:port of a running headwise server");
  group->require_option(1);
  AddTlsFlags(command, source.tls);
}

absl::StatusOr<std::unique_ptr<Client>> Connect(const TokenizerSource& source) {
  ClientOptions options;
  HEADWISE_ASSIGN_OR_RETURN(options.security,
                            TransportSecurity::ForClient(source.tls));
  return Client::Connect(source.server, options);
}

struct OpenTokenizer {
  std::unique_ptr<Model> model;  // outlives the tokenizer
  std::unique_ptr<Tokenizer> tokenizer;
};

absl::StatusOr<OpenTokenizer> Open(const std::string& path) {
  OpenTokenizer open;
  HEADWISE_ASSIGN_OR_RETURN(open.model, Model::Open(path));
  HEADWISE_ASSIGN_OR_RETURN(open.tokenizer,
                            Tokenizer::Create(open.model->tokenizer_data()));
  return open;
}

struct TokenizeFlags {
  TokenizerSource source;
  TextFlags text;
  bool add_special = false;
  bool plain_special = false;
  bool json = false;
};

absl::StatusOr<std::vector<int32_t>> Tokenize(const TokenizeFlags& flags) {
  if (!flags.source.server.empty()) {
    v1::TokenizeRequest request;
    HEADWISE_ASSIGN_OR_RETURN(*request.mutable_text(),
                              ReadUtf8Text(flags.text));
    request.set_add_special(flags.add_special);
    request.set_no_parse_special(flags.plain_special);
    HEADWISE_ASSIGN_OR_RETURN(const auto client, Connect(flags.source));
    HEADWISE_ASSIGN_OR_RETURN(const v1::TokenizeResponse response,
                              client->Tokenize(request));
    return std::vector<int32_t>(response.ids().begin(), response.ids().end());
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::string text, ReadText(flags.text));
  HEADWISE_ASSIGN_OR_RETURN(const OpenTokenizer open, Open(flags.source.model));
  return open.tokenizer->Encode(text, {.add_special = flags.add_special,
                                       .parse_special = !flags.plain_special});
}

absl::Status RunTokenize(const TokenizeFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<int32_t> ids, Tokenize(flags));
  if (flags.json) {
    PrintJsonLine({{"ids", ids}});
    return absl::OkStatus();
  }
  for (const int32_t id : ids) std::printf("%d\n", id);
  return absl::OkStatus();
}

struct DetokenizeFlags {
  TokenizerSource source;
  std::vector<int32_t> ids;
  bool skip_special = false;
  bool json = false;
};

absl::StatusOr<std::string> Detokenize(const DetokenizeFlags& flags) {
  if (!flags.source.server.empty()) {
    v1::DetokenizeRequest request;
    request.mutable_ids()->Assign(flags.ids.begin(), flags.ids.end());
    request.set_skip_special(flags.skip_special);
    HEADWISE_ASSIGN_OR_RETURN(const auto client, Connect(flags.source));
    HEADWISE_ASSIGN_OR_RETURN(const v1::DetokenizeResponse response,
                              client->Detokenize(request));
    return response.text();
  }
  HEADWISE_ASSIGN_OR_RETURN(const OpenTokenizer open, Open(flags.source.model));
  for (const int32_t id : flags.ids) {
    if (id >= 0 && id < open.tokenizer->vocab_size()) continue;
    return absl::InvalidArgumentError(
        "ids: " + std::to_string(id) + " is not in the vocabulary of " +
        std::to_string(open.tokenizer->vocab_size()) + " tokens");
  }
  return open.tokenizer->Decode(flags.ids, flags.skip_special);
}

absl::Status RunDetokenize(const DetokenizeFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const std::string text, Detokenize(flags));
  if (flags.json) {
    PrintJsonLine({{"text", text}});
  } else {
    // A NUL byte is a token too.
    std::fwrite(text.data(), 1, text.size(), stdout);
    std::fputc('\n', stdout);
  }
  return absl::OkStatus();
}

}  // namespace

void AddTokenizeCommand(CLI::App& app, CommandRun* run) {
  CLI::App* command = app.add_subcommand("tokenize", "Text to token ids");
  auto flags = std::make_shared<TokenizeFlags>();
  AddTextFlags(*command, "text", /*required=*/true, flags->text);
  AddSourceFlags(*command, flags->source);
  command->add_flag("--add-special", flags->add_special,
                    "Put bos first where the model wants it");
  command->add_flag("--plain-special", flags->plain_special,
                    "Take \"<|im_end|>\" in the text as plain text");
  command->add_flag("--json", flags->json, "{\"ids\": [...]}");
  command->footer(
      "Example:\n  headwise tokenize -m M --text \"Hello, world\" --json");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunTokenize(*flags); }; });
}

void AddDetokenizeCommand(CLI::App& app, CommandRun* run) {
  CLI::App* command = app.add_subcommand("detokenize", "Token ids to text");
  auto flags = std::make_shared<DetokenizeFlags>();
  command->add_option("ids", flags->ids, "Token ids")->required();
  AddSourceFlags(*command, flags->source);
  command->add_flag("--skip-special", flags->skip_special,
                    "Leave control tokens out");
  command->add_flag("--json", flags->json, "{\"text\": ...}");
  command->footer("Example:\n  headwise detokenize -m M 19556 28 905");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunDetokenize(*flags); }; });
}

}  // namespace headwise
