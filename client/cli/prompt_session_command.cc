#include <atomic>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <memory>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <variant>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/cli/commands.h"
#include "client/cli/event_printer.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/progress_bar.h"
#include "client/cli/session.h"
#include "client/cli/snapshot_file.h"
#include "client/cli/text_pieces.h"

namespace headwise {
namespace {

using Json = nlohmann::ordered_json;

struct PromptSessionFlags {
  ClusterFlags cluster;  // server, timeout, tenant; open: plan
  std::string session_id;
  TextFlags text;              // open, upload; ask: the prompt
  std::string priority;        // ask
  GenerationFlags generation;  // ask
  std::string file;            // snapshot, restore
  bool json = false;
  bool verbose = false;
};
constexpr absl::string_view kSnapshotFirstLine = "headwise session snapshot 1";
using Run = absl::Status (*)(const PromptSessionFlags& flags, Session& server);

const char* StateName(v1::PromptSessionState state) {
  switch (state) {
    case v1::PROMPT_SESSION_STATE_READY:
      return "ready";
    case v1::PROMPT_SESSION_STATE_BUSY:
      return "busy";
    case v1::PROMPT_SESSION_STATE_PARKED:
      return "parked";
    default:
      return "unknown";
  }
}

Json ToJson(const v1::PromptSession& session) {
  return {{"session_id", session.session_id()},
          {"num_tokens", session.num_tokens()},
          {"plan", session.plan()},
          {"state", StateName(session.state())},
          {"idle_seconds", session.idle_seconds()}};
}

void PrintHeadline() {
  absl::PrintF("%-32s  %9s  %-7s  %7s  %s\n", "session", "tokens", "state",
               "idle", "plan");
}

void PrintRow(const v1::PromptSession& session) {
  absl::PrintF("%-32s  %9d  %-7s  %5.0f s  %s\n", session.session_id(),
               session.num_tokens(), StateName(session.state()),
               session.idle_seconds(), session.plan().substr(0, 16));
}

absl::Status Print(const PromptSessionFlags& flags,
                   const absl::StatusOr<v1::PromptSession>& session) {
  if (!session.ok()) return session.status();
  if (flags.json) {
    PrintJsonLine(ToJson(*session));
  } else {
    PrintHeadline();
    PrintRow(*session);
  }
  return absl::OkStatus();
}

// A text on its way to the server, and how far it is.
class UploadSource {
 public:
  // Opens the file, or standard input; NotFound names it.
  absl::Status Open(const TextFlags& text) {
    if (text.file == "-") {
      in_ = &std::cin;
      return absl::OkStatus();
    }
    if (text.file.empty()) {
      total_bytes_ = static_cast<int64_t>(text.text.size());
      in_ = &own_.emplace<std::istringstream>(text.text);
      return absl::OkStatus();
    }
    auto& file = own_.emplace<std::ifstream>(text.file, std::ios::binary);
    if (!file) {
      return absl::NotFoundError(absl::StrCat("cannot read ", text.file));
    }
    std::error_code error;
    const auto size = std::filesystem::file_size(text.file, error);
    if (!error) total_bytes_ = static_cast<int64_t>(size);
    in_ = &file;
    return absl::OkStatus();
  }

  // The next piece into `request`; false: the text has ended.
  absl::StatusOr<bool> Next(v1::UploadRequest* request) {
    if (!pieces_.has_value()) pieces_.emplace(*in_);
    HEADWISE_ASSIGN_OR_RETURN(std::optional<std::string> piece,
                              pieces_->Next());
    if (!piece.has_value()) {
      if (pieces_->num_bytes() > 0) return false;
      return absl::InvalidArgumentError("the text is empty");
    }
    const Sha256Digest digest = Sha256Of(
        {reinterpret_cast<const uint8_t*>(piece->data()), piece->size()});
    request->set_sha256(digest.data(), digest.size());
    request->set_text(*std::move(piece));
    sent_bytes_ = pieces_->num_bytes();
    return true;
  }

  // How much of the text has run; of what was sent, where nobody knows how
  // much will come. Any thread's.
  double Fraction(const v1::UploadProgress& progress) const {
    const auto received = static_cast<double>(progress.received_tokens());
    if (received == 0) return 0.0;
    const double ran =
        static_cast<double>(progress.processed_tokens()) / received;
    if (total_bytes_ == 0) return ran;
    return ran * static_cast<double>(sent_bytes_) /
           static_cast<double>(total_bytes_);
  }

 private:
  std::variant<std::monostate, std::istringstream, std::ifstream> own_;
  std::istream* in_ = nullptr;
  std::optional<TextPieces> pieces_;
  std::atomic<int64_t> sent_bytes_ = 0;
  int64_t total_bytes_ = 0;  // 0: unknown
};

absl::Status RunUpload(const PromptSessionFlags& flags, Session& server) {
  UploadSource source;
  HEADWISE_RETURN_IF_ERROR(source.Open(flags.text));
  ProgressBar bar("upload");
  bool is_first = true;
  v1::PromptSession known;  // as the server told it last
  const absl::StatusOr<v1::PromptSession> session = server.client().Upload(
      [&](v1::UploadRequest* request) {
        if (is_first) {
          request->set_session_id(flags.session_id);
          request->set_plan(server.plan());
        }
        is_first = false;
        return source.Next(request);
      },
      [&](const v1::UploadProgress& progress) {
        known = progress.session();
        bar.Show(source.Fraction(progress));
      });
  bar.Clear();
  if (session.ok() || known.session_id().empty()) return Print(flags, session);
  return absl::Status(
      session.status().code(),
      absl::StrCat(session.status().message(), "; session ", known.session_id(),
                   " had ", known.num_tokens(),
                   " tokens, ask `session show` for what it has now"));
}

absl::Status RunList(const PromptSessionFlags& flags, Session& server) {
  HEADWISE_ASSIGN_OR_RETURN(const v1::ListPromptSessionsResponse list,
                            server.client().ListSessions({}));
  if (flags.json) {
    Json sessions = Json::array();
    for (const v1::PromptSession& session : list.sessions()) {
      sessions.push_back(ToJson(session));
    }
    PrintJsonLine({{"sessions", sessions}});
    return absl::OkStatus();
  }
  PrintHeadline();
  for (const v1::PromptSession& session : list.sessions()) PrintRow(session);
  return absl::OkStatus();
}

absl::Status RunShow(const PromptSessionFlags& flags, Session& server) {
  v1::GetPromptSessionRequest request;
  request.set_session_id(flags.session_id);
  return Print(flags, server.client().GetSession(request));
}

absl::Status RunPark(const PromptSessionFlags& flags, Session& server) {
  v1::ParkSessionRequest request;
  request.set_session_id(flags.session_id);
  return Print(flags, server.client().ParkSession(request));
}

absl::Status RunResume(const PromptSessionFlags& flags, Session& server) {
  v1::ResumeSessionRequest request;
  request.set_session_id(flags.session_id);
  return Print(flags, server.client().ResumeSession(request));
}

absl::Status RunDelete(const PromptSessionFlags& flags, Session& server) {
  v1::DeletePromptSessionRequest request;
  request.set_session_id(flags.session_id);
  return server.client().DeleteSession(request).status();
}

absl::Status RunAsk(const PromptSessionFlags& flags, Session& server) {
  v1::GenerateRequest request;
  HEADWISE_ASSIGN_OR_RETURN(*request.mutable_text(), ReadUtf8Text(flags.text));
  WriteGenerationOptions(flags.generation, request.mutable_options());
  request.set_session_id(flags.session_id);
  request.set_priority(PriorityOf(flags.priority));
  EventPrinter printer(flags.json);
  const absl::Status status = server.client().Generate(
      request,
      [&](const v1::GenerateResponse& event) { return printer.Print(event); });
  printer.Finish(flags.verbose && status.ok());
  return status;
}

absl::Status RunSnapshot(const PromptSessionFlags& flags, Session& server) {
  v1::SnapshotPromptSessionRequest request;
  request.set_session_id(flags.session_id);
  return WriteSnapshotFile(
      flags.file, kSnapshotFirstLine, [&](const PutMessage& put) {
        return server.client().SnapshotSession(request, put);
      });
}

absl::Status RunRestore(const PromptSessionFlags& flags, Session& server) {
  HEADWISE_ASSIGN_OR_RETURN(
      SnapshotFileReader file,
      SnapshotFileReader::Open(flags.file, kSnapshotFirstLine, "a session"));
  return Print(
      flags, server.client().RestoreSession([&](v1::PromptSnapshotPart* part) {
        return absl::StatusOr<bool>(file.Next(part));
      }));
}

std::shared_ptr<PromptSessionFlags> AddCommand(CLI::App& command, Run what,
                                               CommandRun* run) {
  auto flags = std::make_shared<PromptSessionFlags>();
  AddServerFlags(command, flags->cluster);
  command.add_option("--tenant", flags->cluster.tenant,
                     "Whose sessions, at most 128 bytes; default: nobody's");
  command.final_callback([run, what, flags] {
    *run = [what, flags]() -> absl::Status {
      HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                                Session::Open(flags->cluster));
      return what(*flags, *session);
    };
  });
  return flags;
}

void AddId(CLI::App& command, PromptSessionFlags& flags) {
  command.add_option("session", flags.session_id, "Its session_id")->required();
}

void AddOpen(CLI::App& session, CommandRun* run) {
  CLI::App* command = session.add_subcommand(
      "open", "Begin a session: a text runs while it is sent, and stays");
  const auto flags = AddCommand(*command, RunUpload, run);
  AddPlanFlag(*command, flags->cluster);
  AddTextFlags(*command, "text", /*required=*/true, flags->text);
  command->add_flag("--json", flags->json, "The session as one JSON object");
  command->footer(
      "Examples:\n"
      "  headwise session open --server 127.0.0.1:7600 --text-file book.txt\n"
      "  cat *.txt | headwise session open --server 127.0.0.1:7600 "
      "--text-file -\n"
      "The text is sent in pieces of 32 KiB, cut before a line, else before a "
      "word; each is made\ntokens by itself.");
}

void AddUpload(CLI::App& session, CommandRun* run) {
  CLI::App* command =
      session.add_subcommand("upload", "Make a session longer by a text");
  const auto flags = AddCommand(*command, RunUpload, run);
  AddId(*command, *flags);
  AddTextFlags(*command, "text", /*required=*/true, flags->text);
  command->add_flag("--json", flags->json, "The session as one JSON object");
  command->footer(
      "Example:\n  headwise session upload ID --server 127.0.0.1:7600 "
      "--text-file more.txt");
}

void AddAsk(CLI::App& session, CommandRun* run) {
  CLI::App* command = session.add_subcommand(
      "ask", "Continue a session with a prompt; it stays as it is");
  const auto flags = AddCommand(*command, RunAsk, run);
  AddId(*command, *flags);
  AddTextFlags(*command, "prompt", /*required=*/true, flags->text);
  AddPriorityFlag(*command, flags->priority);
  AddGenerationFlags(*command, flags->generation);
  AddAnswerFlags(*command, flags->json, flags->verbose);
  command->footer(
      "Example:\n  headwise session ask ID --server 127.0.0.1:7600 --prompt "
      "\"Who was that?\" -n 64");
}

void AddOfOne(CLI::App& session, const std::string& name,
              const std::string& description, Run what, CommandRun* run) {
  CLI::App* command = session.add_subcommand(name, description);
  const auto flags = AddCommand(*command, what, run);
  AddId(*command, *flags);
  if (what != RunDelete) {
    command->add_flag("--json", flags->json, "The session as one JSON object");
  }
  command->footer(absl::StrCat("Example:\n  headwise session ", name,
                               " ID --server 127.0.0.1:7600"));
}

void AddSnapshots(CLI::App& session, CommandRun* run) {
  CLI::App* command = session.add_subcommand(
      "snapshot", "Write a session to a file: its tokens and its plan");
  auto flags = AddCommand(*command, RunSnapshot, run);
  AddId(*command, *flags);
  command->add_option("--file", flags->file, "Where to")->required();
  command->footer(
      "The file appears, or replaces an older one, once it is "
      "whole.\nExample:\n"
      "  headwise session snapshot ID --server 127.0.0.1:7600 --file s.snap");

  command = session.add_subcommand(
      "restore", "A new session from a file, on any cluster with the model");
  flags = AddCommand(*command, RunRestore, run);
  command->add_option("--file", flags->file, "Where from")->required();
  command->add_flag("--json", flags->json, "The session as one JSON object");
  command->footer(
      "It runs once it is asked.\nExample:\n"
      "  headwise session restore --server 127.0.0.1:7600 --file s.snap");
}

void AddList(CLI::App& session, CommandRun* run) {
  CLI::App* command =
      session.add_subcommand("list", "The sessions that a server holds");
  const auto flags = AddCommand(*command, RunList, run);
  command->add_flag("--json", flags->json, "sessions");
  command->footer("Example:\n  headwise session list --server 127.0.0.1:7600");
}

}  // namespace

void AddSessionCommand(CLI::App& app, CommandRun* run) {
  CLI::App* session = app.add_subcommand(
      "session", "Long prompts that a server keeps, for many questions");
  session->require_subcommand(1);
  AddOpen(*session, run);
  AddUpload(*session, run);
  AddList(*session, run);
  AddOfOne(*session, "show", "What a session is", RunShow, run);
  AddAsk(*session, run);
  AddOfOne(*session, "park", "Move a session to files, so that memory is free",
           RunPark, run);
  AddOfOne(*session, "resume", "Bring a parked session back", RunResume, run);
  AddSnapshots(*session, run);
  AddOfOne(*session, "delete", "Let a session go", RunDelete, run);
  session->footer(
      "Examples:\n"
      "  headwise session open --server 127.0.0.1:7600 --text-file book.txt\n"
      "  headwise session ask ID --server 127.0.0.1:7600 --prompt \"Who is "
      "it?\"\n"
      "A session goes after an hour in which nobody named it.");
}

}  // namespace headwise
