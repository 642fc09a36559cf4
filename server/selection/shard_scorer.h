// Scores the shards of a job: many documents at a time, several shards at once.

#ifndef HEADWISE_SERVER_SELECTION_SHARD_SCORER_H_
#define HEADWISE_SERVER_SELECTION_SHARD_SCORER_H_

#include <cstdint>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "server/selection/answer_inbox.h"
#include "server/selection/back_off.h"
#include "server/selection/document_scorer.h"
#include "server/selection/job_books.h"
#include "server/selection/job_live.h"
#include "server/selection/job_manifest.h"
#include "server/selection/job_pace.h"
#include "server/selection/job_pulse.h"
#include "server/selection/open_shard.h"

namespace headwise {

// Documents between the first of a shard that has no loss yet and the last
// that was read, over all open shards: a slow one does not let rows pile up.
inline constexpr int64_t kMaxWaitingRows = 8192;

// Runs on one thread, with the scorer's own beside it.
class ShardScorer {
 public:
  struct Job {
    int64_t number = 0;  // of the books
    InputOptions input;  // root: the folder
    const JobManifest& manifest;
    OpenShard::Place place;
    int64_t max_open_shards = 4;
    int64_t max_text_bytes = int64_t{256} << 20;
    absl::Duration min_back_off;
    absl::Duration max_back_off;
  };
  struct Parts {
    JobBooks& books;
    JobPulse& pulse;
    JobLiveBoard& live;
    const Clock& clock;
    // Answers may come after this object is gone.
    std::shared_ptr<AnswerInbox> inbox;
  };

  // All that is referred to outlives it.
  ShardScorer(Job job, Parts parts, DocumentScorer& scorer);

  // Returns when every shard is committed, here or by another server, or when
  // the pulse ends. What is not committed then is gone. Errors: those of the
  // input, the output, the books, and of the scorer but Unavailable, Cancelled
  // (the document is scored again) and OutOfRange (a row).
  absl::Status Run(const std::vector<bool>& is_committed);

 private:
  struct Flight {
    OpenShard* shard = nullptr;
    int64_t document = 0;  // number in the shard
    std::string text;      // kept, to be scored again
    double begin = 0.0;    // CostMeter
    double cost_seconds = 0.0;
  };
  // A shard that another server has, and when to ask again.
  struct HeldShard {
    int64_t shard = 0;
    absl::Time ask_again;
  };

  absl::Status TakeAnswers();
  absl::Status TakeAnswer(const ScorerAnswer& answer);
  absl::Status CommitComplete();
  // False: the shard is another server's now, or the job does not run.
  absl::StatusOr<bool> Commit(OpenShard& shard);
  absl::StatusOr<bool> SendOne();
  void Send(Flight flight);
  bool HasRoom() const;
  absl::StatusOr<bool> OpenOne();
  absl::StatusOr<bool> TryLease(int64_t shard);
  bool IsAllCommitted() const;
  absl::Duration WaitTime() const;
  void TellPace();

  const Job job_;
  const Parts parts_;
  DocumentScorer& scorer_;

  std::vector<bool> is_committed_;
  int64_t num_committed_ = 0;
  int64_t next_shard_ = 0;  // those before were looked at
  std::deque<HeldShard> held_;
  std::vector<std::unique_ptr<OpenShard>> open_;
  OpenShard* reading_ = nullptr;  // of open_

  int64_t next_ticket_ = 0;
  std::map<int64_t, Flight> in_flight_;  // by ticket
  std::deque<Flight> again_;             // to be scored again
  int64_t text_bytes_ = 0;               // of both
  BackOff back_off_;
  CostMeter cost_;
  RateMeter rate_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_SHARD_SCORER_H_
