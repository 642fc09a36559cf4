#include "server/frontends/response_writer.h"

#include "base/build_info.h"

namespace headwise {
namespace {

const char* ArchitectureName(Architecture architecture) {
  switch (architecture) {
    case Architecture::kLlama:
      return "llama";
    case Architecture::kQwen2:
      return "qwen2";
    case Architecture::kQwen3:
      return "qwen3";
    case Architecture::kTitans:
      return "titans";
  }
  return "unknown";
}

}  // namespace

void WriteUsage(const RequestUsage& usage, v1::Usage* out) {
  out->set_prompt_tokens(usage.prompt_tokens);
  out->set_generated_tokens(usage.generated_tokens);
  out->set_cached_tokens(usage.cached_tokens);
  out->set_queue_seconds(absl::ToDoubleSeconds(usage.queue_time));
  out->set_prefill_seconds(absl::ToDoubleSeconds(usage.prefill_time));
  out->set_decode_seconds(absl::ToDoubleSeconds(usage.decode_time));
}

void WriteScore(const ScoreResult& result, const RequestUsage& usage,
                v1::ScoreResponse* out) {
  out->set_num_tokens(result.num_tokens);
  out->mutable_logprobs()->Assign(result.logprobs.begin(),
                                  result.logprobs.end());
  out->set_nll(result.nll);
  out->set_perplexity(result.perplexity);
  out->set_logits_sha256(result.logits_sha256);
  WriteUsage(usage, out->mutable_usage());
}

void WriteHeadMap(const HeadMap& map, v1::HeadMap* out) {
  out->set_model(map.model);
  out->set_membership_epoch(map.membership_epoch);
  out->set_world_size(static_cast<uint32_t>(map.world_size));
  out->set_group_kind(map.group_kind);
  out->set_num_layers(map.num_layers);
  out->set_num_heads(map.num_heads);
  out->set_num_kv_heads(map.num_kv_heads);
  out->set_forecast_ms_per_token(map.forecast_ms_per_token);
  out->set_max_context_len(map.max_context_len);
  out->set_plan(map.plan);
  out->set_version(OwnBuild().version);
  out->set_protocol(map.protocol);
  out->set_numerics(OwnBuild().numerics);
  for (const HeadMap::Worker& worker : map.workers) {
    v1::WorkerShare& share = *out->add_workers();
    share.set_name(worker.name);
    share.set_address(worker.address);
    share.set_version(worker.version);
    share.set_rank(static_cast<uint32_t>(worker.rank));
    share.set_speed(worker.speed);
    share.set_num_units(worker.num_units);
    share.set_num_mlp_tiles(worker.num_mlp_tiles);
    share.set_num_vocab_tiles(worker.num_vocab_tiles);
    share.set_weight_bytes(worker.weight_bytes);
    share.set_kv_bytes_per_token(worker.kv_bytes_per_token);
    share.set_kv_capacity_bytes(worker.kv_capacity_bytes);
    share.set_forecast_ms_per_token(worker.forecast_ms_per_token);
  }
  for (const HeadMap::Unit& unit : map.units) {
    v1::UnitPlacement& placed = *out->add_units();
    placed.set_layer(static_cast<uint32_t>(unit.layer));
    placed.set_kv_head(static_cast<uint32_t>(unit.kv_head));
    placed.set_rank(static_cast<uint32_t>(unit.rank));
    placed.set_policy(unit.policy);
    placed.set_policy_description(unit.policy_description);
    placed.mutable_context_ranks()->Assign(unit.context_ranks.begin(),
                                           unit.context_ranks.end());
    placed.set_weight_bytes(unit.weight_bytes);
    placed.set_kv_bytes_per_token(unit.kv_bytes_per_token);
  }
}

void WriteSizeAnswer(const SizeAnswer& answer, v1::CheckCapacityResponse* out) {
  switch (answer.verdict) {
    case SizeAnswer::Verdict::kNow:
      out->set_capacity(v1::CAPACITY_NOW);
      break;
    case SizeAnswer::Verdict::kLater:
      out->set_capacity(v1::CAPACITY_LATER);
      break;
    case SizeAnswer::Verdict::kNever:
      out->set_capacity(v1::CAPACITY_NEVER);
      break;
  }
  out->set_retry_seconds(absl::ToDoubleSeconds(answer.retry_after));
  out->set_rank(static_cast<uint32_t>(answer.rank));
  out->set_needed_bytes(answer.needed_bytes);
  out->set_available_bytes(answer.available_bytes);
  out->set_longest_context(answer.longest_context);
  out->set_reason(answer.reason);
}

void WriteModel(const ServedModel& model, int64_t served_context_len,
                v1::Model* out) {
  const Hyperparameters& hyper = model.model->hyperparameters();
  out->set_name(model.name);
  out->set_architecture(ArchitectureName(hyper.architecture));
  out->set_num_layers(hyper.num_layers);
  out->set_num_heads(hyper.num_heads);
  out->set_num_kv_heads(hyper.num_kv_heads);
  out->set_head_dim(hyper.head_dim);
  out->set_model_dim(hyper.model_dim);
  out->set_ffn_dim(hyper.ffn_dim);
  out->set_vocab_size(hyper.vocab_size);
  out->set_max_context_len(hyper.max_context_len);
  out->set_served_context_len(served_context_len);
  out->set_kv_type(model.kv_type);
  out->set_has_chat_template(model.chat_template != nullptr);
}

}  // namespace headwise
