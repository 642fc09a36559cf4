#include "server/selection/open_shard.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/check.h"
#include "base/status_macros.h"
#include "server/selection/top_rows.h"

namespace headwise {
namespace {

// Of an id in a message.
constexpr size_t kMaxToldIdBytes = 256;

absl::Status WithPrefix(const absl::Status& status, absl::string_view prefix) {
  if (status.ok()) return status;
  return {status.code(), absl::StrCat(prefix, ": ", status.message())};
}

}  // namespace

OpenShard::OpenShard(const InputShard& shard, const RankingRules& rules,
                     std::unique_ptr<DocumentReader> reader,
                     std::unique_ptr<ShardOutput> output)
    : shard_(shard),
      rules_(rules),
      reader_(std::move(reader)),
      output_(std::move(output)) {}

absl::StatusOr<std::unique_ptr<OpenShard>> OpenShard::Open(
    const InputOptions& input, const InputShard& shard,
    const RankingRules& rules, const Place& place) {
  auto reader = DocumentReader::Open(input, shard);
  if (!reader.ok()) {
    return WithPrefix(reader.status(), absl::StrCat("shard ", shard.index));
  }
  HEADWISE_ASSIGN_OR_RETURN(
      auto output,
      ShardOutput::Create(place.folder, shard.index, place.writer));
  return std::unique_ptr<OpenShard>(
      new OpenShard(shard, rules, *std::move(reader), std::move(output)));
}

absl::Status OpenShard::Annotated(const absl::Status& status) const {
  return WithPrefix(status, absl::StrCat("shard ", shard_.index));
}

absl::StatusOr<OpenShard::Read> OpenShard::Next() {
  HEADWISE_CHECK(!is_read_);
  absl::StatusOr<std::optional<Document>> document = reader_->Next();
  if (!document.ok()) return Annotated(document.status());
  Read read;
  read.is_end = is_read_ = !document->has_value();
  if (is_read_) return read;
  Waiting& waiting = waiting_.emplace_back();
  waiting.document = **std::move(document);
  if (CheckDocument(rules_, waiting.document)) {
    read.document = num_written_ + num_waiting() - 1;
    read.text = std::exchange(waiting.document.text, {});
    return read;
  }
  waiting.document.text = {};
  waiting.row = UnscoredRow(waiting.document);
  HEADWISE_RETURN_IF_ERROR(Annotated(WriteReady()));
  return read;
}

absl::Status OpenShard::Put(int64_t document,
                            const absl::StatusOr<DocumentLoss>& loss,
                            double cost_seconds) {
  const int64_t place = document - num_written_;
  HEADWISE_CHECK(place >= 0 && place < num_waiting());
  Waiting& waiting = waiting_[static_cast<size_t>(place)];
  HEADWISE_CHECK(!waiting.row.has_value());
  absl::StatusOr<ScoreRow> row = ScoredRow(rules_, waiting.document, loss);
  if (!row.ok()) {
    return Annotated(WithPrefix(
        row.status(),
        absl::StrCat("document \"",
                     waiting.document.id.substr(0, kMaxToldIdBytes), "\"")));
  }
  waiting.row = *std::move(row);
  waiting.cost_seconds = cost_seconds;
  return Annotated(WriteReady());
}

absl::Status OpenShard::WriteReady() {
  while (!waiting_.empty() && waiting_.front().row.has_value()) {
    const ScoreRow& row = *waiting_.front().row;
    HEADWISE_RETURN_IF_ERROR(output_->Add(row));
    totals_.Add(row, waiting_.front().cost_seconds);
    if (HasRank(row)) sketches_[row.domain].Add(row.score());
    waiting_.pop_front();
    ++num_written_;
  }
  return absl::OkStatus();
}

absl::StatusOr<PartEntry> OpenShard::Commit() {
  HEADWISE_CHECK(is_complete());
  PartEntry part;
  part.shard = shard_.index;
  part.input_bytes = shard_.bytes();
  HEADWISE_ASSIGN_OR_RETURN(part.file, output_->Commit());
  part.totals = std::move(totals_);
  return part;
}

}  // namespace headwise
