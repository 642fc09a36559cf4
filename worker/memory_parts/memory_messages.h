// What a coordinator asks of one worker's heads of a neural memory, and what
// the worker answers. Plain values that both sides share.
//
// A memory has states, each with a version: 0 when its heads have come, then
// one for each write that was tried. Which of them is the memory's is the
// coordinator's to say, and it says it with every call: a worker keeps the
// state that was named last and the one that the last write has made of it, so
// a write that another worker refused does not exist for anybody.

#ifndef HEADWISE_WORKER_MEMORY_PARTS_MEMORY_MESSAGES_H_
#define HEADWISE_WORKER_MEMORY_PARTS_MEMORY_MESSAGES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "model/memory_spec.h"

namespace headwise {

// Limits that both sides know.
inline constexpr int64_t kMaxMemoryHeads = 256;
inline constexpr int64_t kMaxMemoryRows = 8192;  // of one write or read

// A worker has heads [first_head, first_head + num_heads). Tensors of its calls
// have these alone.
struct MemoryShare {
  MemorySpec spec;
  int64_t first_head = 0;
  int64_t num_heads = 0;
};

struct OpenMemoryRequest {
  std::string memory_id;
  MemoryShare share;
};

// One head's state, as SaveMemoryHead writes it.
struct ImportMemoryRequest {
  std::string memory_id;
  int64_t head = 0;
  int64_t num_tokens = 0;  // that the state must have
  std::string data;
};

struct WriteMemoryRequest {
  std::string memory_id;
  int64_t version = 0;       // of the state that is written to
  int64_t next_version = 0;  // of what comes of it; above all before it
  int64_t num_rows = 0;
  std::vector<float> keys;     // [num_rows][num_heads][head_dim]
  std::vector<float> values;   // likewise
  std::vector<float> queries;  // likewise, or empty: nothing is read
  std::vector<float> theta;    // [num_rows][num_heads]
  std::vector<float> eta;      // likewise
  std::vector<float> alpha;    // likewise
};

struct WriteMemoryResult {
  std::vector<float> outputs;   // [num_rows][num_heads][head_dim], or empty
  std::vector<float> surprise;  // [num_rows][num_heads]
};

// Back to where the open chunk began.
struct DropOpenRowsRequest {
  std::string memory_id;
  int64_t version = 0;  // both as of a write
  int64_t next_version = 0;
};

struct ReadMemoryRequest {
  std::string memory_id;
  int64_t version = 0;
  int64_t num_rows = 0;
  std::vector<float> queries;  // [num_rows][num_heads][head_dim]
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_MEMORY_PARTS_MEMORY_MESSAGES_H_
