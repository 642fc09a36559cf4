// One worker's sessions as the coordinator sees them, whatever lies between.

#ifndef HEADWISE_SERVER_ATTENTION_ATTENTION_LINK_H_
#define HEADWISE_SERVER_ATTENTION_ATTENTION_LINK_H_

#include <cstdint>
#include <string>

#include "absl/time/time.h"
#include "server/leases/lease_link.h"
#include "worker/sessions/session_messages.h"

namespace headwise {

// As LeaseLink. The errors are those of SessionStore as well.
class AttentionLink : public LeaseLink {
 public:
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
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_ATTENTION_LINK_H_
