// What callers ask of attention sessions, and what they are told: plain values.

#ifndef HEADWISE_SERVER_ATTENTION_ATTENTION_TYPES_H_
#define HEADWISE_SERVER_ATTENTION_ATTENTION_TYPES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "server/leases/caller.h"
#include "worker/sessions/session_messages.h"

namespace headwise {

struct AttentionConfig {
  SessionShape shape;
  double softmax_scale = 0.0;        // not 0; |x| <= kMaxSoftmaxScale
  std::vector<UnitPolicy> policies;  // [num_kv_heads], of CheckSessionPolicy
  absl::Duration ttl = absl::Minutes(10);

  int64_t num_heads() const {
    return shape.num_kv_heads * shape.heads_per_kv_head;
  }
};
inline constexpr double kMaxSoftmaxScale = 1000.0;
inline constexpr absl::Duration kMaxSessionTtl = absl::Hours(24);

// InvalidArgument names field, value and limit; Unimplemented a policy that
// sessions do not have.
absl::Status CheckConfig(const AttentionConfig& config);
absl::Status CheckPolicy(const UnitPolicy& policy);

struct SessionInfo {
  struct Worker {
    std::string name;
    int64_t reserved_bytes = 0;
    int64_t num_units = 0;
  };
  std::string session_id;
  AttentionConfig config;
  int64_t stored_positions = 0;
  std::vector<Worker> workers;
  std::string lost;  // empty, or why

  int64_t reserved_bytes() const {
    int64_t bytes = 0;
    for (const Worker& worker : workers) bytes += worker.reserved_bytes;
    return bytes;
  }
};

// Tensors [positions][num_kv_heads][head_dim] of the session's input type; they
// must live as long as the call.
struct Chunk {
  int64_t offset = 0;
  const std::string& keys;
  const std::string& values;
  const std::string& sha256;  // 32 bytes, of keys followed by values
};

struct AppendOutcome {
  int64_t stored_positions = 0;
  bool was_stored = false;  // before: the same bytes at the same offset
};

struct ProbeSpec {
  int64_t num_top_keys = 0;
  std::vector<int64_t> segment_bounds;
  bool entropy = false;
  int64_t max_bytes = 0;

  int64_t num_segments() const {
    return segment_bounds.empty()
               ? 0
               : static_cast<int64_t>(segment_bounds.size()) - 1;
  }
  // Of one (query, head) pair in the answer.
  int64_t row_bytes() const {
    return 12 * num_top_keys + 4 * num_segments() + (entropy ? 4 : 0);
  }
};

struct AttendQuery {
  int64_t query_len = 0;
  const std::string& queries;  // [query_len][num_heads][head_dim]
  // Empty: the last query_len positions, each sees itself and what is before.
  std::vector<int64_t> visible_end;  // [query_len]
  bool all_keys = false;
  bool output_as_input = false;
  ProbeSpec probes;
};

struct AttendAnswer {
  FloatType output_type = FloatType::kFp32;
  std::string output;      // [query_len][num_heads][head_dim]
  std::vector<float> lse;  // [query_len][num_heads]
  int64_t stored_positions = 0;
  std::vector<TopKey> top;     // [query_len][num_heads][num_top_keys]
  std::vector<float> mass;     // [query_len][num_heads][segments]
  std::vector<float> entropy;  // [query_len][num_heads]
};
// Of an answer: it must fit into a message of 16 MiB.
inline constexpr int64_t kMaxAnswerBytes = 15 << 20;

struct SnapshotBlock {
  BlockRun run;
  std::string data;
  std::string sha256;  // 32 bytes, of data
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_ATTENTION_TYPES_H_
