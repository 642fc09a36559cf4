#include "server/attention/local_attention_link.h"

#include <utility>

#include "server/leases/local_call.h"

namespace headwise {

void LocalAttentionLink::Open(OpenPartRequest request, absl::Duration timeout,
                              Done<int64_t> done) {
  CallStore<int64_t, SessionStore>(
      node_, std::move(done),
      [request = std::move(request)](SessionStore& store) {
        return store.Open(request);
      });
}

void LocalAttentionLink::Stage(StageRequest request, absl::Duration timeout,
                               Done<Nothing> done) {
  CallStore<Nothing, SessionStore>(
      node_, std::move(done),
      [request = std::move(request)](SessionStore& store) {
        return NothingOr(store.Stage(request));
      });
}

void LocalAttentionLink::Attend(AttendPartRequest request,
                                absl::Duration timeout,
                                Done<AttendPartResult> done) {
  CallStore<AttendPartResult, SessionStore>(
      node_, std::move(done),
      [request = std::move(request)](SessionStore& store) {
        return store.Attend(request);
      });
}

void LocalAttentionLink::Probe(ProbePartRequest request, absl::Duration timeout,
                               Done<ProbePartResult> done) {
  CallStore<ProbePartResult, SessionStore>(
      node_, std::move(done),
      [request = std::move(request)](SessionStore& store) {
        return store.Probe(request);
      });
}

void LocalAttentionLink::Fork(const std::string& session_id,
                              const std::string& fork_id, int64_t length,
                              absl::Duration timeout, Done<int64_t> done) {
  CallStore<int64_t, SessionStore>(
      node_, std::move(done),
      [session_id, fork_id, length](SessionStore& store) {
        return store.Fork(session_id, fork_id, length);
      });
}

void LocalAttentionLink::Export(const std::string& session_id,
                                const BlockRun& run, int64_t length,
                                absl::Duration timeout,
                                Done<std::string> done) {
  CallStore<std::string, SessionStore>(
      node_, std::move(done), [session_id, run, length](SessionStore& store) {
        return store.Export(session_id, run, length);
      });
}

void LocalAttentionLink::Import(const std::string& session_id,
                                const BlockRun& run, std::string data,
                                absl::Duration timeout, Done<Nothing> done) {
  CallStore<Nothing, SessionStore>(
      node_, std::move(done),
      [session_id, run, data = std::move(data)](SessionStore& store) {
        return NothingOr(store.Import(session_id, run, data));
      });
}

void LocalAttentionLink::Delete(const std::string& session_id,
                                absl::Duration timeout, Done<Nothing> done) {
  CallStore<Nothing, SessionStore>(node_, std::move(done),
                                   [session_id](SessionStore& store) {
                                     return NothingOr(store.Delete(session_id));
                                   });
}

void LocalAttentionLink::Renew(std::vector<std::string> session_ids,
                               absl::Duration timeout,
                               Done<std::vector<std::string>> done) {
  CallStore<std::vector<std::string>, SessionStore>(
      node_, std::move(done),
      [ids = std::move(session_ids)](
          SessionStore& store) -> absl::StatusOr<std::vector<std::string>> {
        return store.Renew(ids);
      });
}

}  // namespace headwise
