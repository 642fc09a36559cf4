#include <deque>
#include <fstream>
#include <iostream>
#include <memory>
#include <string>
#include <vector>

#include "CLI/App.hpp"
#include "CLI/Validators.hpp"
#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/synchronization/mutex.h"
#include "base/status_macros.h"
#include "client/cli/flags.h"
#include "client/cli/json_output.h"
#include "client/cli/select_commands.h"
#include "client/cli/select_documents.h"
#include "client/cli/select_output.h"
#include "client/cli/session.h"

namespace headwise {
namespace {

struct ScoreFlags {
  ClusterFlags cluster;
  SelectScoringFlags scoring;
  SelectFieldFlags fields;
  std::vector<std::string> files;
};

// A server may be started again meanwhile.
RetryOptions PatientRetry() {
  RetryOptions retry;
  retry.max_attempts = 20;
  return retry;
}

// The lines of all files, one after the other.
class SelectLines {
 public:
  explicit SelectLines(const ScoreFlags& flags)
      : flags_(flags), files_(flags.files) {
    if (files_.empty()) files_ = {"-"};
  }

  // False: there is no further one. NotFound names a file.
  absl::StatusOr<bool> Next(SelectLine* line) {
    std::string text;
    while (true) {
      if (in_ == nullptr) {
        if (next_file_ == files_.size()) return false;
        HEADWISE_RETURN_IF_ERROR(Open(files_[next_file_++]));
      }
      if (!std::getline(*in_, text)) {
        if (in_->bad()) {
          return absl::UnavailableError(absl::StrCat("cannot read ", name_));
        }
        in_ = nullptr;
        continue;
      }
      ++number_;
      absl::string_view record = absl::StripSuffix(text, "\r");
      if (number_ == 1) record = absl::StripPrefix(record, "\xEF\xBB\xBF");
      if (record.find_first_not_of(" \t") == absl::string_view::npos) continue;
      *line = ReadSelectLine(record, absl::StrCat(name_, ":", number_),
                             flags_.fields);
      return true;
    }
  }

 private:
  absl::Status Open(const std::string& file) {
    number_ = 0;
    name_ = file == "-" ? "stdin" : file;
    if (file == "-") {
      in_ = &std::cin;
      return absl::OkStatus();
    }
    file_ = std::ifstream(file, std::ios::binary);
    if (!file_) return absl::NotFoundError(absl::StrCat("cannot open ", file));
    in_ = &file_;
    return absl::OkStatus();
  }

  const ScoreFlags& flags_;
  std::vector<std::string> files_;
  size_t next_file_ = 0;
  std::string name_;
  int64_t number_ = 0;
  std::ifstream file_;
  std::istream* in_ = nullptr;
};

// Rows in the order of their lines. Thread-safe.
class RowPrinter {
 public:
  void Expect(const SelectLine& line) {
    absl::MutexLock lock(&mutex_);
    SelectLine expected = line;
    expected.document.clear_text();
    lines_.push_back(std::move(expected));
  }

  absl::Status PrintAnswer(v1::SelectionRow row) {
    absl::MutexLock lock(&mutex_);
    HEADWISE_RETURN_IF_ERROR(PrintUnsentLocked());
    if (lines_.empty()) return absl::InternalError("a row of no document");
    AddLineFlags(lines_.front(), &row);
    lines_.pop_front();
    HEADWISE_RETURN_IF_ERROR(Print(row));
    return PrintUnsentLocked();
  }

  // Those up to the next line that was sent.
  absl::Status PrintUnsent() {
    absl::MutexLock lock(&mutex_);
    return PrintUnsentLocked();
  }

 private:
  absl::Status PrintUnsentLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    while (!lines_.empty() && !lines_.front().is_sent) {
      HEADWISE_RETURN_IF_ERROR(Print(UnsentRow(lines_.front())));
      lines_.pop_front();
    }
    return absl::OkStatus();
  }
  static absl::Status Print(const v1::SelectionRow& row) {
    if (PrintJsonLine(SelectionRowToJson(row))) return absl::OkStatus();
    return absl::UnavailableError("cannot write to standard output");
  }

  absl::Mutex mutex_;
  std::deque<SelectLine> lines_ ABSL_GUARDED_BY(mutex_);  // without a row
};

absl::Status RunScore(const ScoreFlags& flags) {
  v1::ScoreDocumentsTerms terms;
  HEADWISE_ASSIGN_OR_RETURN(*terms.mutable_masked_plan(),
                            MaskedPlanOf(flags.scoring.plan));
  WriteScoring(flags.scoring, terms.mutable_scoring());
  WriteRanking(flags.scoring, terms.mutable_ranking());
  HEADWISE_ASSIGN_OR_RETURN(const std::unique_ptr<Session> session,
                            Session::Open(flags.cluster, PatientRetry()));
  SelectLines lines(flags);
  RowPrinter printer;
  HEADWISE_RETURN_IF_ERROR(session->selection().ScoreDocuments(
      terms,
      [&](v1::SelectionDocument* document) -> absl::StatusOr<bool> {
        SelectLine line;
        while (true) {
          HEADWISE_ASSIGN_OR_RETURN(const bool has_line, lines.Next(&line));
          if (!has_line) return false;
          printer.Expect(line);
          if (line.is_sent) break;
          HEADWISE_RETURN_IF_ERROR(printer.PrintUnsent());
        }
        document->Swap(&line.document);
        return true;
      },
      [&](const v1::SelectionRow& row) { return printer.PrintAnswer(row); }));
  return printer.PrintUnsent();
}

}  // namespace

void AddSelectScoreCommand(CLI::App& select, CommandRun* run) {
  CLI::App* command = select.add_subcommand(
      "score", "Documents of JSON lines in, a row each out, in order");
  auto flags = std::make_shared<ScoreFlags>();
  command->add_option("files", flags->files,
                      "Files of JSON lines; none, or -: standard input");
  AddSessionFlags(*command, flags->cluster);
  AddSelectScoringFlags(*command, flags->scoring);
  AddSelectFieldFlags(*command, flags->fields);
  command->footer(
      "Needs no folders at the server. Rows are as in a job's files, but that "
      "no\nduplicate ids are looked for. A stream that breaks is taken up "
      "again.\n\n"
      "Examples:\n"
      "  headwise select score -m M --plan masked.json corpus.jsonl > "
      "rows.jsonl\n"
      "  zstdcat web.jsonl.zst | headwise select score --server "
      "127.0.0.1:7600 --plan masked.json");
  command->final_callback(
      [run, flags] { *run = [flags] { return RunScore(*flags); }; });
}

}  // namespace headwise
