#include "server/frontends/neural_memory_service.h"

#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "base/status_macros.h"
#include "server/frontends/neural_memory_wire.h"
#include "server/frontends/rich_status.h"
#include "server/neural_memory/memory_snapshot.h"

namespace headwise {

grpc::ServerUnaryReactor* NeuralMemoryService::Create(
    grpc::CallbackServerContext* context,
    const v1::CreateMemoryRequest* request, v1::Memory* response) {
  return calls_.Run(
      "memory_create", context,
      [this, request, response](const Caller& caller) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const std::optional<ModelMemory> of_model,
                                  ParseModelMemory(*request, model_));
        HEADWISE_ASSIGN_OR_RETURN(
            const MemoryConfig config,
            ParseNewMemoryConfig(request->config(), of_model));
        HEADWISE_ASSIGN_OR_RETURN(
            const MemoryInfo info,
            memories_.Create(caller, config, StartOf(*request, of_model),
                             request->session_id()));
        WriteMemory(info, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* NeuralMemoryService::Write(
    grpc::CallbackServerContext* context, const v1::WriteMemoryRequest* request,
    v1::WriteMemoryResponse* response) {
  return calls_.Run(
      "memory_write", context,
      [this, request, response](const Caller& caller) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const MemoryWriteOutcome outcome,
                                  memories_.Write(caller, request->memory_id(),
                                                  ParseMemoryWrite(*request)));
        WriteOutcome(outcome, request->return_surprise(), response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* NeuralMemoryService::DropOpenTokens(
    grpc::CallbackServerContext* context,
    const v1::DropOpenTokensRequest* request,
    v1::DropOpenTokensResponse* response) {
  return calls_.Run(
      "memory_drop", context,
      [this, request, response](const Caller& caller) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(
            const MemoryDropOutcome outcome,
            memories_.DropOpenTokens(caller, request->memory_id()));
        response->set_num_tokens(outcome.num_tokens);
        response->set_num_dropped(outcome.num_dropped);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* NeuralMemoryService::Read(
    grpc::CallbackServerContext* context, const v1::ReadMemoryRequest* request,
    v1::ReadMemoryResponse* response) {
  return calls_.Run(
      "memory_read", context,
      [this, request, response](const Caller& caller) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(
            const MemoryReadAnswer answer,
            memories_.Read(caller, request->memory_id(), request->queries()));
        response->set_outputs(FloatsToBytes(answer.outputs));
        response->set_num_tokens(answer.num_tokens);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* NeuralMemoryService::SetFrozen(
    const char* api, grpc::CallbackServerContext* context,
    const v1::FreezeMemoryRequest* request, bool frozen, v1::Memory* response) {
  return calls_.Run(
      api, context,
      [this, request, frozen, response](const Caller& caller) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(
            const MemoryInfo info,
            memories_.SetFrozen(caller, request->memory_id(), frozen));
        WriteMemory(info, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* NeuralMemoryService::Freeze(
    grpc::CallbackServerContext* context,
    const v1::FreezeMemoryRequest* request, v1::Memory* response) {
  return SetFrozen("memory_freeze", context, request, true, response);
}

grpc::ServerUnaryReactor* NeuralMemoryService::Unfreeze(
    grpc::CallbackServerContext* context,
    const v1::FreezeMemoryRequest* request, v1::Memory* response) {
  return SetFrozen("memory_unfreeze", context, request, false, response);
}

grpc::ServerUnaryReactor* NeuralMemoryService::Fork(
    grpc::CallbackServerContext* context, const v1::ForkMemoryRequest* request,
    v1::Memory* response) {
  return calls_.Run(
      "memory_fork", context,
      [this, request, response](const Caller& caller) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const MemoryInfo info,
                                  memories_.Fork(caller, request->memory_id(),
                                                 request->session_id()));
        WriteMemory(info, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* NeuralMemoryService::GetMemory(
    grpc::CallbackServerContext* context, const v1::GetMemoryRequest* request,
    v1::Memory* response) {
  return calls_.Run(
      "memory_get", context,
      [this, request, response](const Caller& caller) -> absl::Status {
        HEADWISE_ASSIGN_OR_RETURN(const MemoryInfo info,
                                  memories_.Get(caller, request->memory_id()));
        WriteMemory(info, response);
        return absl::OkStatus();
      });
}

grpc::ServerUnaryReactor* NeuralMemoryService::ListMemories(
    grpc::CallbackServerContext* context,
    const v1::ListMemoriesRequest* request,
    v1::ListMemoriesResponse* response) {
  return calls_.Run("memory_list", context,
                    [this, response](const Caller& caller) {
                      for (const MemoryInfo& info : memories_.List(caller)) {
                        WriteMemory(info, response->add_memories());
                      }
                      return absl::OkStatus();
                    });
}

grpc::ServerUnaryReactor* NeuralMemoryService::Delete(
    grpc::CallbackServerContext* context,
    const v1::DeleteMemoryRequest* request,
    v1::DeleteMemoryResponse* response) {
  return calls_.Run("memory_delete", context,
                    [this, request](const Caller& caller) {
                      return memories_.Delete(caller, request->memory_id());
                    });
}

grpc::ServerWriteReactor<v1::MemorySnapshotPart>* NeuralMemoryService::Snapshot(
    grpc::CallbackServerContext* context,
    const v1::SnapshotMemoryRequest* request) {
  PooledCalls::Entry entry = calls_.Enter("memory_snapshot", *context);
  auto reader = std::make_shared<std::unique_ptr<MemorySnapshotReader>>();
  OutStreamWork<v1::MemorySnapshotPart> work;
  work.next = [this, entry, reader, memory_id = request->memory_id()]()
      -> absl::StatusOr<std::optional<v1::MemorySnapshotPart>> {
    HEADWISE_RETURN_IF_ERROR(entry.status);
    v1::MemorySnapshotPart part;
    if (*reader == nullptr) {
      HEADWISE_ASSIGN_OR_RETURN(
          *reader,
          MemorySnapshotReader::Open(memories_, entry.caller, memory_id));
      WriteSnapshotHeader(
          {(*reader)->config(), (*reader)->num_tokens(), (*reader)->frozen()},
          part.mutable_header());
      return part;
    }
    HEADWISE_ASSIGN_OR_RETURN(std::optional<MemoryPiece> piece,
                              (*reader)->Next());
    if (!piece.has_value()) return std::nullopt;
    WritePiece(*std::move(piece), part.mutable_piece());
    return part;
  };
  work.on_finish = calls_.EndOf(entry);
  return new OutStream<v1::MemorySnapshotPart>(calls_.pool(), entry.cancelled,
                                               std::move(work));
}

grpc::ServerReadReactor<v1::MemorySnapshotPart>* NeuralMemoryService::Restore(
    grpc::CallbackServerContext* context, v1::Memory* response) {
  PooledCalls::Entry entry = calls_.Enter("memory_restore", *context);
  auto writer = std::make_shared<std::unique_ptr<MemorySnapshotWriter>>();
  InStreamWork<v1::MemorySnapshotPart> work;
  work.on_message = [this, entry,
                     writer](v1::MemorySnapshotPart& part) -> absl::Status {
    HEADWISE_RETURN_IF_ERROR(entry.status);
    if (part.has_header() != (*writer == nullptr) ||
        part.has_piece() == part.has_header()) {
      return InvalidField("part", "a header must come first, then pieces only");
    }
    if (part.has_piece()) {
      return (*writer)->Add(ParsePiece(*part.mutable_piece()));
    }
    HEADWISE_ASSIGN_OR_RETURN(const MemorySnapshotInfo info,
                              ParseSnapshotHeader(part.header()));
    HEADWISE_ASSIGN_OR_RETURN(
        *writer, MemorySnapshotWriter::Open(
                     memories_, entry.caller, info.config, info.num_tokens,
                     info.frozen, part.header().session_id()));
    return absl::OkStatus();
  };
  work.on_end = [entry, writer, response]() -> absl::Status {
    HEADWISE_RETURN_IF_ERROR(entry.status);
    if (*writer == nullptr) return InvalidField("part", "there is none");
    HEADWISE_ASSIGN_OR_RETURN(const MemoryInfo info, (*writer)->Finish());
    WriteMemory(info, response);
    return absl::OkStatus();
  };
  work.on_finish = calls_.EndOf(entry);
  return new InStream<v1::MemorySnapshotPart>(calls_.pool(), entry.cancelled,
                                              std::move(work));
}

}  // namespace headwise
