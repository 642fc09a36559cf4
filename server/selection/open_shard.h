// A shard that is being scored: documents out, losses in, rows in order.

#ifndef HEADWISE_SERVER_SELECTION_OPEN_SHARD_H_
#define HEADWISE_SERVER_SELECTION_OPEN_SHARD_H_

#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/selection/document_reader.h"
#include "server/selection/document_row.h"
#include "server/selection/input_shard.h"
#include "server/selection/job_books.h"
#include "server/selection/job_status.h"
#include "server/selection/shard_output.h"

namespace headwise {

// Rows are written as soon as all before them are there, so memory holds the
// documents from the first one without a loss to the last one read. Errors
// begin with the shard's index. Not thread-safe.
class OpenShard {
 public:
  struct Place {
    std::string folder;  // of the parts
    std::string writer;  // DurableFile
  };

  // `rules` and `shard` outlive it.
  static absl::StatusOr<std::unique_ptr<OpenShard>> Open(
      const InputOptions& input, const InputShard& shard,
      const RankingRules& rules, const Place& place);

  struct Read {
    bool is_end = false;
    // Number of the document in the shard; nullopt: it is not to be scored.
    std::optional<int64_t> document;
    std::string text;
  };
  // Errors as DocumentReader::Next, and as Put. Not after the end.
  absl::StatusOr<Read> Next();

  // OutOfRange is a row of its own; other errors are returned.
  absl::Status Put(int64_t document, const absl::StatusOr<DocumentLoss>& loss,
                   double cost_seconds);

  int64_t index() const { return shard_.index; }
  int64_t num_waiting() const { return static_cast<int64_t>(waiting_.size()); }
  int64_t num_tokens() const { return totals_.total.num_tokens; }
  bool is_complete() const { return is_read_ && waiting_.empty(); }

  // Requires is_complete(). Once.
  absl::StatusOr<PartEntry> Commit();
  const DomainSketches& sketches() const { return sketches_; }

 private:
  struct Waiting {
    Document document;  // without its text
    std::optional<ScoreRow> row;
    double cost_seconds = 0.0;
  };

  OpenShard(const InputShard& shard, const RankingRules& rules,
            std::unique_ptr<DocumentReader> reader,
            std::unique_ptr<ShardOutput> output);
  absl::Status WriteReady();
  absl::Status Annotated(const absl::Status& status) const;

  const InputShard& shard_;
  const RankingRules& rules_;
  const std::unique_ptr<DocumentReader> reader_;
  const std::unique_ptr<ShardOutput> output_;
  bool is_read_ = false;
  std::deque<Waiting> waiting_;
  int64_t num_written_ = 0;  // number of waiting_.front()
  PartTotals totals_;
  DomainSketches sketches_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_OPEN_SHARD_H_
