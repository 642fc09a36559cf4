// How much of the cluster's KV is promised to whom.

#ifndef HEADWISE_SERVER_SCHEDULER_KV_LEDGER_H_
#define HEADWISE_SERVER_SCHEDULER_KV_LEDGER_H_

#include <cstdint>
#include <map>

namespace headwise {

// Counts in positions, rounded up to blocks as the caches hand them out. A
// sequence's full need is reserved before it runs, so a running one never
// lacks room. O(log sequences).
class KvLedger {
 public:
  // Positions in one block of the workers' caches.
  static constexpr int64_t kKvBlockPositions = 64;

  // `capacity_tokens` >= 0; what is short of a whole block is lost.
  explicit KvLedger(int64_t capacity_tokens);

  // Positions of the blocks that hold `tokens`; near 2^63 rounded down.
  static int64_t RoundUp(int64_t tokens);

  // False, and nothing changed, if the blocks for `tokens` are not free.
  bool Reserve(uint64_t sequence_id, int64_t tokens);
  // No effect if the sequence holds nothing.
  void Release(uint64_t sequence_id);

  int64_t capacity_tokens() const { return capacity_tokens_; }
  int64_t used_tokens() const { return used_tokens_; }

 private:
  int64_t capacity_tokens_;
  int64_t used_tokens_ = 0;
  std::map<uint64_t, int64_t> reserved_;  // sequence -> positions
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SCHEDULER_KV_LEDGER_H_
