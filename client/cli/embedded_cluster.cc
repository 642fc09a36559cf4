#include "client/cli/embedded_cluster.h"

#include <sched.h>

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "base/status_macros.h"
#include "client/cli/local_worker_link.h"
#include "server/attention/grpc_attention_link.h"
#include "server/attention/local_attention_link.h"
#include "server/dispatch/grpc_worker_link.h"
#include "server/dispatch/static_workers.h"
#include "server/neural_memory/grpc_memory_link.h"
#include "server/neural_memory/local_memory_link.h"
#include "worker/collectives/process_identity.h"
#include "worker/memory_parts/memory_node.h"
#include "worker/service/in_process_rendezvous.h"
#include "worker/service/worker_node.h"
#include "worker/sessions/session_node.h"

namespace headwise {
namespace {

constexpr int kMaxWorkers = 64;
constexpr int kMaxThreads = 1024;
// Attempts of a remote group: a worker may just be leaving an older one.
constexpr int kMaxRemoteFailures = 5;

// CPUs that this process may run on, ascending.
std::vector<int> AllowedCpus() {
  cpu_set_t set;
  CPU_ZERO(&set);
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return {0};
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

absl::Status CheckOptions(const EmbeddedClusterOptions& options) {
  if (options.num_workers < 1 || options.num_workers > kMaxWorkers) {
    return absl::InvalidArgumentError(
        absl::StrCat("number of workers is ", options.num_workers,
                     ", allowed 1 to ", kMaxWorkers));
  }
  if (options.threads < 0 || options.threads > kMaxThreads) {
    return absl::InvalidArgumentError(
        absl::StrCat("threads is ", options.threads,
                     ", allowed 0 (default) to ", kMaxThreads));
  }
  if (!options.speeds.empty() &&
      options.speeds.size() != static_cast<size_t>(options.num_workers)) {
    return absl::InvalidArgumentError(
        absl::StrCat(options.speeds.size(), " speeds for ", options.num_workers,
                     " workers"));
  }
  return absl::OkStatus();
}

CoordinatorOptions MakeCoordinatorOptions(
    const EmbeddedClusterOptions& options) {
  const bool remote = !options.worker_addresses.empty();
  CoordinatorOptions out;
  out.model_path = options.model_path;
  out.kv_type = options.kv_type;
  out.kv_capacity_bytes = options.kv_capacity_bytes;
  out.group = options.group;
  if (!remote && out.group == GroupChoice::kAuto) {
    out.group = GroupChoice::kInProcess;
  }
  out.fast_reduction = options.fast_reduction;
  out.ranks_per_context = options.ranks_per_context;
  out.min_workers = remote ? options.worker_addresses.size()
                           : static_cast<size_t>(options.num_workers);
  if (!remote) out.membership.dead_after = absl::InfiniteDuration();
  out.membership.first_epoch = absl::ToUnixMillis(absl::Now());
  out.engine.prefill_chunk = options.prefill_chunk;
  out.engine.max_step_tokens =
      std::max(options.max_step_tokens, options.prefill_chunk);
  out.engine.max_running_sequences = options.max_running_sequences;
  out.engine.quotas = options.quotas;
  if (!remote) {
    out.step_timeout = options.step_timeout;
    out.group_timeout = options.group_timeout;
  }
  out.on_sample = options.on_sample;
  out.on_change = options.on_change;
  out.on_progress = options.on_progress;
  out.log = options.log;
  return out;
}

class EmbeddedClusterImpl final : public EmbeddedCluster {
 public:
  ~EmbeddedClusterImpl() override {
    memories_.reset();        // asks the sessions, and as they do
    attention_.reset();       // asks the book, and the nodes
    static_workers_.reset();  // changes the book
    coordinator_.reset();     // before the nodes that it sends steps to
    nodes_.clear();           // before the rendezvous
  }

  absl::Status Init(const EmbeddedClusterOptions& options) {
    HEADWISE_RETURN_IF_ERROR(CheckOptions(options));
    security_ = options.security;
    HEADWISE_ASSIGN_OR_RETURN(model_, Model::Open(options.model_path));
    HEADWISE_RETURN_IF_ERROR(options.worker_addresses.empty()
                                 ? InitLocal(options)
                                 : InitRemote(options));
    if (options.attention) {
      MakeAttention();
      MakeMemories(options);
    }
    return absl::OkStatus();
  }

  Engine& engine() override { return coordinator_->engine(); }
  const Model& model() const override { return *model_; }
  const ModelShape& shape() const override { return coordinator_->shape(); }
  ClusterStatus status() const override { return coordinator_->status(); }
  const Membership& membership() const override {
    return coordinator_->membership();
  }
  std::vector<int64_t> kv_bytes_used() const override {
    std::vector<int64_t> bytes;
    for (const auto& [name, node] : nodes_) {
      bytes.push_back(node->kv_bytes_used());
    }
    return bytes;
  }
  AttentionSessions* attention() override { return attention_.get(); }
  NeuralMemories* memories() override { return memories_.get(); }

 private:
  absl::Status InitLocal(const EmbeddedClusterOptions& options);
  absl::Status InitRemote(const EmbeddedClusterOptions& options);
  void MakeSessionNode(const std::string& name, const WorkerNodeOptions& node,
                       const EmbeddedClusterOptions& options);
  void MakeMemoryNode(const std::string& name, const WorkerNodeOptions& node,
                      const EmbeddedClusterOptions& options);
  void MakeAttention();
  void MakeMemories(const EmbeddedClusterOptions& options);
  absl::StatusOr<std::vector<WorkerNodeOptions>> PlanNodes(
      const EmbeddedClusterOptions& options);

  TransportSecurity security_;  // of workers elsewhere
  std::shared_ptr<const Model> model_;
  InProcessRendezvous rendezvous_;
  std::map<std::string, std::unique_ptr<WorkerNode>> nodes_;  // by name
  std::unique_ptr<Coordinator> coordinator_;
  std::unique_ptr<StaticWorkers> static_workers_;
  std::map<std::string, std::unique_ptr<SessionNode>>
      session_nodes_;  // by name
  std::unique_ptr<AttentionSessions> attention_;
  std::map<std::string, std::unique_ptr<MemoryNode>> memory_nodes_;  // by name
  std::unique_ptr<NeuralMemories> memories_;
};

// Threads are pinned to CPUs of their own if there are enough of them; else the
// kernel shares the CPUs out, and nobody spins while another has work. Gloo
// needs CPUs for threads of its own.
absl::StatusOr<std::vector<WorkerNodeOptions>> EmbeddedClusterImpl::PlanNodes(
    const EmbeddedClusterOptions& options) {
  const std::vector<int> cpus = AllowedCpus();
  const int num_cpus = static_cast<int>(cpus.size());
  WorkerNodeOptions node;
  HEADWISE_ASSIGN_OR_RETURN(node.isa, ParseIsa(options.isa));
  node.num_threads = options.threads > 0
                         ? options.threads
                         : std::max(1, num_cpus / options.num_workers);
  const bool crowded = node.num_threads * options.num_workers > num_cpus;
  node.spin = crowded ? SpinMode::kYield : SpinMode::kAuto;
  node.park_dir = options.park_dir;
  node.open_model = [this](const std::string&) { return model_; };
  node.prepare_group = [this](GroupChoice kind, const GroupSpec& spec)
      -> absl::StatusOr<std::unique_ptr<PendingGroup>> {
    if (kind == GroupChoice::kInProcess) return rendezvous_.Prepare(spec);
    return PendingGroup::Prepare(spec);
  };
  std::vector<WorkerNodeOptions> nodes(options.num_workers, node);
  const bool pins = !crowded && options.group != GroupChoice::kGloo;
  for (int i = 0; i < options.num_workers && pins; ++i) {
    const auto first = cpus.begin() + i * node.num_threads;
    nodes[i].pin_to_cpus.assign(first, first + node.num_threads);
  }
  return nodes;
}

void EmbeddedClusterImpl::MakeSessionNode(
    const std::string& name, const WorkerNodeOptions& node,
    const EmbeddedClusterOptions& options) {
  SessionNodeOptions sessions;
  sessions.num_threads = node.num_threads;
  sessions.isa = node.isa;
  const int64_t bytes = options.attention_bytes > 0 ? options.attention_bytes
                                                    : DefaultSessionBytes();
  sessions.store.capacity_bytes = bytes / options.num_workers;
  session_nodes_[name] = std::make_unique<SessionNode>(sessions);
}

void EmbeddedClusterImpl::MakeMemoryNode(
    const std::string& name, const WorkerNodeOptions& node,
    const EmbeddedClusterOptions& options) {
  MemoryNodeOptions memories;
  memories.num_threads = node.num_threads;
  memories.isa = node.isa;
  const int64_t bytes = options.neural_memory_bytes > 0
                            ? options.neural_memory_bytes
                            : DefaultSessionBytes() / 4;
  memories.store.capacity_bytes = bytes / options.num_workers;
  memory_nodes_[name] = std::make_unique<MemoryNode>(memories);
}

void EmbeddedClusterImpl::MakeAttention() {
  AttentionSessionsOptions options;
  options.view = [this] { return coordinator_->membership().view(); };
  options.make_link =
      [this](const MemberInfo& info) -> std::shared_ptr<AttentionLink> {
    const auto node = session_nodes_.find(info.name);
    if (node != session_nodes_.end()) {
      return std::make_shared<LocalAttentionLink>(*node->second);
    }
    return std::make_shared<GrpcAttentionLink>(
        MakeWorkerChannel(info.address, security_));
  };
  attention_ = std::make_unique<AttentionSessions>(std::move(options));
}

void EmbeddedClusterImpl::MakeMemories(const EmbeddedClusterOptions& options) {
  NeuralMemoriesOptions memories;
  memories.book.view = [this] { return coordinator_->membership().view(); };
  memories.book.make_link =
      [this](const MemberInfo& info) -> std::shared_ptr<MemoryLink> {
    const auto node = memory_nodes_.find(info.name);
    if (node != memory_nodes_.end()) {
      return std::make_shared<LocalMemoryLink>(*node->second);
    }
    return std::make_shared<GrpcMemoryLink>(
        MakeWorkerChannel(info.address, security_));
  };
  memories.book.max_tenant_bytes = options.neural_memory_tenant_bytes;
  memories.sessions = attention_->lifetimes();
  memories_ = std::make_unique<NeuralMemories>(std::move(memories));
}

absl::Status EmbeddedClusterImpl::InitLocal(
    const EmbeddedClusterOptions& options) {
  HEADWISE_ASSIGN_OR_RETURN(std::vector<WorkerNodeOptions> nodes,
                            PlanNodes(options));
  const auto make_link = [this](const MemberInfo& info) {
    return std::make_shared<LocalWorkerLink>(*nodes_.at(info.name));
  };
  HEADWISE_ASSIGN_OR_RETURN(
      coordinator_,
      Coordinator::Create(MakeCoordinatorOptions(options), model_, make_link));
  MemberInfo info;
  info.address = "in-process";
  info.host_id = HostId().value_or("");
  std::vector<MemberInfo> members;
  for (size_t i = 0; i < nodes.size(); ++i) {
    // Two digits, since ranks are given in order of names.
    info.name = absl::StrCat("local-", i / 10, i % 10);
    info.speed = options.speeds.empty() ? 1.0 : options.speeds[i];
    info.num_threads = static_cast<uint32_t>(nodes[i].num_threads);
    info.isa = IsaName(nodes[i].isa);
    if (options.attention) {
      MakeSessionNode(info.name, nodes[i], options);
      MakeMemoryNode(info.name, nodes[i], options);
    }
    nodes_[info.name] = std::make_unique<WorkerNode>(std::move(nodes[i]));
    members.push_back(info);
  }
  for (const MemberInfo& member : members) {
    HEADWISE_RETURN_IF_ERROR(
        coordinator_->membership().Register(member).status());
  }
  return coordinator_->WaitUntilServing(options.ready_timeout,
                                        /*max_failures=*/1);
}

absl::Status EmbeddedClusterImpl::InitRemote(
    const EmbeddedClusterOptions& options) {
  HEADWISE_ASSIGN_OR_RETURN(
      coordinator_,
      Coordinator::Create(MakeCoordinatorOptions(options), model_,
                          [this](const MemberInfo& info) {
                            return std::make_shared<GrpcWorkerLink>(
                                MakeWorkerChannel(info.address, security_));
                          }));
  StaticWorkersOptions workers;
  workers.addresses = options.worker_addresses;
  workers.security = security_;
  workers.log = options.log;
  static_workers_ =
      std::make_unique<StaticWorkers>(workers, coordinator_->membership());
  return coordinator_->WaitUntilServing(options.ready_timeout,
                                        kMaxRemoteFailures);
}

}  // namespace

absl::StatusOr<std::unique_ptr<EmbeddedCluster>> EmbeddedCluster::Create(
    const EmbeddedClusterOptions& options) {
  auto cluster = std::make_unique<EmbeddedClusterImpl>();
  HEADWISE_RETURN_IF_ERROR(cluster->Init(options));
  return cluster;
}

}  // namespace headwise
