// A coordinator whose workers live in this process, or are dialled from it.

#ifndef HEADWISE_CLIENT_CLI_EMBEDDED_CLUSTER_H_
#define HEADWISE_CLIENT_CLI_EMBEDDED_CLUSTER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "model/model.h"
#include "proto/transport_security.h"
#include "server/attention/attention_sessions.h"
#include "server/dispatch/coordinator.h"
#include "server/neural_memory/neural_memories.h"
#include "server/scheduler/engine.h"

namespace headwise {

struct EmbeddedClusterOptions {
  std::string model_path;

  // Workers that run elsewhere, host:port each; if any, none runs here and the
  // fields of local workers below are ignored. They open model_path themselves.
  std::vector<std::string> worker_addresses;
  TransportSecurity security;  // of calls to them

  int num_workers = 1;         // 1 to 64, in this process
  int threads = 0;             // of each; 0: max(1, CPUs / num_workers)
  std::string isa = "best";    // avx2, avx512, amx
  std::vector<double> speeds;  // relative, one per worker, or empty: all 1

  // kAuto: in-process for local workers. All kinds work inside one process.
  GroupChoice group = GroupChoice::kAuto;
  int ranks_per_context = 1;  // every context is cut over so many; 1: none is
  KvType kv_type = KvType::kFp16;
  int64_t kv_capacity_bytes = 0;  // of all workers; 0: DefaultKvBytes()
  bool fast_reduction = false;    // true gives the equal bits up
  int64_t prefill_chunk = 512;    // rows of one sequence in one step
  int64_t max_step_tokens = 512;  // rows of one step; at least prefill_chunk
  int64_t max_running_sequences = 64;
  // Serve attention sessions and neural memories too: with so many bytes of all
  // local workers; 0: DefaultSessionBytes(), and a quarter of it.
  bool attention = false;
  int64_t attention_bytes = 0;
  int64_t neural_memory_bytes = 0;
  int64_t neural_memory_tenant_bytes = 0;  // of each tenant; 0: no limit
  TenantQuotas quotas;
  std::string park_dir;  // for parked sessions; empty: none can be
  absl::Duration ready_timeout = absl::Minutes(10);
  // Of one step and of one collective. Generous by default where nobody is
  // remote: a worker here dies only with us, and a machine may be overloaded.
  absl::Duration step_timeout = absl::Seconds(60);
  absl::Duration group_timeout = absl::Seconds(30);

  // Hooks; may be called by any thread, must not block.
  std::function<void(double)> on_progress;  // of loading, 0 to 1
  std::function<void(const StepSample&)> on_sample;
  std::function<void(const GroupChange&)> on_change;
  std::function<void(const std::string&)> log;
};

// Thread-safe.
class EmbeddedCluster {
 public:
  // Returns once the workers serve. The model's and the workers' own errors;
  // DeadlineExceeded after ready_timeout.
  static absl::StatusOr<std::unique_ptr<EmbeddedCluster>> Create(
      const EmbeddedClusterOptions& options);
  // Ends all requests.
  virtual ~EmbeddedCluster() = default;

  virtual Engine& engine() = 0;
  virtual const Model& model() const = 0;
  virtual const ModelShape& shape() const = 0;
  // `group` is what the head map needs; server/coordinator/cluster_state.h
  // turns it into the frontends' ClusterState.
  virtual ClusterStatus status() const = 0;
  virtual const Membership& membership() const = 0;
  // By rank, after each one's last step; empty if the workers run elsewhere.
  virtual std::vector<int64_t> kv_bytes_used() const = 0;
  // Null unless options.attention.
  virtual AttentionSessions* attention() = 0;
  virtual NeuralMemories* memories() = 0;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_EMBEDDED_CLUSTER_H_
