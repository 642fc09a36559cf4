#include "server/frontends/selection_writer.h"

#include <cmath>
#include <string>

#include "server/selection/flag_names.h"

namespace headwise {
namespace {

// Of quantile_sketch.h: a bucket's middle stands for its values.
constexpr double kQuantileError = 1.0 / 128;

v1::SelectionJobState StateOf(JobState state) {
  switch (state) {
    case JobState::kRunning:
      return v1::SELECTION_JOB_STATE_RUNNING;
    case JobState::kPaused:
      return v1::SELECTION_JOB_STATE_PAUSED;
    case JobState::kFinishing:
      return v1::SELECTION_JOB_STATE_FINISHING;
    case JobState::kDone:
      return v1::SELECTION_JOB_STATE_DONE;
    case JobState::kCancelled:
      return v1::SELECTION_JOB_STATE_CANCELLED;
  }
  return v1::SELECTION_JOB_STATE_UNSPECIFIED;
}

void WriteCounts(const JobStatus& status, v1::SelectionJob* out) {
  out->set_shards_done(status.num_shards_done);
  out->set_shards_total(status.num_shards);
  out->set_bytes_done(status.input_bytes_done);
  out->set_bytes_total(status.input_bytes);
  out->set_documents(status.total.num_documents);
  out->set_scored(status.total.num_scored);
  out->set_ranked(status.total.num_ranked);
  out->set_tokens(status.total.num_tokens);
  for (const auto& [name, progress] : status.domains) {
    v1::DomainProgress* domain = out->add_domains();
    domain->set_domain(name);
    domain->set_documents(progress.num_documents);
    domain->set_scored(progress.num_scored);
    domain->set_ranked(progress.num_ranked);
    domain->set_tokens(progress.num_tokens);
    domain->set_cost_seconds(progress.cost_seconds);
  }
  for (const auto& [flag, documents] : status.flags) {
    v1::FlagCount* count = out->add_flags();
    count->set_flag(std::string(FlagName(static_cast<DocumentFlag>(flag))));
    count->set_documents(documents);
  }
}

}  // namespace

void WriteRow(const ScoreRow& row, v1::SelectionRow* out) {
  out->set_doc_id(row.doc_id);
  out->set_domain(row.domain);
  out->set_n_tokens(row.loss.num_tokens);
  for (const DocumentFlag flag : AllDocumentFlags()) {
    if ((row.flags & flag) != 0) out->add_flags(std::string(FlagName(flag)));
  }
  if (!row.is_scored()) return;
  out->set_loss_base(row.loss_base());
  out->set_loss_masked(row.loss_masked());
  if (std::isfinite(row.score())) out->set_score(row.score());
  out->set_nll_base(row.loss.base);
  out->set_nll_masked(row.loss.masked);
  out->set_repetition(row.loss.repetition);
}

void WriteTopRow(const TopRow& row, v1::TopKResponse::Ranked* out) {
  out->set_rank(row.rank);
  WriteRow(row.row, out->mutable_row());
}

void WriteJob(const JobStatus& status, v1::SelectionJob* out) {
  out->set_job_id(status.id);
  out->set_state(StateOf(status.state));
  out->set_reason(status.reason);
  out->set_note(status.note);
  out->set_input_root(status.manifest.input.root);
  out->set_output(status.output_dir);
  out->set_masked_plan_sha256(status.manifest.masked_plan_sha256);
  for (const std::string& head : status.manifest.masked_heads) {
    out->add_masked_heads(head);
  }
  WriteCounts(status, out);
  out->set_running_seconds(status.running_seconds);
  out->set_tokens_per_second(status.tokens_per_second);
  if (status.remaining_seconds.has_value()) {
    out->set_remaining_seconds(*status.remaining_seconds);
  }
  out->set_result_sha256(status.result_sha256);
}

void WriteQuantiles(const DomainSketches& sketches,
                    absl::Span<const double> quantiles,
                    v1::QuantilesResponse* out) {
  out->mutable_quantiles()->Assign(quantiles.begin(), quantiles.end());
  out->set_relative_error(kQuantileError);
  for (const auto& [name, sketch] : sketches) {
    if (sketch.empty()) continue;
    v1::DomainQuantiles* domain = out->add_domains();
    domain->set_domain(name);
    domain->set_count(sketch.count());
    for (const double quantile : quantiles) {
      domain->add_scores(sketch.Quantile(quantile));
    }
  }
}

}  // namespace headwise
