// Sessions.Snapshot and Sessions.Restore.

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/status_macros.h"
#include "server/frontends/pooled_streams.h"
#include "server/frontends/rich_status.h"
#include "server/frontends/sessions_service.h"
#include "server/frontends/upload_stream.h"

namespace headwise {
namespace {

struct Restored {
  std::unique_ptr<PromptSnapshotReader> reader;
  std::optional<PromptSession> session;  // once the header has come
};

}  // namespace

absl::StatusOr<PromptSnapshot> SessionsService::Take(const std::string& tenant,
                                                     const std::string& id) {
  // A prefix is let go when the session becomes longer by another.
  for (uint64_t gone = 0;;) {
    HEADWISE_ASSIGN_OR_RETURN(const PromptSession session,
                              sessions_.Get(tenant, id));
    if (session.prefix_id == 0) {
      return absl::FailedPreconditionError("session_id: nothing of it has run");
    }
    if (session.prefix_id == gone) return sessions_.Forget(id);
    absl::StatusOr<std::vector<int32_t>> tokens =
        frontend_.engine.TokensOf(session.prefix_id);
    if (tokens.ok()) {
      return PromptSnapshot{.model_sha256 = frontend_.digest.Await(),
                            .plan = session.plan,
                            .tokens = *std::move(tokens)};
    }
    if (!absl::IsNotFound(tokens.status())) return tokens.status();
    gone = session.prefix_id;
  }
}

grpc::ServerWriteReactor<v1::PromptSnapshotPart>* SessionsService::Snapshot(
    grpc::CallbackServerContext* context,
    const v1::SnapshotPromptSessionRequest* request) {
  const PooledCalls::Entry entry =
      snapshots_.Enter("session_snapshot", *context);
  auto writer = std::make_shared<std::optional<PromptSnapshotWriter>>();
  OutStreamWork<v1::PromptSnapshotPart> work;
  work.next = [this, entry, writer, id = request->session_id()]()
      -> absl::StatusOr<std::optional<v1::PromptSnapshotPart>> {
    HEADWISE_RETURN_IF_ERROR(entry.status);
    if (!writer->has_value()) {
      HEADWISE_ASSIGN_OR_RETURN(PromptSnapshot snapshot,
                                Take(entry.caller.tenant, id));
      writer->emplace(std::move(snapshot));
    }
    return (*writer)->Next();
  };
  work.on_finish = snapshots_.EndOf(entry);
  return new OutStream<v1::PromptSnapshotPart>(
      snapshots_.pool(), entry.cancelled, std::move(work));
}

grpc::ServerReadReactor<v1::PromptSnapshotPart>* SessionsService::Restore(
    grpc::CallbackServerContext* context, v1::PromptSession* response) {
  const PooledCalls::Entry entry =
      snapshots_.Enter("session_restore", *context);
  auto restored = std::make_shared<Restored>();
  InStreamWork<v1::PromptSnapshotPart> work;
  work.on_message = [this, entry,
                     restored](v1::PromptSnapshotPart& part) -> absl::Status {
    HEADWISE_RETURN_IF_ERROR(entry.status);
    if (restored->reader == nullptr) {
      restored->reader =
          std::make_unique<PromptSnapshotReader>(PromptSnapshotReader::Terms{
              frontend_.digest.Await(), frontend_.model.tokenizer->vocab_size(),
              frontend_.plans});
    }
    HEADWISE_RETURN_IF_ERROR(restored->reader->Add(part));
    if (!part.has_header()) return absl::OkStatus();
    HEADWISE_ASSIGN_OR_RETURN(
        restored->session,
        sessions_.Open(entry.caller.tenant, restored->reader->plan(),
                       part.header().num_tokens()));
    return absl::OkStatus();
  };
  work.on_end = [this, entry, restored, response]() -> absl::Status {
    HEADWISE_RETURN_IF_ERROR(entry.status);
    if (restored->reader == nullptr)
      return InvalidField("part", "there is none");
    HEADWISE_ASSIGN_OR_RETURN(PromptSnapshot snapshot,
                              restored->reader->Finish());
    sessions_.Fill(*restored->session, std::move(snapshot.tokens));
    WritePromptSession(*restored->session, sessions_.Now(), response);
    return absl::OkStatus();
  };
  work.on_finish = [this, restored,
                    end = snapshots_.EndOf(entry)](const absl::Status& status) {
    // One that has not come whole is forgotten.
    if (restored->session.has_value()) sessions_.Return(*restored->session);
    end(status);
  };
  return new InStream<v1::PromptSnapshotPart>(snapshots_.pool(),
                                              entry.cancelled, std::move(work));
}

}  // namespace headwise
