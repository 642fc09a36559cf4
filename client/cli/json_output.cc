#include "client/cli/json_output.h"

#include <cstdio>
#include <string>

namespace headwise {

using Json = nlohmann::ordered_json;

bool PrintJsonLine(const Json& json) {
  const std::string line =
      json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
  return std::fwrite(line.data(), 1, line.size(), stdout) == line.size() &&
         std::fflush(stdout) == 0;
}

Json UsageToJson(const v1::Usage& usage) {
  return {{"prompt_tokens", usage.prompt_tokens()},
          {"generated_tokens", usage.generated_tokens()},
          {"cached_tokens", usage.cached_tokens()},
          {"queue_seconds", usage.queue_seconds()},
          {"prefill_seconds", usage.prefill_seconds()},
          {"decode_seconds", usage.decode_seconds()}};
}

Json ScoreToJson(const v1::ScoreResponse& score, bool with_logprobs) {
  Json json = {{"tokens", score.num_tokens()},
               {"nll", score.nll()},
               {"perplexity", score.perplexity()},
               {"logits_sha256", score.logits_sha256()}};
  if (with_logprobs) {
    json["logprobs"] =
        std::vector<float>(score.logprobs().begin(), score.logprobs().end());
  }
  json["usage"] = UsageToJson(score.usage());
  return json;
}

Json HeadMapToJson(const v1::HeadMap& map) {
  Json json = {{"model", map.model()},
               {"membership_epoch", map.membership_epoch()},
               {"world_size", map.world_size()},
               {"group_kind", map.group_kind()},
               {"num_layers", map.num_layers()},
               {"num_heads", map.num_heads()},
               {"num_kv_heads", map.num_kv_heads()},
               {"forecast_ms_per_token", map.forecast_ms_per_token()},
               {"max_context_len", map.max_context_len()},
               {"plan", map.plan()},
               {"version", map.version()},
               {"protocol", map.protocol()},
               {"numerics", map.numerics()},
               {"workers", Json::array()},
               {"missing", Json::array()},
               {"units", Json::array()}};
  for (const v1::WorkerShare& worker : map.workers()) {
    json["workers"].push_back(
        {{"name", worker.name()},
         {"address", worker.address()},
         {"version", worker.version()},
         {"rank", worker.rank()},
         {"speed", worker.speed()},
         {"num_units", worker.num_units()},
         {"num_mlp_tiles", worker.num_mlp_tiles()},
         {"num_vocab_tiles", worker.num_vocab_tiles()},
         {"weight_bytes", worker.weight_bytes()},
         {"kv_bytes_per_token", worker.kv_bytes_per_token()},
         {"kv_capacity_bytes", worker.kv_capacity_bytes()},
         {"forecast_ms_per_token", worker.forecast_ms_per_token()}});
  }
  for (const v1::UnitPlacement& unit : map.units()) {
    json["units"].push_back(
        {{"layer", unit.layer()},
         {"kv_head", unit.kv_head()},
         {"rank", unit.rank()},
         {"policy", unit.policy()},
         {"policy_description", unit.policy_description()},
         {"context_ranks", unit.context_ranks()},
         {"weight_bytes", unit.weight_bytes()},
         {"kv_bytes_per_token", unit.kv_bytes_per_token()}});
  }
  for (const v1::MissingWorker& worker : map.missing()) {
    json["missing"].push_back(
        {{"name", worker.name()}, {"reason", worker.reason()}});
  }
  return json;
}

}  // namespace headwise
