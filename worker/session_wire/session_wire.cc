#include "worker/session_wire/session_wire.h"

#include <utility>

#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

// Of those that sessions have; CheckSessionPolicy knows which.
constexpr auto kMaxPolicyKind =
    static_cast<int32_t>(PolicyKind::kLandmarkOracle);

template <typename T, typename Field>
void WriteArray(const std::vector<T>& values, Field* field) {
  field->Assign(values.begin(), values.end());
}

template <typename T, typename Field>
std::vector<T> ReadArray(const Field& field) {
  return {field.begin(), field.end()};
}

void WriteQueries(const UnitQueries& queries, worker::v1::UnitQueries* out) {
  out->set_kv_head(queries.kv_head);
  WriteArray(queries.queries, out->mutable_queries());
}

UnitQueries ReadQueries(const worker::v1::UnitQueries& queries) {
  return {queries.kv_head(), ReadArray<float>(queries.queries())};
}

}  // namespace

void WriteOpenPart(const OpenPartRequest& request,
                   worker::v1::OpenPartRequest* out) {
  out->set_session_id(request.session_id);
  worker::v1::SessionShape* shape = out->mutable_shape();
  shape->set_num_kv_heads(request.shape.num_kv_heads);
  shape->set_heads_per_kv_head(request.shape.heads_per_kv_head);
  shape->set_head_dim(request.shape.head_dim);
  shape->set_element(static_cast<int32_t>(request.shape.element));
  shape->set_input_type(static_cast<int32_t>(request.shape.input_type));
  shape->set_max_positions(request.shape.max_positions);
  for (const UnitShare& unit : request.units) {
    worker::v1::UnitShare* share = out->add_units();
    share->set_kv_head(unit.kv_head);
    WriteArray(unit.ranges, share->mutable_ranges());
    share->set_num_sinks(unit.policy.num_sinks);
    share->set_window(unit.policy.window);
    share->set_policy(static_cast<int32_t>(unit.policy.kind));
    share->set_count_weight(unit.policy.count_weight);
    share->set_full_prompt(unit.policy.full_prompt);
    share->set_chunk_len(unit.policy.chunk_len);
    share->set_num_chunks(unit.policy.num_chunks);
    share->set_per_query_head(unit.policy.per_query_head);
  }
}

absl::StatusOr<OpenPartRequest> ParseOpenPart(
    const worker::v1::OpenPartRequest& request) {
  const worker::v1::SessionShape& shape = request.shape();
  if (shape.element() < 0 ||
      shape.element() > static_cast<int32_t>(KvElement::kInt8) ||
      shape.input_type() < 0 ||
      shape.input_type() > static_cast<int32_t>(FloatType::kBf16)) {
    return absl::InvalidArgumentError(
        absl::StrCat("element ", shape.element(), " or input_type ",
                     shape.input_type(), " is unknown"));
  }
  OpenPartRequest out;
  out.session_id = request.session_id();
  out.shape = {shape.num_kv_heads(),
               shape.heads_per_kv_head(),
               shape.head_dim(),
               static_cast<KvElement>(shape.element()),
               static_cast<FloatType>(shape.input_type()),
               shape.max_positions()};
  for (const worker::v1::UnitShare& unit : request.units()) {
    if (unit.policy() < 0 || unit.policy() > kMaxPolicyKind) {
      return absl::InvalidArgumentError(
          absl::StrCat("policy ", unit.policy(), " of kv_head ", unit.kv_head(),
                       " is unknown"));
    }
    out.units.push_back({unit.kv_head(),
                         ReadArray<int32_t>(unit.ranges()),
                         {.kind = static_cast<PolicyKind>(unit.policy()),
                          .num_sinks = unit.num_sinks(),
                          .window = unit.window(),
                          .count_weight = unit.count_weight(),
                          .full_prompt = unit.full_prompt(),
                          .chunk_len = unit.chunk_len(),
                          .num_chunks = unit.num_chunks(),
                          .per_query_head = unit.per_query_head()}});
  }
  return out;
}

void WriteStage(StageRequest request, worker::v1::StageRequest* out) {
  out->set_session_id(std::move(request.session_id));
  out->set_length(request.length);
  for (StagePiece& piece : request.pieces) {
    worker::v1::StagePiece* to = out->add_pieces();
    to->set_kv_head(piece.kv_head);
    to->set_first_position(piece.first_position);
    to->set_num_positions(piece.num_positions);
    to->set_keys(std::move(piece.keys));
    to->set_values(std::move(piece.values));
  }
}

StageRequest ParseStage(worker::v1::StageRequest request) {
  StageRequest out;
  out.session_id = request.session_id();
  out.length = request.length();
  for (worker::v1::StagePiece& piece : *request.mutable_pieces()) {
    out.pieces.push_back(
        {piece.kv_head(), piece.first_position(), piece.num_positions(),
         std::move(*piece.mutable_keys()), std::move(*piece.mutable_values())});
  }
  return out;
}

void WriteAttendPart(const AttendPartRequest& request,
                     worker::v1::AttendPartRequest* out) {
  out->set_session_id(request.session_id);
  out->set_length(request.length);
  WriteArray(request.visible_end, out->mutable_visible_end());
  for (const UnitQueries& unit : request.units) {
    WriteQueries(unit, out->add_units());
  }
}

AttendPartRequest ParseAttendPart(
    const worker::v1::AttendPartRequest& request) {
  AttendPartRequest out;
  out.session_id = request.session_id();
  out.length = request.length();
  out.visible_end = ReadArray<int64_t>(request.visible_end());
  for (const worker::v1::UnitQueries& unit : request.units()) {
    out.units.push_back(ReadQueries(unit));
  }
  return out;
}

void WriteAttendResult(const AttendPartResult& result,
                       worker::v1::AttendPartResponse* out) {
  for (const UnitPartials& unit : result.units) {
    worker::v1::UnitPartials* to = out->add_units();
    to->set_kv_head(unit.kv_head);
    for (const RangePartial& part : unit.parts) {
      worker::v1::RangePartial* partial = to->add_parts();
      partial->set_first_range(part.first_range);
      WriteArray(part.out, partial->mutable_out());
      WriteArray(part.lse, partial->mutable_lse());
    }
  }
}

AttendPartResult ParseAttendResult(
    const worker::v1::AttendPartResponse& response) {
  AttendPartResult out;
  for (const worker::v1::UnitPartials& unit : response.units()) {
    UnitPartials partials = {unit.kv_head(), {}};
    for (const worker::v1::RangePartial& part : unit.parts()) {
      partials.parts.push_back({part.first_range(),
                                ReadArray<float>(part.out()),
                                ReadArray<float>(part.lse())});
    }
    out.units.push_back(std::move(partials));
  }
  return out;
}

void WriteProbePart(const ProbePartRequest& request,
                    worker::v1::ProbePartRequest* out) {
  out->set_session_id(request.session_id);
  out->set_length(request.length);
  WriteArray(request.visible_end, out->mutable_visible_end());
  for (const ProbeUnit& unit : request.units) {
    worker::v1::UnitQueries* to = out->add_units();
    WriteQueries(unit.queries, to);
    WriteArray(unit.lse, to->mutable_lse());
  }
  out->set_num_top_keys(request.num_top_keys);
  WriteArray(request.segment_bounds, out->mutable_segment_bounds());
  out->set_entropy(request.entropy);
}

ProbePartRequest ParseProbePart(const worker::v1::ProbePartRequest& request) {
  ProbePartRequest out;
  out.session_id = request.session_id();
  out.length = request.length();
  out.visible_end = ReadArray<int64_t>(request.visible_end());
  for (const worker::v1::UnitQueries& unit : request.units()) {
    out.units.push_back({ReadQueries(unit), ReadArray<float>(unit.lse())});
  }
  out.num_top_keys = request.num_top_keys();
  out.segment_bounds = ReadArray<int64_t>(request.segment_bounds());
  out.entropy = request.entropy();
  return out;
}

void WriteProbeResult(const ProbePartResult& result,
                      worker::v1::ProbePartResponse* out) {
  for (const UnitProbe& unit : result.units) {
    worker::v1::UnitProbe* to = out->add_units();
    to->set_kv_head(unit.kv_head);
    for (const TopKey& key : unit.top) {
      to->add_top_positions(key.position);
      to->add_top_probs(key.prob);
    }
    WriteArray(unit.mass, to->mutable_mass());
    WriteArray(unit.entropy, to->mutable_entropy());
  }
}

absl::StatusOr<ProbePartResult> ParseProbeResult(
    const worker::v1::ProbePartResponse& response) {
  ProbePartResult out;
  for (const worker::v1::UnitProbe& unit : response.units()) {
    if (unit.top_positions_size() != unit.top_probs_size()) {
      return absl::InvalidArgumentError(
          absl::StrCat("a probe of kv_head ", unit.kv_head(), " has ",
                       unit.top_positions_size(), " positions and ",
                       unit.top_probs_size(), " probabilities"));
    }
    UnitProbe probe;
    probe.kv_head = unit.kv_head();
    for (int i = 0; i < unit.top_probs_size(); ++i) {
      probe.top.push_back({unit.top_positions(i), unit.top_probs(i)});
    }
    probe.mass = ReadArray<int64_t>(unit.mass());
    probe.entropy = ReadArray<int64_t>(unit.entropy());
    out.units.push_back(std::move(probe));
  }
  return out;
}

void WriteRun(const BlockRun& run, worker::v1::BlockRun* out) {
  out->set_kv_head(run.kv_head);
  out->set_first_block(run.first_block);
  out->set_num_blocks(run.num_blocks);
}

BlockRun ParseRun(const worker::v1::BlockRun& run) {
  return {run.kv_head(), run.first_block(), run.num_blocks()};
}

}  // namespace headwise
