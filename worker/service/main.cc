// headwise-worker: serves a share of a model's attention heads.

#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>

#include "CLI/CLI.hpp"
#include "absl/status/statusor.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/build_info.h"
#include "base/operator_server.h"
#include "base/port_file.h"
#include "base/process_collector.h"
#include "base/program_log.h"
#include "base/pulse.h"
#include "base/pulse_collector.h"
#include "base/status_macros.h"
#include "proto/transport_security.h"
#include "spdlog/spdlog.h"
#include "worker/collectives/process_identity.h"
#include "worker/memory_parts/memory_node.h"
#include "worker/service/attention_worker_service.h"
#include "worker/service/device_choice.h"
#include "worker/service/memory_worker_service.h"
#include "worker/service/registrar.h"
#include "worker/service/worker_address.h"
#include "worker/service/worker_health.h"
#include "worker/service/worker_node.h"
#include "worker/service/worker_server.h"
#include "worker/sessions/session_node.h"

namespace headwise {
namespace {

struct Flags {
  std::string listen = "127.0.0.1:0";
  TlsFiles tls;
  bool insecure = false;
  std::string metrics_listen;
  std::string advertise_host;
  std::string coordinator;
  std::string name;
  double speed = 1.0;
  int threads = 0;
  std::string isa = "best";
  std::string device = "cpu";
  int64_t memory_bytes = 0;
  int64_t attention_bytes = 0;
  int64_t neural_memory_bytes = 0;
  std::string model_root;
  std::string park_dir;
  std::string group_address;
  std::string port_file;
  ProgramLogOptions log;
};

constexpr char kDescription[] =
    R"(Serves a share of a model's attention heads to a headwise-coordinator.

A worker holds no configuration of its own: the coordinator tells it which model
to map and which heads, MLP tiles and vocabulary rows of it to serve. It only
offers threads, memory and a speed.

It announces itself, from an address of its machine that others can reach (on
one machine with the coordinator, --listen is not needed):
  headwise-worker --listen 10.0.0.11:7001 --coordinator 10.0.0.10:7600
or waits for a coordinator that knows it:
  headwise-worker --listen 10.0.0.11:7001          and, at the coordinator,
  headwise-coordinator --workers 10.0.0.11:7001 ...
Between machines all of them need --tls-cert, --tls-key and --tls-ca as well, or
--insecure.
)";

void AddFlags(CLI::App& app, Flags& flags) {
  app.add_option("--listen", flags.listen,
                 "host:port to serve on; port 0 takes any free one")
      ->capture_default_str();
  app.add_option("--metrics-listen", flags.metrics_listen,
                 "host:port of HTTP /metrics and /healthz; default: none");
  app.add_option("--advertise-host", flags.advertise_host,
                 "host under which others reach this worker; default: that "
                 "of --listen");
  app.add_option("--coordinator", flags.coordinator,
                 "host:port of a coordinator to register with, or host:port,"
                 "... of several, one of which leads; reconnects for as long "
                 "as the worker runs");
  app.add_option("--name", flags.name,
                 "unique in the cluster; default: worker-<port>");
  app.add_option("--speed", flags.speed,
                 "relative speed: half of it gets about half of the heads")
      ->check(CLI::Range(1e-6, 1e6))
      ->capture_default_str();
  app.add_option("--threads", flags.threads, "compute threads; 0: one per CPU")
      ->check(CLI::Range(0, 1024))
      ->capture_default_str();
  app.add_option("--isa", flags.isa,
                 "avx2, avx512, amx, or best: the same bits, another speed")
      ->check(CLI::IsMember({"avx2", "avx512", "amx", "best"}))
      ->capture_default_str();
  app.add_option("--device", flags.device,
                 "what runs the layers: cpu, or cuda:N, a GPU of this machine; "
                 "the same bits")
      ->capture_default_str();
  app.add_option("--memory-bytes", flags.memory_bytes,
                 "for weights and KV together, of the device; 0: no limit, "
                 "and of a GPU what is available")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--attention-bytes", flags.attention_bytes,
                 "for attention sessions, beside --memory-bytes; 0: a quarter "
                 "of it, or of the memory that is available")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--neural-memory-bytes", flags.neural_memory_bytes,
                 "for callers' neural memories, beside --memory-bytes; 0: a "
                 "16th of it, or of the memory that is available")
      ->check(CLI::NonNegativeNumber)
      ->capture_default_str();
  app.add_option("--model-root", flags.model_root,
                 "only models below this folder may be opened; relative paths "
                 "start there; default: any path");
  app.add_option("--park-dir", flags.park_dir,
                 "folder for sequences that are put away to make room, as "
                 "large as they are; its files go with the worker; default: "
                 "none are put away")
      ->check(CLI::ExistingDirectory);
  app.add_option("--group-address", flags.group_address,
                 "address or interface for traffic between workers over TCP; "
                 "default: the advertised host");
  app.add_option("--port-file", flags.port_file,
                 "written once the worker serves: the gRPC port, then that "
                 "of metrics (0: none), a line each");
  app.add_option("--log-level", flags.log.level, "of standard error")
      ->check(CLI::IsMember(LogLevels()))
      ->capture_default_str();
  app.add_flag("--json", flags.log.json, "log one JSON object per line");
  AddTlsFlags(app, flags.tls);
  AddInsecureFlag(app, flags.insecure);
}

struct Gpu {
  std::unique_ptr<cuda::Device> device;  // null for the CPU
  NcclOffer nccl;
};

// `gpu` outlives the node.
absl::StatusOr<WorkerNodeOptions> MakeNodeOptions(
    const Flags& flags, const WorkerAddresses& addresses, Gpu* gpu) {
  WorkerNodeOptions options;
  options.num_threads = flags.threads;
  if (options.num_threads == 0) {
    options.num_threads =
        static_cast<int>(std::max(1u, std::thread::hardware_concurrency()));
  }
  absl::StatusOr<Isa> isa = ParseIsa(flags.isa);
  if (!isa.ok()) return isa.status();
  options.isa = *isa;
  options.memory_bytes = flags.memory_bytes;
  options.model_root = flags.model_root;
  options.park_dir = flags.park_dir;
  options.bind_address = addresses.group_address;
  options.log = [](const std::string& line) { spdlog::info("{}", line); };
  HEADWISE_ASSIGN_OR_RETURN(gpu->device, OpenDevice(flags.device));
  HEADWISE_ASSIGN_OR_RETURN(gpu->nccl, UseNccl(flags.device, &options));
  if (gpu->device != nullptr) {
    HEADWISE_RETURN_IF_ERROR(RunOnDevice(*gpu->device, &options));
  }
  return options;
}

worker::v1::WorkerInfo MakeInfo(const Flags& flags,
                                const WorkerNodeOptions& options,
                                const NcclOffer& nccl) {
  worker::v1::WorkerInfo info;
  info.set_name(flags.name);
  // Without a host id the coordinator takes TCP between workers.
  info.set_host_id(HostId().value_or(""));
  info.set_speed(flags.speed);
  info.set_memory_bytes(options.memory_bytes);
  info.set_num_threads(static_cast<uint32_t>(options.num_threads));
  info.set_isa(IsaName(options.isa));
  info.set_process_id(
      ProcessNumber(OwnIdentity().value_or(ProcessIdentity{getpid(), 0})));
  info.set_gpu_id(nccl.gpu_id);
  info.set_nccl_version(static_cast<uint32_t>(nccl.version));
  return info;
}

// --memory-bytes, unless it is of a GPU's memory; 0: no limit.
int64_t HostMemoryBytes(const Flags& flags) {
  return flags.device == "cpu" ? flags.memory_bytes : 0;
}

SessionNodeOptions MakeSessionOptions(const Flags& flags,
                                      const WorkerNodeOptions& node) {
  SessionNodeOptions options;
  options.num_threads = node.num_threads;
  options.isa = node.isa;
  options.store.capacity_bytes =
      flags.attention_bytes > 0    ? flags.attention_bytes
      : HostMemoryBytes(flags) > 0 ? HostMemoryBytes(flags) / 4
                                   : DefaultSessionBytes();
  return options;
}

MemoryNodeOptions MakeMemoryOptions(const Flags& flags,
                                    const WorkerNodeOptions& node) {
  MemoryNodeOptions options;
  options.num_threads = node.num_threads;
  options.isa = node.isa;
  options.store.capacity_bytes =
      flags.neural_memory_bytes > 0 ? flags.neural_memory_bytes
      : HostMemoryBytes(flags) > 0  ? HostMemoryBytes(flags) / 16
                                    : DefaultSessionBytes() / 4;
  return options;
}

// Set before any thread starts, so that all inherit the mask and the signals
// arrive here only. Written to by other threads to end the program as well.
class StopSignal {
 public:
  StopSignal() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    pthread_sigmask(SIG_BLOCK, &set, nullptr);
    signal(SIGPIPE, SIG_IGN);
    set_ = set;
  }
  int Wait() const {
    int number = 0;
    sigwait(&set_, &number);
    return number;
  }
  static void Raise() { kill(getpid(), SIGTERM); }

 private:
  sigset_t set_;
};

std::unique_ptr<Registrar> StartRegistrar(const Flags& flags,
                                          const TransportSecurity& security,
                                          const WorkerServer& server,
                                          WorkerHealth& health,
                                          std::atomic<int>& exit_code) {
  if (flags.coordinator.empty()) return nullptr;
  RegistrarOptions options;
  options.coordinators =
      absl::StrSplit(flags.coordinator, ',', absl::SkipEmpty());
  options.security = security;
  options.info = server.info();
  options.is_well = [] { return CheckPulses(WorkerNode::kEnginePulse); };
  options.on_change = [&health, &exit_code](const std::string& coordinator,
                                            const absl::Status& status) {
    health.SetRegistered(status.ok());
    if (status.ok()) {
      spdlog::info("registered with {}", coordinator);
      return;
    }
    spdlog::warn("registration with {}: {}", coordinator, status.ToString());
    if (!absl::IsAborted(status)) return;
    spdlog::error("another worker has taken this name; leaving");
    exit_code = 4;
    StopSignal::Raise();
  };
  return std::make_unique<Registrar>(std::move(options));
}

// Null if no address was given.
absl::StatusOr<std::unique_ptr<OperatorServer>> StartOperatorServer(
    const Flags& flags, const WorkerHealth& health) {
  if (flags.metrics_listen.empty()) return nullptr;
  OperatorServerOptions options;
  options.address = flags.metrics_listen;
  options.collectables = {std::make_shared<ProcessCollector>(),
                          std::make_shared<PulseCollector>()};
  health.SetHttpProbes(&options);
  return OperatorServer::Start(options);
}

absl::Status TellPorts(const Flags& flags, int port, int metrics_port) {
  // The one line on standard output, for scripts.
  std::printf("%d\n", port);
  std::fflush(stdout);
  if (flags.port_file.empty()) return absl::OkStatus();
  return WritePortFile(flags.port_file, {port, metrics_port});
}

void LogStart(const Flags& flags, const worker::v1::WorkerInfo& info,
              const WorkerNodeOptions& options) {
  spdlog::info(
      "worker {} listens on {}, group address {}, {} threads, {}, device {}, "
      "NCCL {}, {}",
      info.name(), info.address(), options.bind_address, options.num_threads,
      IsaName(options.isa), flags.device,
      info.nccl_version() == 0 ? "none" : absl::StrCat(info.nccl_version()),
      TextOf(OwnBuild()));
}

int Run(const Flags& flags) {
  SetNcclDefaults();
  StopSignal stop;
  LogToStderr(flags.log);
  const absl::StatusOr<TransportSecurity> security =
      TransportSecurity::ForListener(flags.tls, flags.listen, flags.insecure);
  if (!security.ok()) {
    spdlog::error("{}", security.status().ToString());
    return 2;
  }
  absl::StatusOr<WorkerAddresses> addresses =
      ResolveAddresses({.listen = flags.listen,
                        .coordinator = flags.coordinator,
                        .advertise_host = flags.advertise_host,
                        .group_address = flags.group_address});
  if (!addresses.ok()) {
    spdlog::error("{}", addresses.status().ToString());
    return 2;
  }
  Gpu gpu;
  absl::StatusOr<WorkerNodeOptions> options =
      MakeNodeOptions(flags, *addresses, &gpu);
  if (!options.ok()) {
    spdlog::error("{}", options.status().ToString());
    return 2;
  }
  WorkerHealth health(/*must_register=*/!flags.coordinator.empty());
  WorkerNode node(*options);
  SessionNode sessions(MakeSessionOptions(flags, *options));
  AttentionWorkerService attention(sessions);
  MemoryNode memories(MakeMemoryOptions(flags, *options));
  MemoryWorkerService memory_service(memories);
  WorkerServerOptions server_options;
  server_options.listen = flags.listen;
  server_options.security = *security;
  server_options.advertise_host = addresses->advertise_host;
  server_options.info = MakeInfo(flags, *options, gpu.nccl);
  server_options.services = {&attention, &memory_service};
  server_options.probes = health.GrpcProbes();
  absl::StatusOr<std::unique_ptr<WorkerServer>> server =
      WorkerServer::Start(std::move(server_options), node);
  if (!server.ok()) {
    spdlog::error("{}", server.status().ToString());
    return 3;
  }
  absl::StatusOr<std::unique_ptr<OperatorServer>> operator_server =
      StartOperatorServer(flags, health);
  if (!operator_server.ok()) {
    spdlog::error("{}", operator_server.status().ToString());
    return 3;
  }
  LogStart(flags, (*server)->info(), *options);
  const absl::Status told =
      TellPorts(flags, (*server)->port(),
                *operator_server == nullptr ? 0 : (*operator_server)->port());
  if (!told.ok()) {
    spdlog::error("{}", told.ToString());
    return 3;
  }
  std::atomic<int> exit_code = 0;
  std::unique_ptr<Registrar> registrar =
      StartRegistrar(flags, *security, **server, health, exit_code);
  const int signal_number = stop.Wait();
  spdlog::info("signal {}: leaving", signal_number);
  health.SetLeaving();
  registrar.reset();  // first: no new group may count on us
  server->reset();
  return exit_code;
}

}  // namespace
}  // namespace headwise

int main(int argc, char** argv) {
  CLI::App app(headwise::kDescription, "headwise-worker");
  headwise::Flags flags;
  headwise::AddFlags(app, flags);
  app.set_version_flag("--version", headwise::TextOf(headwise::OwnBuild()));
  CLI11_PARSE(app, argc, argv);
  return headwise::Run(flags);
}
