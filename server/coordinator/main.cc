// headwise-coordinator: what clients talk to; spreads a model over workers.

#include <signal.h>
#include <unistd.h>

#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/time/clock.h"
#include "base/port_file.h"
#include "base/program_log.h"
#include "base/status_macros.h"
#include "model/files/model_name.h"
#include "model/model.h"
#include "proto/head_plan_file.h"
#include "server/attention/attention_sessions.h"
#include "server/attention/grpc_attention_link.h"
#include "server/coordinator/cluster_frontends.h"
#include "server/dispatch/coordinator.h"
#include "server/dispatch/grpc_worker_link.h"
#include "server/dispatch/registry_service.h"
#include "server/dispatch/static_workers.h"
#include "server/frontends/quota_file.h"
#include "server/frontends/selection_folders.h"
#include "server/frontends/server_frontends.h"
#include "server/neural_memory/grpc_memory_link.h"
#include "server/neural_memory/neural_memories.h"
#include "spdlog/spdlog.h"

namespace headwise {
namespace {

struct Flags {
  std::string listen = "127.0.0.1:0";
  std::string metrics_listen;
  std::string model;
  std::string model_name;
  std::string plan;
  std::string workers;
  size_t min_workers = 1;
  std::string kv_type = "fp16";
  int64_t kv_bytes = 0;
  int64_t tenant_memory_bytes = 0;
  int ranks_per_context = 1;
  std::string group = "auto";
  std::string reduction = "exact";
  int64_t prefill_chunk = 512;
  int64_t max_step_tokens = 512;
  int64_t max_sequences = 64;
  double step_timeout = 3.0;
  double rebuild_wait = 30.0;
  double grow_patience = 10.0;
  double drain = 5.0;
  std::string quotas;  // a file
  SelectionFolders selection;
  std::vector<std::string> input_roots;  // NAME=FOLDER
  std::string port_file;
  ProgramLogOptions log;
};

constexpr char kDescription[] =
    R"(Serves a model whose attention heads are spread over headwise-workers.

Clients, health checks and workers that announce themselves use one gRPC port:
  headwise-coordinator --model M.gguf --listen 10.0.0.10:7600 --min-workers 2
and on each worker's machine, with that machine's own address:
  headwise-worker --listen 10.0.0.11:7001 --coordinator 10.0.0.10:7600
or, with workers that are found by their addresses:
  headwise-coordinator --model M.gguf --workers 10.0.0.11:7001,10.0.0.12:7001

Workers open the same model path on their own machines. SIGTERM and SIGINT
drain: health is NOT_SERVING at once, requests in flight may end.

Exit status: 0 after a signal, 2 for flags or a model that can't be served, 3
if the port file can't be written; 100 and above: wrong usage.
)";

void AddModelFlags(CLI::App& app, Flags& flags) {
  app.add_option("--model", flags.model,
                 "GGUF or safetensors file, or a folder of the latter")
      ->required();
  app.add_option("--model-name", flags.model_name,
                 "what requests call it; default: the file's name");
  app.add_option("--plan", flags.plan,
                 "head plan, JSON or binary, of requests that name none; "
                 "default: every head sees everything")
      ->check(CLI::ExistingFile);
  app.add_option("--kv-type", flags.kv_type, "fp32, fp16, bf16, int8")
      ->check(CLI::IsMember({"fp32", "fp16", "bf16", "int8"}))
      ->capture_default_str();
  app.add_option("--kv-bytes", flags.kv_bytes,
                 "KV of all workers together; 0: a quarter of this machine's "
                 "available memory, at most 16 GiB")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--reduction", flags.reduction,
                 "exact: the same bits on any cluster; fast: fp32 sums")
      ->check(CLI::IsMember({"exact", "fast"}))
      ->capture_default_str();
  app.add_option("--prefill-chunk", flags.prefill_chunk,
                 "rows of one prompt in one step")
      ->capture_default_str();
  app.add_option("--max-step-tokens", flags.max_step_tokens,
                 "rows of one step, over all sequences")
      ->capture_default_str();
  app.add_option("--max-sequences", flags.max_sequences,
                 "sequences that run at once")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
}

void AddClusterFlags(CLI::App& app, Flags& flags) {
  app.add_option("--listen", flags.listen,
                 "host:port of the gRPC services; port 0 takes any free one")
      ->capture_default_str();
  app.add_option("--metrics-listen", flags.metrics_listen,
                 "host:port of HTTP /metrics; default: none");
  app.add_option("--workers", flags.workers,
                 "host:port,... of running workers; more may register");
  app.add_option("--min-workers", flags.min_workers,
                 "the first group waits for so many; after a loss it is formed "
                 "on those that remain")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--group", flags.group,
                 "how workers add up: shm, gloo, or auto (shm if all are on "
                 "one host); the bits are the same")
      ->check(CLI::IsMember({"auto", "shm", "shared-memory", "gloo"}))
      ->capture_default_str();
  app.add_option("--ranks-per-context", flags.ranks_per_context,
                 "workers that the context of every full head is cut over, so "
                 "that each holds a part; 1: none is cut; the bits are the "
                 "same")
      ->check(CLI::Range(1, 64))
      ->capture_default_str();
  app.add_option("--step-timeout", flags.step_timeout,
                 "seconds without an answer of any worker, plus 10 ms per row "
                 "in flight, after which the group is given up")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
  app.add_option("--rebuild-wait", flags.rebuild_wait,
                 "seconds that requests wait for another group when theirs is "
                 "lost; then they end with UNAVAILABLE")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  app.add_option("--grow-patience", flags.grow_patience,
                 "seconds that a new worker waits for no request to run; then "
                 "those that do pause while it is taken in")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  app.add_option("--drain", flags.drain,
                 "seconds that requests may go on after SIGTERM")
      ->check(CLI::Range(0.0, 3600.0))
      ->capture_default_str();
  app.add_option("--selection-state", flags.selection.state,
                 "folder for the books of selection jobs; jobs need all three");
  app.add_option("--input-root", flags.input_roots,
                 "NAME=FOLDER that selection jobs may read; may be repeated")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
  app.add_option("--output-root", flags.selection.output,
                 "folder that selection jobs write to");
  app.add_option("--neural-memory-tenant-bytes", flags.tenant_memory_bytes,
                 "of one tenant's neural memories, at all workers; 0: what "
                 "the workers have")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--quotas", flags.quotas,
                 "JSON file: what each tenant may have; default: no limits");
  app.add_option("--port-file", flags.port_file,
                 "written once clients are served: the gRPC port, then that "
                 "of metrics (0: none), a line each");
  app.add_option("--log-level", flags.log.level, "of standard error")
      ->check(CLI::IsMember(LogLevels()))
      ->capture_default_str();
  app.add_flag("--json", flags.log.json, "log one JSON object per line");
}

// The parts of a coordinator, ended in the order that their uses ask for.
class Program {
 public:
  ~Program() {
    // First of all: without its workers no request could end.
    frontends_.Drain(drain_);
    static_workers_.reset();
    // Registrations last as long as their workers; the server waits for calls.
    if (registry_ != nullptr) registry_->Close();
    frontends_.Shutdown(kFlushTime);
    memories_.reset();   // asks the sessions, and the coordinator
    attention_.reset();  // asks the coordinator who is alive
    coordinator_.reset();
  }

  absl::Status Start(const Flags& flags);
  int port() { return frontends_.frontends().port(); }
  int metrics_port() { return frontends_.frontends().metrics_port(); }

 private:
  absl::StatusOr<CoordinatorOptions> MakeOptions(const Flags& flags);
  absl::Status StartFrontends(const Flags& flags);
  void MakeAttention();
  void MakeMemories(const Flags& flags);

  // The gRPC server that uses the registry is one of the frontends.
  std::unique_ptr<RegistryService> registry_;
  ClusterFrontends frontends_;
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<StaticWorkers> static_workers_;
  std::unique_ptr<AttentionSessions> attention_;
  std::unique_ptr<NeuralMemories> memories_;
  std::shared_ptr<const HeadPlan> plan_;  // null: none was given
  absl::Duration drain_;
};

absl::StatusOr<CoordinatorOptions> Program::MakeOptions(const Flags& flags) {
  CoordinatorOptions options;
  options.model_path = flags.model;
  HEADWISE_ASSIGN_OR_RETURN(options.kv_type, ParseKvType(flags.kv_type));
  options.kv_capacity_bytes = flags.kv_bytes;
  HEADWISE_ASSIGN_OR_RETURN(options.group, ParseGroupChoice(flags.group));
  options.fast_reduction = flags.reduction == "fast";
  options.ranks_per_context = flags.ranks_per_context;
  options.check_model_sha256 = true;
  options.min_workers = flags.min_workers;
  options.membership.version = CoordinatorVersion();
  // Workers refuse an epoch below their last one, also after we start again.
  options.membership.first_epoch = absl::ToUnixMillis(absl::Now());
  options.engine.prefill_chunk = flags.prefill_chunk;
  options.engine.max_step_tokens = flags.max_step_tokens;
  options.engine.max_running_sequences = flags.max_sequences;
  options.engine.rebuild_wait = absl::Seconds(flags.rebuild_wait);
  HEADWISE_ASSIGN_OR_RETURN(options.engine.quotas, ReadQuotaFile(flags.quotas));
  options.step_timeout = absl::Seconds(flags.step_timeout);
  options.grow_patience = absl::Seconds(flags.grow_patience);
  options.log = [](const std::string& line) { spdlog::info("{}", line); };
  options.on_sample = frontends_.on_sample();
  options.on_change = frontends_.on_change();
  return options;
}

absl::Status Program::StartFrontends(const Flags& flags) {
  ServerFrontendsOptions options;
  options.listen_address = flags.listen;
  options.metrics_address = flags.metrics_listen;
  options.model_name =
      flags.model_name.empty() ? ModelNameOf(flags.model) : flags.model_name;
  options.kv_type = flags.kv_type;
  options.shape = coordinator_->shape();
  options.default_plan = plan_;
  options.selection = flags.selection;
  options.selection.has_exact_bits = flags.reduction == "exact";
  HEADWISE_ASSIGN_OR_RETURN(options.selection.inputs,
                            ParseInputRoots(flags.input_roots));
  RegistryServiceOptions registry;
  registry.log = [](const std::string& line) { spdlog::info("{}", line); };
  registry_ =
      std::make_unique<RegistryService>(registry, coordinator_->membership());
  return frontends_.Start(
      options, coordinator_->model(), coordinator_->engine(),
      coordinator_->membership(),
      [coordinator = coordinator_.get()] { return coordinator->status(); },
      {registry_.get()}, attention_.get(), memories_.get());
}

void Program::MakeAttention() {
  AttentionSessionsOptions options;
  options.view = [this] { return coordinator_->membership().view(); };
  options.make_link = [](const MemberInfo& info) {
    return std::make_shared<GrpcAttentionLink>(MakeWorkerChannel(info.address));
  };
  attention_ = std::make_unique<AttentionSessions>(std::move(options));
}

void Program::MakeMemories(const Flags& flags) {
  NeuralMemoriesOptions options;
  options.book.view = [this] { return coordinator_->membership().view(); };
  options.book.make_link = [](const MemberInfo& info) {
    return std::make_shared<GrpcMemoryLink>(MakeWorkerChannel(info.address));
  };
  options.book.max_tenant_bytes = flags.tenant_memory_bytes;
  options.sessions = attention_->lifetimes();
  memories_ = std::make_unique<NeuralMemories>(std::move(options));
}

absl::Status Program::Start(const Flags& flags) {
  drain_ = absl::Seconds(flags.drain);
  if (!flags.plan.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(HeadPlan plan, ReadHeadPlanFile(flags.plan));
    plan_ = std::make_shared<const HeadPlan>(std::move(plan));
  }
  StaticWorkersOptions workers;
  if (!flags.workers.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(workers.addresses, ParseAddresses(flags.workers));
  }
  HEADWISE_ASSIGN_OR_RETURN(const CoordinatorOptions options,
                            MakeOptions(flags));
  HEADWISE_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                            Model::Open(flags.model));
  HEADWISE_ASSIGN_OR_RETURN(
      coordinator_, Coordinator::Create(
                        options, std::move(model), [](const MemberInfo& info) {
                          return std::make_shared<GrpcWorkerLink>(
                              MakeWorkerChannel(info.address));
                        }));
  MakeAttention();
  MakeMemories(flags);
  HEADWISE_RETURN_IF_ERROR(StartFrontends(flags));
  if (!workers.addresses.empty()) {
    workers.log = [](const std::string& line) { spdlog::warn("{}", line); };
    static_workers_ =
        std::make_unique<StaticWorkers>(workers, coordinator_->membership());
  }
  return absl::OkStatus();
}

int Run(Flags flags) {
  // Before any thread starts, so that all inherit the mask.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
  signal(SIGPIPE, SIG_IGN);
  LogToStderr(flags.log);
  Program program;
  const absl::Status started = program.Start(flags);
  if (!started.ok()) {
    spdlog::error("{}", started.ToString());
    return 2;
  }
  spdlog::info("coordinator serves on port {}, metrics on {}", program.port(),
               program.metrics_port());
  // The one line on standard output, for scripts.
  std::printf("%d\n", program.port());
  std::fflush(stdout);
  if (!flags.port_file.empty()) {
    const absl::Status written = WritePortFile(
        flags.port_file, {program.port(), program.metrics_port()});
    if (!written.ok()) {
      spdlog::error("{}", written.ToString());
      return 3;
    }
  }
  int number = 0;
  sigwait(&signals, &number);
  spdlog::info("signal {}: draining for at most {} s", number, flags.drain);
  return 0;
}

}  // namespace
}  // namespace headwise

int main(int argc, char** argv) {
  CLI::App app(headwise::kDescription, "headwise-coordinator");
  headwise::Flags flags;
  headwise::AddModelFlags(app, flags);
  headwise::AddClusterFlags(app, flags);
  CLI11_PARSE(app, argc, argv);
  return headwise::Run(flags);
}
