#include "server/coordinator/coordinator_flags.h"

namespace headwise {
namespace {

constexpr char kDescription[] =
    R"(Serves a model whose attention heads are spread over headwise-workers.

Clients, health checks and workers that announce themselves use one gRPC port:
  headwise-coordinator --model M.gguf --listen 10.0.0.10:7600 --min-workers 2
and on each worker's machine, with that machine's own address:
  headwise-worker --listen 10.0.0.11:7001 --coordinator 10.0.0.10:7600
or, with workers that are found by their addresses:
  headwise-coordinator --model M.gguf --workers 10.0.0.11:7001,10.0.0.12:7001
Between machines all of them need --tls-cert, --tls-key and --tls-ca as well, or
--insecure.

Several coordinators, one of which leads, while the others stand by:
  headwise-coordinator --model M.gguf --listen 10.0.0.10:7600 --etcd E1:2379
  headwise-coordinator --model M.gguf --listen 10.0.0.9:7600 --etcd E1:2379
and workers and clients are given both addresses, with a comma.

Workers open the same model path on their own machines. SIGTERM and SIGINT
drain: health is NOT_SERVING at once, requests in flight may end.

Exit status: 0 after a signal, 2 for flags or a model that can't be served, 3
if the port file can't be written; 100 and above: wrong usage.
)";

void AddModelFlags(CLI::App& app, CoordinatorFlags& flags) {
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

void AddClusterFlags(CLI::App& app, CoordinatorFlags& flags) {
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
                 "how workers add up: shm, gloo, nccl, or auto (nccl if each "
                 "has a GPU of its own, else shm if all are on one host); the "
                 "bits are the same")
      ->check(CLI::IsMember({"auto", "shm", "shared-memory", "gloo", "nccl"}))
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
  app.add_option("--books", flags.books,
                 "SQLite file of what is to outlive this process: epochs, and "
                 "the tokens of prompt sessions; default: none");
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

void AddElectionFlags(CLI::App& app, CoordinatorFlags& flags) {
  CLI::Option* etcd =
      app.add_option("--etcd", flags.etcd,
                     "host:port,... of etcd's members, where several "
                     "coordinators elect a leader; default: this is the only "
                     "one");
  app.add_option("--cluster", flags.cluster,
                 "coordinators of one name elect one leader")
      ->needs(etcd)
      ->capture_default_str();
  app.add_option("--advertise", flags.advertise,
                 "host:port under which clients and workers reach this "
                 "coordinator when it leads; default: that of --listen")
      ->needs(etcd);
  app.add_option("--lease", flags.lease_seconds,
                 "seconds after which a leader that is gone is followed by "
                 "another, and that a leader goes on without etcd")
      ->needs(etcd)
      ->check(CLI::Range(2, 3600))
      ->capture_default_str();
}

}  // namespace

const char* CoordinatorDescription() { return kDescription; }

void AddCoordinatorFlags(CLI::App& app, CoordinatorFlags& flags) {
  AddModelFlags(app, flags);
  AddClusterFlags(app, flags);
  AddElectionFlags(app, flags);
  AddTlsFlags(app, flags.tls);
  AddInsecureFlag(app, flags.insecure);
}

}  // namespace headwise
