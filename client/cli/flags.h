// The flags that several commands share.

#ifndef HEADWISE_CLIENT_CLI_FLAGS_H_
#define HEADWISE_CLIENT_CLI_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "base/tls_files.h"
#include "headwise/v1/inference.pb.h"

namespace headwise {

// Where the answers come from: a server, or a cluster inside this process.
struct ClusterFlags {
  std::string server;  // host:port,...; excludes all that follows but timeout
  std::string model;   // path of a model file or folder
  int local_workers = 1;
  std::vector<std::string> workers;  // host:port of running headwise-workers
  std::vector<double> speeds;        // of the local workers, relative
  int threads = 0;              // of each local worker; 0: all CPUs, shared
  int64_t prefill_chunk = 512;  // tokens of one sequence in one step
  int64_t max_step_tokens = 0;  // of all requests; 0: one chunk
  int64_t context_len = 0;      // tokens of KV of all requests; 0: by memory
  std::string isa = "best";
  std::string kv_type = "fp16";
  std::string group = "auto";
  int ranks_per_context = 1;
  std::string reduction = "exact";
  TlsFiles tls;  // of calls to the server, or to the workers elsewhere
  double timeout_seconds = 3600;
  std::string plan;    // a head plan: a file, or its name at the server
  std::string tenant;  // whose sessions; "": nobody's
};

struct GenerationFlags {
  int32_t max_tokens = 0;
  float temperature = 0;
  int32_t top_k = 0;
  float top_p = 1;
  float min_p = 0;
  float repetition_penalty = 1;
  uint64_t seed = 0;
  std::vector<std::string> stop;
  bool logprobs = false;
  int32_t top_logprobs = 0;
  bool ignore_eos = false;
};

// What --priority may be, by default the first.
inline constexpr char kInteractive[] = "interactive";
inline constexpr char kBatch[] = "batch";

// A text on the command line or in a file.
struct TextFlags {
  std::string text;
  std::string file;  // "-": standard input
};

// --model alone, for commands that need no cluster.
void AddModelFlag(CLI::App& command, ClusterFlags& flags);
// Flags of the cluster inside this process.
void AddClusterFlags(CLI::App& command, ClusterFlags& flags);
// AddClusterFlags, --server and --timeout; one of --server and --model is
// required.
void AddSessionFlags(CLI::App& command, ClusterFlags& flags);
// --server, required, and --timeout, for commands that ask a running server.
void AddServerFlags(CLI::App& command, ClusterFlags& flags);
// --plan, of commands whose requests run under one.
void AddPlanFlag(CLI::App& command, ClusterFlags& flags);
// --priority, of commands that ask for an answer.
void AddPriorityFlag(CLI::App& command, std::string& priority);
// Of what the flag may be.
v1::Priority PriorityOf(absl::string_view priority);
// Text that the wire can carry.
CLI::Validator Utf8();
void AddGenerationFlags(CLI::App& command, GenerationFlags& flags);
// --json and --verbose, one of them, of commands that print an answer.
void AddAnswerFlags(CLI::App& command, bool& json, bool& verbose);
// --NAME and --NAME-file; one of them is required if `required`.
void AddTextFlags(CLI::App& command, const std::string& name, bool required,
                  TextFlags& flags);

void WriteGenerationOptions(const GenerationFlags& flags,
                            v1::GenerationOptions* options);

// The text as given, or the file's bytes. NotFound names the path.
absl::StatusOr<std::string> ReadText(const TextFlags& flags);
// InvalidArgument names the first byte that is not UTF-8, which the wire can't
// carry. `what` names the text.
absl::Status CheckUtf8(absl::string_view what, absl::string_view text);
// As ReadText, with CheckUtf8.
absl::StatusOr<std::string> ReadUtf8Text(const TextFlags& flags);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_FLAGS_H_
