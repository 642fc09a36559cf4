#include "server/scheduler/kv_ledger.h"

#include "base/check.h"

namespace headwise {

KvLedger::KvLedger(int64_t capacity_tokens)
    : capacity_tokens_(capacity_tokens / kKvBlockPositions *
                       kKvBlockPositions) {
  HEADWISE_CHECK(capacity_tokens >= 0);
}

int64_t KvLedger::RoundUp(int64_t tokens) {
  int64_t last;
  if (__builtin_add_overflow(tokens, kKvBlockPositions - 1, &last)) {
    last = tokens;
  }
  return last / kKvBlockPositions * kKvBlockPositions;
}

bool KvLedger::Reserve(uint64_t sequence_id, int64_t tokens) {
  const int64_t positions = RoundUp(tokens);
  if (positions > capacity_tokens_ - used_tokens_) return false;
  const bool is_new = reserved_.emplace(sequence_id, positions).second;
  HEADWISE_CHECK(is_new);
  used_tokens_ += positions;
  return true;
}

void KvLedger::Release(uint64_t sequence_id) {
  const auto found = reserved_.find(sequence_id);
  if (found == reserved_.end()) return;
  used_tokens_ -= found->second;
  reserved_.erase(found);
}

}  // namespace headwise
