// A neural memory as its heads' bytes, out of one cluster and into another.

#ifndef HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_SNAPSHOT_H_
#define HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_SNAPSHOT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/statusor.h"
#include "server/neural_memory/memory_types.h"
#include "server/neural_memory/neural_memories.h"

namespace headwise {

// A part of one head's bytes, as SaveMemoryHead makes them.
struct MemoryPiece {
  int64_t head = 0;
  int64_t offset = 0;      // bytes
  int64_t head_bytes = 0;  // of all pieces of the head
  std::string data;
};
inline constexpr int64_t kMaxMemoryPieceBytes = 4 << 20;

// Not thread-safe. The memory can't be written while it lives.
class MemorySnapshotReader {
 public:
  // `memories` must outlive it.
  static absl::StatusOr<std::unique_ptr<MemorySnapshotReader>> Open(
      NeuralMemories& memories, const Caller& caller,
      const std::string& memory_id);

  const MemoryConfig& config() const { return memory_->config(); }
  int64_t num_tokens() const { return state_.num_tokens; }
  bool frozen() const { return memory_->frozen(); }
  // By head, then offset; nullopt after the last one.
  absl::StatusOr<std::optional<MemoryPiece>> Next();

 private:
  MemorySnapshotReader(NeuralMemories& memories, const Caller& caller,
                       MemoryUse memory, MemoryChange change);
  // The bytes of the head at which we are.
  absl::StatusOr<std::string> Export() const;

  const NeuralMemories& memories_;
  const Caller caller_;
  const MemoryUse memory_;
  const MemoryChange change_;
  const MemoryState state_;
  int64_t head_ = 0;
  std::string bytes_;  // of head_; empty: yet to come
  int64_t offset_ = 0;
};

// Not thread-safe. What is not finished leaves nothing behind.
class MemorySnapshotWriter {
 public:
  // `memories` must outlive it. Errors as NeuralMemories::Create.
  static absl::StatusOr<std::unique_ptr<MemorySnapshotWriter>> Open(
      NeuralMemories& memories, const Caller& caller,
      const MemoryConfig& config, int64_t num_tokens, bool frozen,
      const std::string& session_id);
  ~MemorySnapshotWriter();

  // InvalidArgument for a piece that is not the next one; DataLoss for a head
  // that was changed; FailedPrecondition for one of another spec.
  absl::Status Add(const MemoryPiece& piece);
  // DataLoss if heads are missing.
  absl::StatusOr<MemoryInfo> Finish();

 private:
  MemorySnapshotWriter(NeuralMemories& memories, const Caller& caller,
                       std::shared_ptr<NeuralMemory> memory, int64_t num_tokens,
                       bool frozen);

  NeuralMemories& memories_;
  const Caller caller_;
  const std::shared_ptr<NeuralMemory> memory_;
  // It is not idle while it is being restored.
  const LeaseUse<NeuralMemory> in_use_;
  const int64_t num_tokens_;
  const bool frozen_;
  int64_t head_ = 0;        // that must come next
  int64_t head_bytes_ = 0;  // of it, as its first piece says
  std::string bytes_;       // that have come of it
  bool published_ = false;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_NEURAL_MEMORY_MEMORY_SNAPSHOT_H_
