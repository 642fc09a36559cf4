#include <atomic>
#include <csignal>
#include <cstdlib>
#include <ctime>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "base/port_file.h"
#include "base/program_log.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/flags.h"
#include "client/cli/local_server.h"
#include "client/cli/progress_bar.h"
#include "model/files/model_name.h"
#include "proto/head_plan_file.h"
#include "spdlog/spdlog.h"

namespace headwise {
namespace {

struct ServeFlags {
  ClusterFlags cluster;
  std::string listen = "127.0.0.1:7600";
  bool insecure = false;
  std::string metrics_listen = "127.0.0.1:7601";
  int64_t attention_bytes = 0;
  int64_t neural_memory_bytes = 0;
  int64_t neural_memory_tenant_bytes = 0;
  std::string park_dir;
  std::string quotas;
  SelectionFolders selection;
  std::vector<std::string> input_roots;  // NAME=FOLDER
  std::string port_file;
  double drain_seconds = 30;
  std::string log_level = "info";
};

// While it lives, the first of `signals`, which all threads must block, ends
// the process: nothing is served yet, so nothing needs to end well.
class LeaveAtOnce {
 public:
  explicit LeaveAtOnce(const sigset_t& signals)
      : thread_([this, signals] {
          constexpr timespec kTurn = {.tv_sec = 0, .tv_nsec = 20'000'000};
          while (!over_) {
            const int signal = sigtimedwait(&signals, nullptr, &kTurn);
            if (signal > 0) std::_Exit(128 + signal);
          }
        }) {}
  ~LeaveAtOnce() {
    over_ = true;
    thread_.join();
  }

 private:
  std::atomic<bool> over_ = false;
  std::thread thread_;
};

absl::Status RunServe(const ServeFlags& flags) {
  spdlog::set_level(spdlog::level::from_str(flags.log_level));
  // Blocked before any thread starts, so that all inherit it and sigwait alone
  // takes the signals.
  sigset_t signals;
  sigemptyset(&signals);
  sigaddset(&signals, SIGTERM);
  sigaddset(&signals, SIGINT);
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);

  std::unique_ptr<LocalServer> server;
  {
    const LeaveAtOnce leave_at_once(signals);
    ProgressBar bar("loading");
    LocalServerOptions options;
    options.cluster = flags.cluster;
    options.listen_address = flags.listen;
    HEADWISE_ASSIGN_OR_RETURN(
        options.security, TransportSecurity::ForListener(
                              flags.cluster.tls, flags.listen, flags.insecure));
    options.metrics_address = flags.metrics_listen;
    options.attention = true;
    options.attention_bytes = flags.attention_bytes;
    options.neural_memory_bytes = flags.neural_memory_bytes;
    options.neural_memory_tenant_bytes = flags.neural_memory_tenant_bytes;
    options.park_dir = flags.park_dir;
    options.quotas = flags.quotas;
    options.selection = flags.selection;
    HEADWISE_ASSIGN_OR_RETURN(options.selection.inputs,
                              ParseInputRoots(flags.input_roots));
    if (!flags.cluster.plan.empty()) {
      HEADWISE_ASSIGN_OR_RETURN(HeadPlan plan,
                                ReadHeadPlanFile(flags.cluster.plan));
      options.default_plan = std::make_shared<const HeadPlan>(std::move(plan));
    }
    options.progress = [&bar](double fraction) { bar.Show(fraction); };
    HEADWISE_ASSIGN_OR_RETURN(server, LocalServer::Create(options));
  }
  ServerFrontends& frontends = server->frontends();
  spdlog::info("serving {} on port {}, metrics on port {}",
               ModelNameOf(flags.cluster.model), frontends.port(),
               frontends.metrics_port());
  if (!flags.port_file.empty()) {
    HEADWISE_RETURN_IF_ERROR(WritePortFile(
        flags.port_file, {frontends.port(), frontends.metrics_port()}));
  }
  int signal = 0;
  sigwait(&signals, &signal);
  spdlog::info("signal {}: draining for at most {} s", signal,
               flags.drain_seconds);
  frontends.Drain(absl::Seconds(flags.drain_seconds));
  frontends.Shutdown(kFlushTime);
  return absl::OkStatus();
}

void AddSelectionFlags(CLI::App& command, ServeFlags& flags) {
  const std::string group = "Selection jobs (all three, or none is served)";
  command
      .add_option("--selection-state", flags.selection.state,
                  "Folder for their books")
      ->group(group);
  command
      .add_option("--input-root", flags.input_roots,
                  "NAME=FOLDER that they may read; may be repeated")
      ->expected(1)
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll)
      ->group(group);
  command
      .add_option("--output-root", flags.selection.output,
                  "Folder that they write to")
      ->group(group);
}

}  // namespace

void AddServeCommand(CLI::App& app, CommandRun* run) {
  CLI::App* command = app.add_subcommand(
      "serve", "Coordinator and workers in this process, for clients");
  auto flags = std::make_shared<ServeFlags>();
  AddClusterFlags(*command, flags->cluster);
  command->get_option("--model")->required();
  command
      ->add_option("--listen", flags->listen,
                   "host:port for gRPC; port 0: any free one")
      ->capture_default_str();
  AddInsecureFlag(*command, flags->insecure);
  command
      ->add_option("--metrics-listen", flags->metrics_listen,
                   "host:port for /metrics; empty: none")
      ->capture_default_str();
  command
      ->add_option("--attention-bytes", flags->attention_bytes,
                   "For attention sessions, of all local workers; 0: a quarter "
                   "of the free memory")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--neural-memory-bytes", flags->neural_memory_bytes,
                   "For neural memories, of all local workers; 0: a 16th of "
                   "the free memory")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--neural-memory-tenant-bytes",
                   flags->neural_memory_tenant_bytes,
                   "Of one tenant's neural memories; 0: no limit")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command
      ->add_option("--park-dir", flags->park_dir,
                   "Folder for parked sessions, of all local workers; default: "
                   "none can be parked")
      ->check(CLI::ExistingDirectory);
  command
      ->add_option("--plan", flags->cluster.plan,
                   "A head plan, of requests that name none")
      ->check(CLI::ExistingFile);
  command->add_option("--quotas", flags->quotas,
                      "JSON file: what each tenant may have; default: no "
                      "limits");
  AddSelectionFlags(*command, *flags);
  command->add_option("--port-file", flags->port_file,
                      "Written once clients are served: the gRPC port, then "
                      "the metrics port, a line each");
  command
      ->add_option("--drain", flags->drain_seconds,
                   "Seconds that requests may go on after SIGTERM")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  command->add_option("--log-level", flags->log_level, "Of stderr")
      ->check(CLI::IsMember(LogLevels()))
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  headwise serve -m M\n"
      "  headwise serve -m M --local-workers 3 --listen 127.0.0.1:0 "
      "--port-file port\n"
      "  headwise serve -m M --plan plan.json\n"
      "  headwise serve -m M --workers 10.0.0.1:7700,10.0.0.2:7700\n"
      "SIGTERM and SIGINT drain: health is NOT_SERVING at once, requests end. "
      "Before\nclients are served they end the program.");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunServe(*flags); }; });
}

}  // namespace headwise
