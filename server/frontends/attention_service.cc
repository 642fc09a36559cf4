#include "server/frontends/attention_service.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/attention/session_snapshot.h"
#include "server/frontends/attention_wire.h"
#include "server/frontends/rich_status.h"

namespace headwise {

grpc::ServerUnaryReactor* AttentionService::Open(
    grpc::CallbackServerContext* context, const v1::OpenSessionRequest* request,
    v1::AttentionSession* response) {
  return calls_.Run(
      "attention_open", context,
      [this, request, response](const Caller& caller) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const AttentionConfig config,
                                  ParseOpenSession(*request));
        HEADWISE_ASSIGN_OR_RETURN(const SessionInfo info,
                                  sessions_.Open(caller, config));
        WriteSession(info, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AttentionService::Attend(
    grpc::CallbackServerContext* context, const v1::AttendRequest* request,
    v1::AttendResponse* response) {
  return calls_.Run(
      "attention_attend", context,
      [this, request, response](const Caller& caller) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const AttendQuery query,
                                  ParseAttend(*request));
        HEADWISE_ASSIGN_OR_RETURN(
            AttendAnswer answer,
            sessions_.Attend(caller, request->session_id(), query));
        WriteAnswer(std::move(answer), response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AttentionService::Fork(
    grpc::CallbackServerContext* context, const v1::ForkSessionRequest* request,
    v1::AttentionSession* response) {
  return calls_.Run(
      "attention_fork", context,
      [this, request, response](const Caller& caller) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(
            const SessionInfo info,
            sessions_.Fork(caller, request->session_id()));
        WriteSession(info, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AttentionService::GetSession(
    grpc::CallbackServerContext* context, const v1::GetSessionRequest* request,
    v1::AttentionSession* response) {
  return calls_.Run(
      "attention_get", context,
      [this, request, response](const Caller& caller) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const SessionInfo info,
                                  sessions_.Get(caller, request->session_id()));
        WriteSession(info, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* AttentionService::ListSessions(
    grpc::CallbackServerContext* context,
    const v1::ListSessionsRequest* request,
    v1::ListSessionsResponse* response) {
  return calls_.Run("attention_list", context,
                    [this, response](const Caller& caller) {
                      for (const SessionInfo& info : sessions_.List(caller)) {
                        WriteSession(info, response->add_sessions());
                      }
                      return absl::OkStatus();
                    });
}

grpc::ServerUnaryReactor* AttentionService::Delete(
    grpc::CallbackServerContext* context,
    const v1::DeleteSessionRequest* request,
    v1::DeleteSessionResponse* response) {
  return calls_.Run("attention_delete", context,
                    [this, request](const Caller& caller) {
                      return sessions_.Delete(caller, request->session_id());
                    });
}

grpc::ServerReadReactor<v1::AppendRequest>* AttentionService::Append(
    grpc::CallbackServerContext* context, v1::AppendResponse* response) {
  PooledCalls::Entry entry = calls_.Enter("attention_append", *context);
  InStreamWork<v1::AppendRequest> work;
  work.on_message = [this, entry, response, session_id = std::string()](
                        v1::AppendRequest& request) mutable -> absl::Status {
    HEADWISE_RETURN_IF_ERROR(entry.status);
    if (!request.session_id().empty()) {
      if (!session_id.empty() && session_id != request.session_id()) {
        return InvalidField("session_id", "a stream is for one session");
      }
      session_id = request.session_id();
    }
    const Chunk chunk = {request.offset(), request.keys(), request.values(),
                         request.sha256()};
    HEADWISE_ASSIGN_OR_RETURN(
        const AppendOutcome outcome,
        sessions_.Append(entry.caller, session_id, chunk));
    response->set_stored_positions(outcome.stored_positions);
    if (outcome.was_stored) {
      response->set_repeated_chunks(response->repeated_chunks() + 1);
    }
    return absl::OkStatus();
  };
  work.on_end = [] { return absl::OkStatus(); };
  work.on_finish = calls_.EndOf(entry);
  return new InStream<v1::AppendRequest>(calls_.pool(), entry.cancelled,
                                         std::move(work));
}

grpc::ServerWriteReactor<v1::SnapshotPart>* AttentionService::Snapshot(
    grpc::CallbackServerContext* context, const v1::SnapshotRequest* request) {
  PooledCalls::Entry entry = calls_.Enter("attention_snapshot", *context);
  auto reader = std::make_shared<std::unique_ptr<SnapshotReader>>();
  OutStreamWork<v1::SnapshotPart> work;
  work.next = [this, entry, reader, session_id = request->session_id()]()
      -> absl::StatusOr<std::optional<v1::SnapshotPart>> {
    HEADWISE_RETURN_IF_ERROR(entry.status);
    v1::SnapshotPart part;
    if (*reader == nullptr) {
      HEADWISE_ASSIGN_OR_RETURN(
          *reader, SnapshotReader::Open(sessions_, entry.caller, session_id));
      v1::SnapshotHeader* header = part.mutable_header();
      header->set_format(kSnapshotFormat);
      WriteConfig((*reader)->config(), header->mutable_config());
      header->set_stored_positions((*reader)->stored_positions());
      return part;
    }
    HEADWISE_ASSIGN_OR_RETURN(std::optional<SnapshotBlock> block,
                              (*reader)->Next());
    if (!block.has_value()) return std::nullopt;
    WriteBlocks(*std::move(block), part.mutable_blocks());
    return part;
  };
  work.on_finish = calls_.EndOf(entry);
  return new OutStream<v1::SnapshotPart>(calls_.pool(), entry.cancelled,
                                         std::move(work));
}

grpc::ServerReadReactor<v1::SnapshotPart>* AttentionService::Restore(
    grpc::CallbackServerContext* context, v1::AttentionSession* response) {
  PooledCalls::Entry entry = calls_.Enter("attention_restore", *context);
  auto writer = std::make_shared<std::unique_ptr<SnapshotWriter>>();
  InStreamWork<v1::SnapshotPart> work;
  work.on_message = [this, entry,
                     writer](v1::SnapshotPart& part) -> absl::Status {
    HEADWISE_RETURN_IF_ERROR(entry.status);
    if (part.has_header() != (*writer == nullptr) ||
        part.has_blocks() == part.has_header()) {
      return InvalidField("part", "a header must come first, then blocks only");
    }
    if (part.has_blocks()) return (*writer)->Add(ParseBlocks(part.blocks()));
    if (part.header().format() != kSnapshotFormat) {
      return InvalidField(
          "header.format",
          absl::StrCat(part.header().format(), ", must be ", kSnapshotFormat));
    }
    HEADWISE_ASSIGN_OR_RETURN(const AttentionConfig config,
                              ParseOpenSession(part.header().config()));
    HEADWISE_ASSIGN_OR_RETURN(
        *writer, SnapshotWriter::Open(sessions_, entry.caller, config,
                                      part.header().stored_positions()));
    return absl::OkStatus();
  };
  work.on_end = [entry, writer, response]() -> absl::Status {
    HEADWISE_RETURN_IF_ERROR(entry.status);
    if (*writer == nullptr) return InvalidField("part", "there is none");
    HEADWISE_ASSIGN_OR_RETURN(const SessionInfo info, (*writer)->Finish());
    WriteSession(info, response);
    return absl::OkStatus();
  };
  work.on_finish = calls_.EndOf(entry);
  return new InStream<v1::SnapshotPart>(calls_.pool(), entry.cancelled,
                                        std::move(work));
}

}  // namespace headwise
