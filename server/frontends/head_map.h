// What the frontends are told of the cluster: plain data, immutable snapshots.

#ifndef HEADWISE_SERVER_FRONTENDS_HEAD_MAP_H_
#define HEADWISE_SERVER_FRONTENDS_HEAD_MAP_H_

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "server/membership/member_history.h"

namespace headwise {

// Mirrors headwise.v1.HeadMap.
struct HeadMap {
  struct Worker {
    std::string name;
    std::string address;  // host:port, or "in-process"
    std::string version;  // of its build; empty of a plan
    int rank = 0;
    double speed = 1.0;  // relative, > 0
    int64_t num_units = 0;
    int64_t num_mlp_tiles = 0;
    int64_t num_vocab_tiles = 0;
    int64_t weight_bytes = 0;
    int64_t kv_bytes_per_token = 0;
    int64_t kv_capacity_bytes = 0;  // 0: unlimited
    double forecast_ms_per_token = 0.0;
  };
  struct Unit {
    int64_t layer = 0;
    int64_t kv_head = 0;
    int rank = 0;
    std::string policy = "full";
    std::string policy_description = "full";
    int64_t weight_bytes = 0;
    int64_t kv_bytes_per_token = 0;
    // Ranks that its context is dealt to, ascending; empty: it is not cut.
    std::vector<int> context_ranks = {};
  };

  std::string model;
  uint64_t membership_epoch = 0;
  int world_size = 0;
  uint32_t protocol = 0;   // that the group speaks; 0 of a plan
  std::string group_kind;  // in-process, shared-memory, gloo
  int64_t num_layers = 0;
  int64_t num_heads = 0;
  int64_t num_kv_heads = 0;
  std::vector<Worker> workers;  // by rank
  std::vector<Unit> units;      // by layer, kv_head
  double forecast_ms_per_token = 0.0;
  int64_t max_context_len = 0;  // tokens; 0: no group stands
  std::string plan = "full";    // whose policies the units show
};

// Implemented by whoever forms the group of workers. Thread-safe; calls return
// at once.
class ClusterState {
 public:
  virtual ~ClusterState() = default;
  // The present membership epoch's; never null. While no group stands its
  // world_size is 0.
  virtual std::shared_ptr<const HeadMap> head_map() const = 0;
  // A group stands and takes steps.
  virtual bool ready() const = 0;
  // Why no group stands, or what serves: one line for people.
  virtual std::string detail() const = 0;
  // Who is not in the group and should be, and why.
  virtual std::vector<MissingMember> missing_workers() const = 0;
  // By name: how often the worker came, each start of its process counted.
  virtual std::map<std::string, int64_t> worker_arrivals() const = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_HEAD_MAP_H_
