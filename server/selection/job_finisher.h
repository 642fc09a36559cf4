// The end of a job: duplicate ids, and result.json.

#ifndef HEADWISE_SERVER_SELECTION_JOB_FINISHER_H_
#define HEADWISE_SERVER_SELECTION_JOB_FINISHER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/selection/answer_inbox.h"
#include "server/selection/job_books.h"
#include "server/selection/job_folder.h"
#include "server/selection/job_pulse.h"

namespace headwise {

// result.json: an object with, in this order and a line for each part,
//
//   version, job_id
//   documents, scored, ranked, tokens   over all; documents = rows
//   flags       {name: documents that have it}
//   domains     [{domain, documents, scored, ranked, tokens}], by name;
//   other_domains  the same for those after the first kMaxToldDomains, if any
//   parts       [{file, bytes, rows, tokens, sha256}]
//   result_sha256  SHA-256 over the parts' sha256, a line each:
//                  `jq -r '.parts[].sha256' result.json | sha256sum`
//
// Not thread-safe. What is done twice gives the same bytes, so a crash between
// any two steps is none.
class JobFinisher {
 public:
  struct Job {
    int64_t number = 0;  // of the books
    std::string id;
    int64_t num_shards = 0;
    std::string writer;    // DurableFile
    std::string temp_dir;  // for the sort of ids
    int64_t max_sort_bytes = int64_t{256} << 20;
  };

  // All that is referred to outlives it.
  JobFinisher(Job job, const JobFolder& folder, JobBooks& books,
              JobPulse& pulse, AnswerInbox& inbox);

  enum class Outcome {
    kDone,        // by this server or another
    kIncomplete,  // a part is gone or damaged: its shard is to be scored again
    kStopped,     // by the pulse
  };
  // Requires that every shard is committed. Errors: those of the output and of
  // the books.
  absl::StatusOr<Outcome> Run();

 private:
  // False: the pulse has ended, or another server has finished the job.
  absl::StatusOr<bool> Begin();
  absl::Status FlagDuplicates();
  // `rows`: the duplicates among the part's, rising.
  absl::Status FlagPart(PartEntry& part, const std::vector<int64_t>& rows);
  absl::Status MendSketches();
  absl::StatusOr<std::string> WriteResult();
  // ReadPart, with a look at the pulse now and then.
  absl::Status Read(const PartEntry& part,
                    const std::function<absl::Status(ScoreRow&)>& take);

  const Job job_;
  const JobFolder& folder_;
  JobBooks& books_;
  JobPulse& pulse_;
  AnswerInbox& inbox_;

  std::vector<PartEntry> parts_;         // [num_shards]
  std::optional<int64_t> broken_shard_;  // of a part that can't be read
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_JOB_FINISHER_H_
