// Requests of headwise.v1.Selection to plain structs: every field is checked
// here or by what takes it, and protobuf stops here.

#ifndef HEADWISE_SERVER_FRONTENDS_SELECTION_PARSER_H_
#define HEADWISE_SERVER_FRONTENDS_SELECTION_PARSER_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "headwise/v1/selection.pb.h"
#include "model/head_plan/head_plan.h"
#include "server/frontends/frontend_context.h"
#include "server/selection/document.h"
#include "server/selection/document_row.h"
#include "server/selection/document_scorer.h"
#include "server/selection/selection_jobs.h"
#include "server/selection/top_rows.h"

namespace headwise {

inline constexpr int kMaxDocumentsOfMessage = 256;
inline constexpr int64_t kMaxStreamedDocumentBytes = 16 << 20;
inline constexpr int kMaxInputPaths = 1024;
inline constexpr int kMaxTopDomains = 1024;
inline constexpr int kMaxQuantiles = 128;

// Makes "<field>: <problem>" of InvalidArgument an InvalidField within `outer`;
// other statuses stay as they are.
absl::Status NameField(absl::string_view outer, const absl::Status& status);

// The same for what SelectionJobs says of a spec, whose messages begin with the
// name of the field: "path \"../x\" has a part ...".
absl::Status NameSpecField(const absl::Status& status);

// What a stream of documents is scored by.
struct DocumentCall {
  std::shared_ptr<const HeadPlan> plan;  // masks heads
  ScoringOptions scoring;                // window > 0
  RankingRules rules;
  int64_t max_document_bytes = kMaxStreamedDocumentBytes;
};

// InvalidArgument names the field; NotFound: the model, or a stored plan.
absl::StatusOr<DocumentCall> ParseDocumentTerms(
    const v1::ScoreDocumentsTerms& message, const FrontendContext& frontend,
    const std::string& model_sha256);

absl::Status CheckDocumentCount(int num_documents);  // of one message

// Moves the text out of `message`. `index`: in its message, for errors;
// `number`: in its stream, for a document without an id. Flags say what keeps
// it from being scored.
absl::StatusOr<Document> TakeDocument(int index, int64_t number,
                                      const DocumentCall& call,
                                      v1::SelectionDocument* message);

// A spec whose manifest has no shards yet. Errors as of ParseDocumentTerms.
absl::StatusOr<JobSpec> ParseJobSpec(const v1::SelectionJobSpec& message,
                                     const FrontendContext& frontend,
                                     const std::string& model_sha256);

// Without what is of the server: max_memory_bytes, temp_dir, keep_going.
absl::StatusOr<TopOptions> ParseTopK(const v1::TopKRequest& request);

absl::StatusOr<std::vector<double>> ParseQuantiles(
    const v1::QuantilesRequest& request);

absl::StatusOr<absl::Duration> ParseWatchInterval(
    const v1::WatchJobRequest& request);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SELECTION_PARSER_H_
