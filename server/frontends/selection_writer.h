// What selection tells to the messages of headwise.v1.

#ifndef HEADWISE_SERVER_FRONTENDS_SELECTION_WRITER_H_
#define HEADWISE_SERVER_FRONTENDS_SELECTION_WRITER_H_

#include <vector>

#include "absl/types/span.h"
#include "headwise/v1/selection.pb.h"
#include "server/selection/document.h"
#include "server/selection/job_status.h"
#include "server/selection/top_rows.h"

namespace headwise {

void WriteRow(const ScoreRow& row, v1::SelectionRow* out);
void WriteTopRow(const TopRow& row, v1::TopKResponse::Ranked* out);
void WriteJob(const JobStatus& status, v1::SelectionJob* out);
void WriteQuantiles(const DomainSketches& sketches,
                    absl::Span<const double> quantiles,
                    v1::QuantilesResponse* out);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_SELECTION_WRITER_H_
