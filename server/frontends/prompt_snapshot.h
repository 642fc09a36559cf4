// A prompt session as messages, and back.

#ifndef HEADWISE_SERVER_FRONTENDS_PROMPT_SNAPSHOT_H_
#define HEADWISE_SERVER_FRONTENDS_PROMPT_SNAPSHOT_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "base/sha256.h"
#include "headwise/v1/sessions.pb.h"
#include "server/frontends/plan_store.h"

namespace headwise {

inline constexpr int64_t kPromptSnapshotFormat = 1;
inline constexpr int64_t kSnapshotRunTokens = 65'536;  // of one message

// What a session is.
struct PromptSnapshot {
  std::string model_sha256;  // hexadecimal
  StoredPlan plan;
  std::vector<int32_t> tokens;  // 1 or more
};

// Not thread-safe.
class PromptSnapshotWriter {
 public:
  explicit PromptSnapshotWriter(PromptSnapshot snapshot)
      : snapshot_(std::move(snapshot)) {}

  // The next message; nothing after the last one.
  std::optional<v1::PromptSnapshotPart> Next();

 private:
  const PromptSnapshot snapshot_;
  int64_t offset_ = -1;  // of the next run; -1: the header is next
  Sha256Digest hash_ = {};
};

// Not thread-safe.
class PromptSnapshotReader {
 public:
  // Of the server that reads; `plans` must outlive it.
  struct Terms {
    std::string model_sha256;
    int64_t vocab_size = 0;
    const PlanStore& plans;
  };
  explicit PromptSnapshotReader(Terms terms) : terms_(std::move(terms)) {}

  // InvalidArgument names a field, FailedPrecondition another model or format
  // with both; DataLoss names the run of tokens that was changed; OutOfRange:
  // more tokens than fit into the context of its plan. Nothing is allocated for
  // tokens that have not come.
  absl::Status Add(const v1::PromptSnapshotPart& part);
  // Of the header, which must have come.
  const StoredPlan& plan() const { return snapshot_->plan; }
  // After the last message. DataLoss if tokens are missing.
  absl::StatusOr<PromptSnapshot> Finish();

 private:
  absl::Status AddHeader(const v1::PromptSnapshotHeader& header);
  absl::Status AddTokens(const v1::PromptSnapshotTokens& run);

  const Terms terms_;
  std::optional<PromptSnapshot> snapshot_;  // once the header has come
  int64_t num_tokens_ = 0;                  // that it tells
  Sha256Digest hash_ = {};                  // of what has come
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_PROMPT_SNAPSHOT_H_
