#include "server/attention/attend_call.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/attention/attend_plan.h"
#include "server/attention/partial_merge.h"
#include "server/leases/gather.h"

namespace headwise {
namespace {

class AttendCall {
 public:
  AttendCall(AttentionSession& session, const AttendQuery& query,
             const Caller& caller, const Kernels& kernels, const Clock& clock)
      : session_(session),
        shape_(session.config().shape),
        query_(query),
        caller_(caller),
        kernels_(kernels),
        clock_(clock),
        length_(session.length()),
        unit_rows_(query.query_len * shape_.heads_per_kv_head) {}

  absl::StatusOr<AttendAnswer> Run() {
    const AttentionConfig& config = session_.config();
    HEADWISE_RETURN_IF_ERROR(CheckQuery(config, query_));
    HEADWISE_ASSIGN_OR_RETURN(rows_, OrderRows(config, query_, length_));
    HEADWISE_ASSIGN_OR_RETURN(queries_, ScaleQueries(config, query_, rows_));
    out_.resize(queries_.size());
    lse_.resize(static_cast<size_t>(shape_.num_kv_heads * unit_rows_));
    const std::vector<AttendBatch> batches =
        PlanBatches(shape_, length_, query_.query_len);
    for (const AttendBatch& batch : batches) {
      HEADWISE_RETURN_IF_ERROR(Attend(batch));
    }
    HEADWISE_RETURN_IF_ERROR(CheckResult());
    AttendAnswer answer = MakeAnswer();
    if (query_.probes.row_bytes() > 0) {
      for (const AttendBatch& batch : batches) {
        HEADWISE_RETURN_IF_ERROR(Probe(batch, answer));
      }
    }
    return answer;
  }

 private:
  // Where (row, head of the unit) lies in queries_ and lse_, in rows.
  int64_t RowAt(int64_t unit, int64_t row) const {
    return unit * unit_rows_ + row * shape_.heads_per_kv_head;
  }
  // (row, head of the unit) pairs of a batch, for one unit.
  int64_t RowsOf(const AttendBatch& batch) const {
    return (batch.row_end - batch.row_begin) * shape_.heads_per_kv_head;
  }

  UnitQueries QueriesOf(const AttendBatch& batch, int64_t unit) const {
    const float* first =
        queries_.data() + RowAt(unit, batch.row_begin) * shape_.head_dim;
    return {unit, {first, first + RowsOf(batch) * shape_.head_dim}};
  }

  std::vector<int64_t> EndsOf(const AttendBatch& batch) const {
    return {rows_.visible_end.begin() + batch.row_begin,
            rows_.visible_end.begin() + batch.row_end};
  }

  // Workers that hold units of the batch, with those units.
  struct Asked {
    const AttentionSession::Worker* worker;
    std::vector<const UnitShare*> units;
  };
  std::vector<Asked> WorkersOf(const AttendBatch& batch) const {
    std::vector<Asked> asked;
    for (const AttentionSession::Worker& worker : session_.workers()) {
      Asked one = {&worker, {}};
      for (const UnitShare& unit : worker.units) {
        if (unit.kv_head >= batch.unit_begin && unit.kv_head < batch.unit_end) {
          one.units.push_back(&unit);
        }
      }
      if (!one.units.empty()) asked.push_back(std::move(one));
    }
    return asked;
  }

  // An answer that came, for all units that were asked for.
  template <typename Result>
  absl::Status CheckAnswer(const Asked& asked,
                           const absl::StatusOr<Result>& answer) const {
    if (!answer.ok()) return session_.Explain(*asked.worker, answer.status());
    if (answer->units.size() == asked.units.size()) return absl::OkStatus();
    return session_.Explain(
        *asked.worker, absl::InternalError("answered another number of units"));
  }

  absl::Status Attend(const AttendBatch& batch) {
    HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                              TimeoutFor(caller_, clock_));
    const std::vector<Asked> asked = WorkersOf(batch);
    Gather<AttendPartResult> answers(asked.size());
    for (size_t i = 0; i < asked.size(); ++i) {
      AttendPartRequest request = {session_.id(), length_, EndsOf(batch), {}};
      for (const UnitShare* unit : asked[i].units) {
        request.units.push_back(QueriesOf(batch, unit->kv_head));
      }
      asked[i].worker->link->Attend(std::move(request), timeout,
                                    answers.Slot(i));
    }
    return Merge(batch, asked, answers.Wait());
  }

  absl::Status Merge(const AttendBatch& batch, const std::vector<Asked>& asked,
                     const std::vector<absl::StatusOr<AttendPartResult>>& all) {
    const int64_t num_rows = RowsOf(batch);
    const int64_t visible_end = rows_.visible_end[batch.row_end - 1];
    std::vector<std::vector<const RangePartial*>> parts(
        static_cast<size_t>(batch.unit_end - batch.unit_begin));
    for (size_t i = 0; i < asked.size(); ++i) {
      const AttentionSession::Worker& worker = *asked[i].worker;
      HEADWISE_RETURN_IF_ERROR(CheckAnswer(asked[i], all[i]));
      for (size_t u = 0; u < asked[i].units.size(); ++u) {
        const UnitPartials& partials = all[i]->units[u];
        const absl::Status checked =
            CheckParts(*asked[i].units[u], visible_end, num_rows,
                       shape_.head_dim, partials);
        if (!checked.ok()) return session_.Explain(worker, checked);
        for (const RangePartial& part : partials.parts) {
          parts[partials.kv_head - batch.unit_begin].push_back(&part);
        }
      }
    }
    for (int64_t unit = batch.unit_begin; unit < batch.unit_end; ++unit) {
      const int64_t at = RowAt(unit, batch.row_begin);
      MergeParts(std::move(parts[unit - batch.unit_begin]), kernels_,
                 shape_.head_dim, num_rows, out_.data() + at * shape_.head_dim,
                 lse_.data() + at);
    }
    return absl::OkStatus();
  }

  // Finite keys and queries can have a product that is not.
  absl::Status CheckResult() const {
    const int64_t group = shape_.heads_per_kv_head;
    for (size_t i = 0; i < lse_.size(); ++i) {
      const auto at = static_cast<int64_t>(i);
      const int64_t row = at % unit_rows_ / group;
      const bool sees_none = rows_.visible_end[row] == 0;
      bool is_good = sees_none ? lse_[i] == -INFINITY : std::isfinite(lse_[i]);
      const float* out = out_.data() + at * shape_.head_dim;
      for (int64_t d = 0; d < shape_.head_dim; ++d) {
        is_good = is_good && std::isfinite(out[d]);
      }
      if (is_good) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("query ", rows_.row[row], ", head ",
                       at / unit_rows_ * group + at % group,
                       ": the scores or the values are too large for fp32"));
    }
    return absl::OkStatus();
  }

  // Where the caller's (query, head) pair of a row of ours is.
  int64_t PlaceOf(int64_t at) const {
    const int64_t group = shape_.heads_per_kv_head;
    const int64_t query = rows_.row[at % unit_rows_ / group];
    return query * session_.config().num_heads() + at / unit_rows_ * group +
           at % group;
  }

  AttendAnswer MakeAnswer() const {
    const FloatType type =
        query_.output_as_input ? shape_.input_type : FloatType::kFp32;
    const int64_t row_bytes = shape_.head_dim * FloatBytes(type);
    AttendAnswer answer;
    answer.stored_positions = length_;
    answer.output_type = type;
    answer.output.resize(lse_.size() * static_cast<size_t>(row_bytes));
    answer.lse.resize(lse_.size());
    answer.top.resize(lse_.size() * query_.probes.num_top_keys);
    answer.mass.resize(lse_.size() * query_.probes.num_segments());
    answer.entropy.resize(query_.probes.entropy ? lse_.size() : 0);
    auto* bytes = reinterpret_cast<uint8_t*>(answer.output.data());
    for (size_t i = 0; i < lse_.size(); ++i) {
      const int64_t place = PlaceOf(static_cast<int64_t>(i));
      answer.lse[place] = lse_[i];
      WriteFloats(type, out_.data() + i * shape_.head_dim, shape_.head_dim,
                  bytes + place * row_bytes);
    }
    return answer;
  }

  absl::Status Probe(const AttendBatch& batch, AttendAnswer& answer) {
    HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                              TimeoutFor(caller_, clock_));
    const std::vector<Asked> asked = WorkersOf(batch);
    Gather<ProbePartResult> answers(asked.size());
    for (size_t i = 0; i < asked.size(); ++i) {
      ProbePartRequest request = {session_.id(),
                                  length_,
                                  EndsOf(batch),
                                  {},
                                  query_.probes.num_top_keys,
                                  query_.probes.segment_bounds,
                                  query_.probes.entropy};
      for (const UnitShare* unit : asked[i].units) {
        const float* lse = lse_.data() + RowAt(unit->kv_head, batch.row_begin);
        request.units.push_back(
            {QueriesOf(batch, unit->kv_head), {lse, lse + RowsOf(batch)}});
      }
      asked[i].worker->link->Probe(std::move(request), timeout,
                                   answers.Slot(i));
    }
    return Add(batch, asked, answers.Wait(), answer);
  }

  absl::Status Add(const AttendBatch& batch, const std::vector<Asked>& asked,
                   const std::vector<absl::StatusOr<ProbePartResult>>& all,
                   AttendAnswer& answer) {
    const ProbeSpec& probes = query_.probes;
    const int64_t num_rows = RowsOf(batch);
    std::vector<UnitProbe> sums;
    for (int64_t unit = batch.unit_begin; unit < batch.unit_end; ++unit) {
      UnitProbe sum;
      sum.kv_head = unit;
      sum.top.resize(num_rows * probes.num_top_keys);
      sum.mass.resize(num_rows * probes.num_segments());
      sum.entropy.resize(probes.entropy ? num_rows : 0);
      sums.push_back(std::move(sum));
    }
    for (size_t i = 0; i < asked.size(); ++i) {
      const AttentionSession::Worker& worker = *asked[i].worker;
      HEADWISE_RETURN_IF_ERROR(CheckAnswer(asked[i], all[i]));
      for (size_t u = 0; u < asked[i].units.size(); ++u) {
        const absl::Status added =
            AddProbe(all[i]->units[u], probes.num_top_keys,
                     sums[asked[i].units[u]->kv_head - batch.unit_begin]);
        if (!added.ok()) return session_.Explain(worker, added);
      }
    }
    for (const UnitProbe& sum : sums) WriteProbe(sum, batch, answer);
    return absl::OkStatus();
  }

  void WriteProbe(const UnitProbe& sum, const AttendBatch& batch,
                  AttendAnswer& answer) const {
    const ProbeSpec& probes = query_.probes;
    for (int64_t i = 0; i < RowsOf(batch); ++i) {
      const int64_t place = PlaceOf(RowAt(sum.kv_head, batch.row_begin) + i);
      for (int64_t k = 0; k < probes.num_top_keys; ++k) {
        answer.top[place * probes.num_top_keys + k] =
            sum.top[i * probes.num_top_keys + k];
      }
      for (int64_t s = 0; s < probes.num_segments(); ++s) {
        answer.mass[place * probes.num_segments() + s] = static_cast<float>(
            static_cast<double>(sum.mass[i * probes.num_segments() + s]) *
            kMassUnit);
      }
      if (probes.entropy) {
        answer.entropy[place] = static_cast<float>(
            static_cast<double>(sum.entropy[i]) * kEntropyUnit);
      }
    }
  }

  AttentionSession& session_;
  const SessionShape& shape_;
  const AttendQuery& query_;
  const Caller& caller_;
  const Kernels& kernels_;
  const Clock& clock_;
  const int64_t length_;
  const int64_t unit_rows_;  // (row, head of the unit) pairs of one unit
  OrderedRows rows_;
  std::vector<float> queries_;  // [num_kv_heads][rows][heads][head_dim]
  std::vector<float> out_;      // likewise
  std::vector<float> lse_;      // [num_kv_heads][rows][heads]
};

}  // namespace

absl::StatusOr<AttendAnswer> AttendOverWorkers(AttentionSession& session,
                                               const AttendQuery& query,
                                               const Caller& caller,
                                               const Kernels& kernels,
                                               const Clock& clock) {
  return AttendCall(session, query, caller, kernels, clock).Run();
}

}  // namespace headwise
