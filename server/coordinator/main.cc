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
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/build_info.h"
#include "base/port_file.h"
#include "base/program_log.h"
#include "base/status_macros.h"
#include "model/files/model_name.h"
#include "model/model.h"
#include "proto/head_plan_file.h"
#include "proto/transport_security.h"
#include "server/attention/attention_sessions.h"
#include "server/attention/grpc_attention_link.h"
#include "server/books/coordinator_books.h"
#include "server/coordinator/cluster_frontends.h"
#include "server/coordinator/coordinator_flags.h"
#include "server/coordinator/lead.h"
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

// The parts of a coordinator, ended in the order that their uses ask for.
class Program {
 public:
  ~Program() {
    // First of all: without its workers no request could end.
    frontends_.Drain(drain_);
    if (lead_ != nullptr) lead_->Leave();  // a standby takes over
    static_workers_.reset();
    // Registrations last as long as their workers; the server waits for calls.
    if (registry_ != nullptr) registry_->Close();
    frontends_.Shutdown(kFlushTime);
    memories_.reset();   // asks the sessions, and the coordinator
    attention_.reset();  // asks the coordinator who is alive
    coordinator_.reset();
  }

  absl::Status Start(const CoordinatorFlags& flags);
  int port() { return frontends_.frontends().port(); }
  int metrics_port() { return frontends_.frontends().metrics_port(); }

 private:
  absl::StatusOr<CoordinatorOptions> MakeOptions(const CoordinatorFlags& flags);
  absl::Status StartFrontends(const CoordinatorFlags& flags);
  std::function<absl::Status()> LeadCheck() const;
  void JoinElection(const CoordinatorFlags& flags);
  void MakeAttention();
  void MakeMemories(const CoordinatorFlags& flags);

  TransportSecurity security_;
  // The gRPC server that uses the registry is one of the frontends.
  std::unique_ptr<RegistryService> registry_;
  std::unique_ptr<CoordinatorBooks> books_;  // null: none were given
  ClusterFrontends frontends_;
  std::unique_ptr<Lead> lead_;  // null: there is no other coordinator
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<StaticWorkers> static_workers_;
  std::unique_ptr<AttentionSessions> attention_;
  std::unique_ptr<NeuralMemories> memories_;
  std::shared_ptr<const HeadPlan> plan_;  // null: none was given
  absl::Duration drain_;
};

absl::StatusOr<CoordinatorOptions> Program::MakeOptions(
    const CoordinatorFlags& flags) {
  CoordinatorOptions options;
  options.model_path = flags.model;
  HEADWISE_ASSIGN_OR_RETURN(options.kv_type, ParseKvType(flags.kv_type));
  options.kv_capacity_bytes = flags.kv_bytes;
  HEADWISE_ASSIGN_OR_RETURN(options.group, ParseGroupChoice(flags.group));
  options.fast_reduction = flags.reduction == "fast";
  options.ranks_per_context = flags.ranks_per_context;
  options.check_model_sha256 = true;
  options.min_workers = flags.min_workers;
  // Workers refuse an epoch below their last one, also after we start again:
  // wall milliseconds, where nothing else knows the last one.
  options.membership.first_epoch = absl::ToUnixMillis(absl::Now());
  if (books_ != nullptr) {
    HEADWISE_ASSIGN_OR_RETURN(
        options.membership.first_epoch,
        books_->TakeEpochs(options.membership.first_epoch));
  }
  options.engine.prefill_chunk = flags.prefill_chunk;
  options.engine.max_step_tokens = flags.max_step_tokens;
  options.engine.max_running_sequences = flags.max_sequences;
  options.engine.rebuild_wait = absl::Seconds(flags.rebuild_wait);
  HEADWISE_ASSIGN_OR_RETURN(options.engine.quotas, ReadQuotaFile(flags.quotas));
  if (lead_ != nullptr) {
    options.may_command = [lead = lead_.get()] { return lead->MayCommand(); };
  }
  options.step_timeout = absl::Seconds(flags.step_timeout);
  options.grow_patience = absl::Seconds(flags.grow_patience);
  options.log = [](const std::string& line) { spdlog::info("{}", line); };
  options.on_sample = frontends_.on_sample();
  options.on_change = frontends_.on_change();
  return options;
}

absl::Status Program::StartFrontends(const CoordinatorFlags& flags) {
  ServerFrontendsOptions options;
  options.listen_address = flags.listen;
  options.security = security_;
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
  registry.security = security_;
  registry.log = [](const std::string& line) { spdlog::info("{}", line); };
  registry_ =
      std::make_unique<RegistryService>(registry, coordinator_->membership());
  return frontends_.Start(options, coordinator_->model(),
                          coordinator_->engine(), coordinator_->membership(),
                          [this] {
                            return lead_ == nullptr
                                       ? coordinator_->status()
                                       : lead_->Show(coordinator_->status());
                          },
                          {.extra_services = {registry_.get()},
                           .attention = attention_.get(),
                           .memories = memories_.get(),
                           .books = books_.get(),
                           .leads = LeadCheck()});
}

std::function<absl::Status()> Program::LeadCheck() const {
  if (lead_ == nullptr) return nullptr;
  return [lead = lead_.get()] { return lead->Check(); };
}

void Program::JoinElection(const CoordinatorFlags& flags) {
  ElectorOptions options;
  options.etcd.endpoints = *ParseAddresses(flags.etcd);
  options.etcd.cluster = flags.cluster;
  options.etcd.lease = absl::Seconds(flags.lease_seconds);
  options.address = flags.advertise;
  if (options.address.empty()) {
    options.address = absl::StrCat(
        flags.listen.substr(0, flags.listen.rfind(':')), ":", port());
  }
  options.log = [](const std::string& line) { spdlog::info("{}", line); };
  lead_->Join(std::move(options));
}

void Program::MakeAttention() {
  AttentionSessionsOptions options;
  options.view = [this] { return coordinator_->membership().view(); };
  options.make_link = [this](const MemberInfo& info) {
    return std::make_shared<GrpcAttentionLink>(
        MakeWorkerChannel(info.address, security_));
  };
  attention_ = std::make_unique<AttentionSessions>(std::move(options));
}

void Program::MakeMemories(const CoordinatorFlags& flags) {
  NeuralMemoriesOptions options;
  options.book.view = [this] { return coordinator_->membership().view(); };
  options.book.make_link = [this](const MemberInfo& info) {
    return std::make_shared<GrpcMemoryLink>(
        MakeWorkerChannel(info.address, security_));
  };
  options.book.max_tenant_bytes = flags.tenant_memory_bytes;
  options.sessions = attention_->lifetimes();
  memories_ = std::make_unique<NeuralMemories>(std::move(options));
}

absl::Status Program::Start(const CoordinatorFlags& flags) {
  drain_ = absl::Seconds(flags.drain);
  HEADWISE_ASSIGN_OR_RETURN(
      security_,
      TransportSecurity::ForListener(flags.tls, flags.listen, flags.insecure));
  if (!flags.plan.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(HeadPlan plan, ReadHeadPlanFile(flags.plan));
    plan_ = std::make_shared<const HeadPlan>(std::move(plan));
  }
  StaticWorkersOptions workers;
  if (!flags.workers.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(workers.addresses, ParseAddresses(flags.workers));
  }
  if (!flags.etcd.empty()) {
    HEADWISE_RETURN_IF_ERROR(ParseAddresses(flags.etcd).status());
    lead_ = std::make_unique<Lead>();
  }
  HEADWISE_ASSIGN_OR_RETURN(std::unique_ptr<Model> model,
                            Model::Open(flags.model));
  if (!flags.books.empty()) {
    HEADWISE_ASSIGN_OR_RETURN(
        books_, CoordinatorBooks::Open(flags.books, model->Sha256()));
  }
  HEADWISE_ASSIGN_OR_RETURN(const CoordinatorOptions options,
                            MakeOptions(flags));
  HEADWISE_ASSIGN_OR_RETURN(
      coordinator_,
      Coordinator::Create(options, std::move(model),
                          [this](const MemberInfo& info) {
                            return std::make_shared<GrpcWorkerLink>(
                                MakeWorkerChannel(info.address, security_));
                          }));
  if (lead_ != nullptr) {
    lead_->Begin(*coordinator_,
                 [this] { frontends_.frontends().UpdateReadiness(); });
  }
  MakeAttention();
  MakeMemories(flags);
  HEADWISE_RETURN_IF_ERROR(StartFrontends(flags));
  if (lead_ != nullptr) JoinElection(flags);
  if (!workers.addresses.empty()) {
    workers.security = security_;
    workers.log = [](const std::string& line) { spdlog::warn("{}", line); };
    static_workers_ =
        std::make_unique<StaticWorkers>(workers, coordinator_->membership());
  }
  return absl::OkStatus();
}

int Run(const CoordinatorFlags& flags) {
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
  spdlog::info("coordinator serves on port {}, metrics on {}, {}",
               program.port(), program.metrics_port(), TextOf(OwnBuild()));
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
  CLI::App app(headwise::CoordinatorDescription(), "headwise-coordinator");
  headwise::CoordinatorFlags flags;
  headwise::AddCoordinatorFlags(app, flags);
  app.set_version_flag("--version", headwise::TextOf(headwise::OwnBuild()));
  CLI11_PARSE(app, argc, argv);
  return headwise::Run(flags);
}
