// What `headwise bench memory` compares: things that take keys and values in
// order and answer a key with a value.

#ifndef HEADWISE_CLIENT_CLI_BENCH_MEMORY_CONTENDERS_H_
#define HEADWISE_CLIENT_CLI_BENCH_MEMORY_CONTENDERS_H_

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "worker/backends/cpu/aligned_buffer.h"
#include "worker/backends/cpu/kernels.h"
#include "worker/backends/cpu/memory_kernels.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {

// Of one head. Not thread-safe. The bits of what is read do not depend on how
// rows were dealt to calls.
class MemoryContender {
 public:
  virtual ~MemoryContender() = default;
  // Rows in order; theirs are keys, values and gates.
  virtual absl::Status Write(const MemoryRows& rows) = 0;
  // queries, out [num_queries][head_dim], contiguous.
  virtual void Read(const float* queries, int64_t num_queries, float* out) = 0;
  virtual int64_t state_bytes() const = 0;
};

class HeadContender final : public MemoryContender {
 public:
  HeadContender(MemoryHead head, const MemoryKernels& kernels)
      : head_(std::move(head)), kernels_(kernels) {}

  absl::Status Write(const MemoryRows& rows) override {
    return head_.Write(rows, kernels_, scratch_);
  }
  void Read(const float* queries, int64_t num_queries, float* out) override {
    head_.Read(queries, num_queries, head_.spec().head_dim, out, kernels_,
               scratch_);
  }
  int64_t state_bytes() const override { return head_.state_bytes(); }

 private:
  MemoryHead head_;
  const MemoryKernels& kernels_;
  MemoryScratch scratch_;
};

// Attention over the keys and values themselves, in blocks of 64 positions and
// with the kernels that serve requests. Gates mean nothing to it.
class AttentionContender final : public MemoryContender {
 public:
  // window: the last positions, which a query sees; 0: all.
  AttentionContender(const KvLayout& layout, int64_t window,
                     const Kernels& kernels)
      : layout_(layout), window_(window), kernels_(kernels) {}

  absl::Status Write(const MemoryRows& rows) override;
  void Read(const float* queries, int64_t num_queries, float* out) override;
  int64_t state_bytes() const override {
    return num_held_ * layout_.block_bytes();
  }

 private:
  int64_t WindowBegin() const {
    return window_ == 0 || window_ > length_ ? 0 : length_ - window_;
  }

  const KvLayout layout_;
  const int64_t window_;
  const Kernels& kernels_;
  int64_t length_ = 0;    // positions
  int64_t num_held_ = 0;  // blocks
  // By position; empty and null where they were dropped.
  std::vector<AlignedBuffer<uint8_t>> blocks_;
  std::vector<const uint8_t*> pointers_;
};

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_BENCH_MEMORY_CONTENDERS_H_
