// One worker's sessions as the coordinator sees them, whatever lies between.

#ifndef HEADWISE_SERVER_ATTENTION_ATTENTION_LINK_H_
#define HEADWISE_SERVER_ATTENTION_ATTENTION_LINK_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "worker/sessions/session_messages.h"

namespace headwise {

template <typename T>
using Done = std::function<void(absl::StatusOr<T>)>;

// What a call answers that has nothing to say.
struct Nothing {};

// Thread-safe. Every `done` is called exactly once, within the timeout or soon
// after, perhaps from within the call; it must not block. The errors are those
// of SessionStore; Unavailable or DeadlineExceeded if the worker does not
// answer.
class AttentionLink {
 public:
  virtual ~AttentionLink() = default;

  virtual void Open(OpenPartRequest request, absl::Duration timeout,
                    Done<int64_t> done) = 0;
  virtual void Stage(StageRequest request, absl::Duration timeout,
                     Done<Nothing> done) = 0;
  virtual void Attend(AttendPartRequest request, absl::Duration timeout,
                      Done<AttendPartResult> done) = 0;
  virtual void Probe(ProbePartRequest request, absl::Duration timeout,
                     Done<ProbePartResult> done) = 0;
  virtual void Fork(const std::string& session_id, const std::string& fork_id,
                    int64_t length, absl::Duration timeout,
                    Done<int64_t> done) = 0;
  virtual void Export(const std::string& session_id, const BlockRun& run,
                      int64_t length, absl::Duration timeout,
                      Done<std::string> done) = 0;
  virtual void Import(const std::string& session_id, const BlockRun& run,
                      std::string data, absl::Duration timeout,
                      Done<Nothing> done) = 0;
  virtual void Delete(const std::string& session_id, absl::Duration timeout,
                      Done<Nothing> done) = 0;
  // Answers those that the worker does not have.
  virtual void Renew(std::vector<std::string> session_ids,
                     absl::Duration timeout,
                     Done<std::vector<std::string>> done) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_ATTENTION_LINK_H_
