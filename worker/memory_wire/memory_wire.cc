#include "worker/memory_wire/memory_wire.h"

#include <vector>

#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

using Floats = google::protobuf::RepeatedField<float>;

void WriteFloats(const std::vector<float>& floats, Floats* out) {
  out->Assign(floats.begin(), floats.end());
}

std::vector<float> ParseFloats(const Floats& floats) {
  return {floats.begin(), floats.end()};
}

absl::Status CheckEnum(const char* name, int32_t value, int32_t last) {
  if (value >= 0 && value <= last) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": ", value, ", allowed 0 to ", last));
}

absl::Status CheckEnums(const worker::v1::MemorySpec& spec) {
  absl::Status status =
      CheckEnum("activation", spec.activation(),
                static_cast<int32_t>(MemoryActivation::kGelu));
  status.Update(
      CheckEnum("norm", spec.norm(), static_cast<int32_t>(MemoryNorm::kRms)));
  status.Update(
      CheckEnum("rule", spec.rule(), static_cast<int32_t>(MemoryRule::kChunk)));
  return status;
}

}  // namespace

void WriteOpenMemory(const OpenMemoryRequest& request,
                     worker::v1::OpenMemoryRequest* out) {
  const MemorySpec& spec = request.share.spec;
  worker::v1::MemorySpec* to = out->mutable_spec();
  to->set_head_dim(spec.head_dim);
  to->set_num_layers(spec.num_layers);
  to->set_hidden_dim(spec.hidden_dim);
  to->set_activation(static_cast<int32_t>(spec.activation));
  to->set_norm(static_cast<int32_t>(spec.norm));
  to->set_residual(spec.residual);
  to->set_rule(static_cast<int32_t>(spec.rule));
  to->set_chunk_len(spec.chunk_len);
  to->set_loss_scale(spec.loss_scale);
  to->set_max_norm(spec.max_norm);
  out->set_memory_id(request.memory_id);
  out->set_first_head(request.share.first_head);
  out->set_num_heads(request.share.num_heads);
}

absl::StatusOr<OpenMemoryRequest> ParseOpenMemory(
    const worker::v1::OpenMemoryRequest& request) {
  const worker::v1::MemorySpec& spec = request.spec();
  const absl::Status status = CheckEnums(spec);
  if (!status.ok()) return status;
  OpenMemoryRequest out;
  out.memory_id = request.memory_id();
  out.share = {{.head_dim = spec.head_dim(),
                .num_layers = spec.num_layers(),
                .hidden_dim = spec.hidden_dim(),
                .activation = static_cast<MemoryActivation>(spec.activation()),
                .norm = static_cast<MemoryNorm>(spec.norm()),
                .residual = spec.residual(),
                .rule = static_cast<MemoryRule>(spec.rule()),
                .chunk_len = spec.chunk_len(),
                .loss_scale = spec.loss_scale(),
                .max_norm = spec.max_norm()},
               request.first_head(),
               request.num_heads()};
  return out;
}

void WriteWriteMemory(const WriteMemoryRequest& request,
                      worker::v1::WriteMemoryRequest* out) {
  out->set_memory_id(request.memory_id);
  out->set_version(request.version);
  out->set_next_version(request.next_version);
  out->set_num_rows(request.num_rows);
  WriteFloats(request.keys, out->mutable_keys());
  WriteFloats(request.values, out->mutable_values());
  WriteFloats(request.queries, out->mutable_queries());
  WriteFloats(request.theta, out->mutable_theta());
  WriteFloats(request.eta, out->mutable_eta());
  WriteFloats(request.alpha, out->mutable_alpha());
}

WriteMemoryRequest ParseWriteMemory(
    const worker::v1::WriteMemoryRequest& request) {
  return {.memory_id = request.memory_id(),
          .version = request.version(),
          .next_version = request.next_version(),
          .num_rows = request.num_rows(),
          .keys = ParseFloats(request.keys()),
          .values = ParseFloats(request.values()),
          .queries = ParseFloats(request.queries()),
          .theta = ParseFloats(request.theta()),
          .eta = ParseFloats(request.eta()),
          .alpha = ParseFloats(request.alpha())};
}

void WriteWriteResult(const WriteMemoryResult& result,
                      worker::v1::WriteMemoryResponse* out) {
  WriteFloats(result.outputs, out->mutable_outputs());
  WriteFloats(result.surprise, out->mutable_surprise());
}

WriteMemoryResult ParseWriteResult(
    const worker::v1::WriteMemoryResponse& response) {
  return {ParseFloats(response.outputs()), ParseFloats(response.surprise())};
}

void WriteReadMemory(const ReadMemoryRequest& request,
                     worker::v1::ReadMemoryRequest* out) {
  out->set_memory_id(request.memory_id);
  out->set_version(request.version);
  out->set_num_rows(request.num_rows);
  WriteFloats(request.queries, out->mutable_queries());
}

ReadMemoryRequest ParseReadMemory(
    const worker::v1::ReadMemoryRequest& request) {
  return {request.memory_id(), request.version(), request.num_rows(),
          ParseFloats(request.queries())};
}

}  // namespace headwise
