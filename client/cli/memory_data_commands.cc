// `headwise memory write` and `read`: tensors in files, to and from a memory.

#include <algorithm>
#include <cstring>
#include <memory>
#include <numeric>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/cli/json_output.h"
#include "client/cli/memory_commands.h"
#include "client/cli/tensor_file.h"

namespace headwise {
namespace {

constexpr int64_t kMaxTokens = 8192;            // of a call
constexpr int64_t kMaxTensorBytes = 3'000'000;  // of each tensor of a call

struct DataFlags {
  MemoryFlags memory;
  std::string keys, values, queries;  // files
  std::string theta, eta, alpha;
  std::string output, surprise;
};

int64_t ItemBytes(v1::FloatType type) {
  return type == v1::FLOAT_TYPE_FP32 ? 4 : 2;
}

// Of one token.
struct Widths {
  int64_t num_heads = 0;
  int64_t head_dim = 0;
  int64_t row_bytes = 0;  // of keys, values and queries
};

Widths WidthsOf(const v1::Memory& memory) {
  const v1::MemorySpec& spec = memory.config().spec();
  return {spec.num_heads(), spec.head_dim(),
          spec.num_heads() * spec.head_dim() *
              ItemBytes(memory.config().input_type())};
}

// A file's [tokens, heads, head_dim] in the memory's input type.
absl::StatusOr<std::string> ReadRows(const std::string& path,
                                     const v1::Memory& memory) {
  HEADWISE_ASSIGN_OR_RETURN(FileTensor tensor, ReadTensorFile(path));
  const Widths widths = WidthsOf(memory);
  const bool has_shape = !tensor.shape.empty();
  const std::string dtype =
      memory.config().input_type() == v1::FLOAT_TYPE_FP32   ? "f4"
      : memory.config().input_type() == v1::FLOAT_TYPE_FP16 ? "f2"
                                                            : "plain bytes";
  if ((has_shape &&
       (tensor.shape.size() != 3 || tensor.shape[1] != widths.num_heads ||
        tensor.shape[2] != widths.head_dim || tensor.dtype != dtype)) ||
      tensor.bytes.size() % widths.row_bytes != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", tensor.bytes.size(), " bytes of shape [",
                     absl::StrJoin(tensor.shape, ", "), "] ", tensor.dtype,
                     "; the memory takes [tokens, ", widths.num_heads, ", ",
                     widths.head_dim, "] ", dtype));
  }
  return std::move(tensor.bytes);
}

// A gate's [tokens, heads] or [tokens]; nothing if no file is named.
absl::StatusOr<std::string> ReadGates(const std::string& path,
                                      int64_t num_tokens, int64_t num_heads) {
  if (path.empty()) return std::string();
  HEADWISE_ASSIGN_OR_RETURN(FileTensor tensor, ReadTensorFile(path));
  const auto size = static_cast<int64_t>(tensor.bytes.size());
  if (tensor.dtype == "f2" ||
      (size != 4 * num_tokens && size != 4 * num_tokens * num_heads)) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, ": ", size, " bytes; must be float32 [", num_tokens,
                     "] or [", num_tokens, ", ", num_heads, "]"));
  }
  return std::move(tensor.bytes);
}

// Rows [first, first + count) of num_rows.
std::string Slice(const std::string& bytes, int64_t first, int64_t count,
                  int64_t num_rows) {
  const size_t row_bytes = bytes.size() / num_rows;
  return bytes.substr(first * row_bytes, count * row_bytes);
}

void SetHash(v1::WriteMemoryRequest& request) {
  Sha256 hash;
  for (const std::string* bytes :
       {&request.keys(), &request.values(), &request.queries(),
        &request.theta(), &request.eta(), &request.alpha()}) {
    hash.Update(
        {reinterpret_cast<const uint8_t*>(bytes->data()), bytes->size()});
  }
  const Sha256Digest digest = hash.Finish();
  request.set_sha256(digest.data(), digest.size());
}

// What the calls of a write have answered.
struct Written {
  int64_t num_tokens = 0;
  std::string outputs;
  std::vector<float> surprise;
};

absl::StatusOr<Written> WriteAll(const v1::WriteMemoryRequest& all,
                                 int64_t num_tokens, const Widths& widths,
                                 MemoryClient& client) {
  const int64_t step =
      std::clamp<int64_t>(kMaxTensorBytes / widths.row_bytes, 1, kMaxTokens);
  Written written;
  for (int64_t first = 0; first < num_tokens; first += step) {
    const int64_t count = std::min(step, num_tokens - first);
    const auto slice = [&](const std::string& bytes) {
      return Slice(bytes, first, count, num_tokens);
    };
    v1::WriteMemoryRequest request;
    request.set_memory_id(all.memory_id());
    request.set_offset(all.offset() + first);
    request.set_keys(slice(all.keys()));
    request.set_values(slice(all.values()));
    request.set_queries(slice(all.queries()));
    request.set_theta(slice(all.theta()));
    request.set_eta(slice(all.eta()));
    request.set_alpha(slice(all.alpha()));
    request.set_return_surprise(true);
    SetHash(request);
    HEADWISE_ASSIGN_OR_RETURN(const v1::WriteMemoryResponse response,
                              client.Write(request));
    written.num_tokens = response.num_tokens();
    written.outputs += response.outputs();
    written.surprise.insert(written.surprise.end(), response.surprise().begin(),
                            response.surprise().end());
  }
  return written;
}

absl::Status RunWrite(const DataFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const auto client, ConnectToMemories(flags.memory));
  HEADWISE_ASSIGN_OR_RETURN(const v1::Memory memory,
                            client->Get(flags.memory.memory_id));
  const Widths widths = WidthsOf(memory);
  v1::WriteMemoryRequest all;
  all.set_memory_id(memory.memory_id());
  all.set_offset(memory.num_tokens());
  HEADWISE_ASSIGN_OR_RETURN(*all.mutable_keys(), ReadRows(flags.keys, memory));
  HEADWISE_ASSIGN_OR_RETURN(*all.mutable_values(),
                            ReadRows(flags.values, memory));
  if (!flags.queries.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(*all.mutable_queries(),
                              ReadRows(flags.queries, memory));
  }
  const auto num_tokens =
      static_cast<int64_t>(all.keys().size()) / widths.row_bytes;
  if (num_tokens == 0 || all.values().size() != all.keys().size() ||
      (!flags.queries.empty() && all.queries().size() != all.keys().size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("keys have ", all.keys().size(), " bytes, values ",
                     all.values().size(), ", queries ", all.queries().size(),
                     "; they must be of as many tokens, at least one"));
  }
  for (const auto& [path, bytes] :
       {std::pair{&flags.theta, all.mutable_theta()},
        {&flags.eta, all.mutable_eta()},
        {&flags.alpha, all.mutable_alpha()}}) {
    HEADWISE_ASSIGN_OR_RETURN(*bytes,
                              ReadGates(*path, num_tokens, widths.num_heads));
  }
  HEADWISE_ASSIGN_OR_RETURN(const Written written,
                            WriteAll(all, num_tokens, widths, *client));
  if (!flags.output.empty()) {
    HEADWISE_RETURN_IF_ERROR(WriteTensorFile(
        flags.output, {num_tokens, widths.num_heads, widths.head_dim},
        written.outputs));
  }
  if (!flags.surprise.empty()) {
    std::string bytes(written.surprise.size() * sizeof(float), '\0');
    std::memcpy(bytes.data(), written.surprise.data(), bytes.size());
    HEADWISE_RETURN_IF_ERROR(
        WriteTensorFile(flags.surprise, {num_tokens, widths.num_heads}, bytes));
  }
  const double mean =
      std::accumulate(written.surprise.begin(), written.surprise.end(), 0.0) /
      static_cast<double>(std::max<size_t>(written.surprise.size(), 1));
  if (flags.memory.json) {
    PrintJsonLine({{"memory_id", memory.memory_id()},
                   {"written_tokens", num_tokens},
                   {"num_tokens", written.num_tokens},
                   {"mean_surprise", mean}});
  } else {
    absl::PrintF("%d tokens written, %d in all; mean surprise %g\n", num_tokens,
                 written.num_tokens, mean);
  }
  return absl::OkStatus();
}

absl::Status RunRead(const DataFlags& flags) {
  HEADWISE_ASSIGN_OR_RETURN(const auto client, ConnectToMemories(flags.memory));
  HEADWISE_ASSIGN_OR_RETURN(const v1::Memory memory,
                            client->Get(flags.memory.memory_id));
  const Widths widths = WidthsOf(memory);
  HEADWISE_ASSIGN_OR_RETURN(const std::string queries,
                            ReadRows(flags.queries, memory));
  const auto num_queries =
      static_cast<int64_t>(queries.size()) / widths.row_bytes;
  const int64_t step =
      std::clamp<int64_t>(kMaxTensorBytes / widths.row_bytes, 1, kMaxTokens);
  std::string outputs;
  int64_t num_tokens = memory.num_tokens();
  for (int64_t first = 0; first < num_queries; first += step) {
    v1::ReadMemoryRequest request;
    request.set_memory_id(memory.memory_id());
    request.set_queries(Slice(
        queries, first, std::min(step, num_queries - first), num_queries));
    HEADWISE_ASSIGN_OR_RETURN(const v1::ReadMemoryResponse response,
                              client->Read(request));
    outputs += response.outputs();
    num_tokens = response.num_tokens();
  }
  HEADWISE_RETURN_IF_ERROR(WriteTensorFile(
      flags.output, {num_queries, widths.num_heads, widths.head_dim}, outputs));
  if (flags.memory.json) {
    PrintJsonLine({{"memory_id", memory.memory_id()},
                   {"num_queries", num_queries},
                   {"num_tokens", num_tokens}});
  } else {
    absl::PrintF("%d queries read of %d tokens\n", num_queries, num_tokens);
  }
  return absl::OkStatus();
}

}  // namespace

void AddMemoryWriteCommand(CLI::App& memory, CommandRun* run) {
  CLI::App* command = memory.add_subcommand("write", "Learn keys and values");
  auto flags = std::make_shared<DataFlags>();
  AddMemoryFlags(*command, flags->memory);
  AddMemoryId(*command, flags->memory);
  command->add_option("--keys", flags->keys, "[tokens, heads, head_dim]")
      ->required();
  command->add_option("--values", flags->values, "Likewise")->required();
  command->add_option(
      "--theta", flags->theta,
      "fp32 [tokens] or [tokens, heads]; default: the memory's");
  command->add_option("--eta", flags->eta, "Likewise");
  command->add_option("--alpha", flags->alpha, "Likewise");
  CLI::Option* queries = command->add_option(
      "--queries", flags->queries, "Of each token, read once it is written");
  command->add_option("--output", flags->output, "File for what they read")
      ->needs(queries);
  command->add_option("--surprise", flags->surprise,
                      "File for [tokens, heads] gradient norms");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunWrite(*flags); }; });
  command->footer(
      "Example:\n  headwise memory write ID --server 127.0.0.1:7600 --keys "
      "k.npy --values v.npy --surprise s.npy");
}

void AddMemoryReadCommand(CLI::App& memory, CommandRun* run) {
  CLI::App* command =
      memory.add_subcommand("read", "What queries read of a memory");
  auto flags = std::make_shared<DataFlags>();
  AddMemoryFlags(*command, flags->memory);
  AddMemoryId(*command, flags->memory);
  command->add_option("--queries", flags->queries, "[queries, heads, head_dim]")
      ->required();
  command->add_option("--output", flags->output, "File for fp32 of that shape")
      ->required();
  command->final_callback(
      [run, flags] { *run = [flags] { return RunRead(*flags); }; });
  command->footer(
      "Example:\n  headwise memory read ID --server 127.0.0.1:7600 --queries "
      "q.npy --output o.npy");
}

}  // namespace headwise
