#include "server/attention/local_attention_link.h"

#include <utility>

namespace headwise {
namespace {

absl::StatusOr<Nothing> NothingOr(const absl::Status& status) {
  if (!status.ok()) return status;
  return Nothing{};
}

// Runs `call` on the node's thread and hands its answer on.
template <typename T, typename Call>
void Submit(SessionNode& node, Done<T> done, Call call) {
  const absl::Status submitted =
      node.Submit([done, call = std::move(call)](SessionStore& store) mutable {
        done(call(store));
      });
  if (!submitted.ok()) done(submitted);
}

}  // namespace

void LocalAttentionLink::Open(OpenPartRequest request, absl::Duration timeout,
                              Done<int64_t> done) {
  Submit<int64_t>(node_, std::move(done),
                  [request = std::move(request)](SessionStore& store) {
                    return store.Open(request);
                  });
}

void LocalAttentionLink::Stage(StageRequest request, absl::Duration timeout,
                               Done<Nothing> done) {
  Submit<Nothing>(node_, std::move(done),
                  [request = std::move(request)](SessionStore& store) {
                    return NothingOr(store.Stage(request));
                  });
}

void LocalAttentionLink::Attend(AttendPartRequest request,
                                absl::Duration timeout,
                                Done<AttendPartResult> done) {
  Submit<AttendPartResult>(node_, std::move(done),
                           [request = std::move(request)](SessionStore& store) {
                             return store.Attend(request);
                           });
}

void LocalAttentionLink::Probe(ProbePartRequest request, absl::Duration timeout,
                               Done<ProbePartResult> done) {
  Submit<ProbePartResult>(node_, std::move(done),
                          [request = std::move(request)](SessionStore& store) {
                            return store.Probe(request);
                          });
}

void LocalAttentionLink::Fork(const std::string& session_id,
                              const std::string& fork_id, int64_t length,
                              absl::Duration timeout, Done<int64_t> done) {
  Submit<int64_t>(node_, std::move(done),
                  [session_id, fork_id, length](SessionStore& store) {
                    return store.Fork(session_id, fork_id, length);
                  });
}

void LocalAttentionLink::Export(const std::string& session_id,
                                const BlockRun& run, int64_t length,
                                absl::Duration timeout,
                                Done<std::string> done) {
  Submit<std::string>(node_, std::move(done),
                      [session_id, run, length](SessionStore& store) {
                        return store.Export(session_id, run, length);
                      });
}

void LocalAttentionLink::Import(const std::string& session_id,
                                const BlockRun& run, std::string data,
                                absl::Duration timeout, Done<Nothing> done) {
  Submit<Nothing>(
      node_, std::move(done),
      [session_id, run, data = std::move(data)](SessionStore& store) {
        return NothingOr(store.Import(session_id, run, data));
      });
}

void LocalAttentionLink::Delete(const std::string& session_id,
                                absl::Duration timeout, Done<Nothing> done) {
  Submit<Nothing>(node_, std::move(done), [session_id](SessionStore& store) {
    return NothingOr(store.Delete(session_id));
  });
}

void LocalAttentionLink::Renew(std::vector<std::string> session_ids,
                               absl::Duration timeout,
                               Done<std::vector<std::string>> done) {
  Submit<std::vector<std::string>>(
      node_, std::move(done),
      [ids = std::move(session_ids)](
          SessionStore& store) -> absl::StatusOr<std::vector<std::string>> {
        return store.Renew(ids);
      });
}

}  // namespace headwise
