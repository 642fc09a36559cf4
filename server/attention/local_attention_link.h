// AttentionLink to sessions of this process.

#ifndef HEADWISE_SERVER_ATTENTION_LOCAL_ATTENTION_LINK_H_
#define HEADWISE_SERVER_ATTENTION_LOCAL_ATTENTION_LINK_H_

#include <string>
#include <vector>

#include "server/attention/attention_link.h"
#include "worker/sessions/session_node.h"

namespace headwise {

// `node` must outlive the link. Timeouts are not watched: nobody is remote.
class LocalAttentionLink final : public AttentionLink {
 public:
  explicit LocalAttentionLink(SessionNode& node) : node_(node) {}

  void Open(OpenPartRequest request, absl::Duration timeout,
            Done<int64_t> done) override;
  void Stage(StageRequest request, absl::Duration timeout,
             Done<Nothing> done) override;
  void Attend(AttendPartRequest request, absl::Duration timeout,
              Done<AttendPartResult> done) override;
  void Probe(ProbePartRequest request, absl::Duration timeout,
             Done<ProbePartResult> done) override;
  void Fork(const std::string& session_id, const std::string& fork_id,
            int64_t length, absl::Duration timeout,
            Done<int64_t> done) override;
  void Export(const std::string& session_id, const BlockRun& run,
              int64_t length, absl::Duration timeout,
              Done<std::string> done) override;
  void Import(const std::string& session_id, const BlockRun& run,
              std::string data, absl::Duration timeout,
              Done<Nothing> done) override;
  void Delete(const std::string& session_id, absl::Duration timeout,
              Done<Nothing> done) override;
  void Renew(std::vector<std::string> session_ids, absl::Duration timeout,
             Done<std::vector<std::string>> done) override;

 private:
  SessionNode& node_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_LOCAL_ATTENTION_LINK_H_
