#include "model/head_scores/head_scores_json.h"

#include <set>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/bounded_json.h"

namespace headwise {
namespace {

constexpr int64_t kVersion = 1;

absl::Status Problem(absl::string_view what, absl::string_view key,
                     absl::string_view problem) {
  return absl::InvalidArgumentError(
      absl::StrCat(what, ": ", key, " ", problem));
}

absl::Status CheckKeys(absl::string_view what, const nlohmann::json& json) {
  static const auto& known = *new std::set<std::string>{
      "headwise_scores", "model_sha256", "method", "num_layers", "num_heads",
      "num_kv_heads",    "units",        "heads",  "details"};
  for (const auto& [key, value] : json.items()) {
    if (known.count(key) == 0) return Problem(what, key, "is not known");
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> Integer(absl::string_view what,
                                const nlohmann::json& json, const char* key) {
  HEADWISE_ASSIGN_OR_RETURN(const std::optional<int64_t> value,
                            JsonInt(json, key));
  if (!value) return Problem(what, key, "is missing");
  return *value;
}

absl::StatusOr<std::string> Text(absl::string_view what,
                                 const nlohmann::json& json, const char* key) {
  HEADWISE_ASSIGN_OR_RETURN(std::optional<std::string> value,
                            JsonText(json, key));
  if (!value) return Problem(what, key, "is missing");
  return *std::move(value);
}

absl::Status ReadNumbers(absl::string_view what, const std::string& key,
                         const nlohmann::json& array,
                         std::vector<double>& numbers) {
  if (!array.is_array()) return Problem(what, key, "must be an array");
  for (const nlohmann::json& number : array) {
    if (!number.is_number()) return Problem(what, key, "must hold numbers");
    numbers.push_back(number.get<double>());
  }
  return absl::OkStatus();
}

absl::Status ReadArrays(absl::string_view what, const nlohmann::json& json,
                        HeadScores& scores) {
  for (const auto& [key, numbers] :
       {std::pair("units", &scores.units), std::pair("heads", &scores.heads)}) {
    const nlohmann::json* array = JsonMember(json, key);
    if (array == nullptr) continue;
    HEADWISE_RETURN_IF_ERROR(ReadNumbers(what, key, *array, *numbers));
  }
  const nlohmann::json* details = JsonMember(json, "details");
  if (details == nullptr) return absl::OkStatus();
  if (!details->is_object()) {
    return Problem(what, "details", "must be an object");
  }
  for (const auto& [name, array] : details->items()) {
    HEADWISE_RETURN_IF_ERROR(
        ReadNumbers(what, name, array, scores.details[name]));
  }
  return absl::OkStatus();
}

}  // namespace

nlohmann::ordered_json HeadScoresToJson(const HeadScores& scores) {
  nlohmann::ordered_json json = {
      {"headwise_scores", kVersion},   {"model_sha256", scores.model_sha256},
      {"method", scores.method},       {"num_layers", scores.num_layers},
      {"num_heads", scores.num_heads}, {"num_kv_heads", scores.num_kv_heads},
      {"units", scores.units}};
  if (!scores.heads.empty()) json["heads"] = scores.heads;
  if (!scores.details.empty()) json["details"] = scores.details;
  return json;
}

absl::StatusOr<HeadScores> ParseHeadScores(absl::string_view what,
                                           absl::string_view text) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(text.data());
  HEADWISE_ASSIGN_OR_RETURN(
      const nlohmann::json json,
      ParseBoundedJson(what, absl::MakeConstSpan(bytes, text.size()),
                       JsonLimits()));
  if (!json.is_object()) return Problem(what, "it", "must be an object");
  HEADWISE_RETURN_IF_ERROR(CheckKeys(what, json));
  HEADWISE_ASSIGN_OR_RETURN(const int64_t version,
                            Integer(what, json, "headwise_scores"));
  if (version != kVersion) {
    return Problem(what, "headwise_scores",
                   absl::StrCat("is ", version, ", must be ", kVersion));
  }
  HeadScores scores;
  HEADWISE_ASSIGN_OR_RETURN(scores.model_sha256,
                            Text(what, json, "model_sha256"));
  HEADWISE_ASSIGN_OR_RETURN(scores.method, Text(what, json, "method"));
  HEADWISE_ASSIGN_OR_RETURN(scores.num_layers,
                            Integer(what, json, "num_layers"));
  HEADWISE_ASSIGN_OR_RETURN(scores.num_heads, Integer(what, json, "num_heads"));
  HEADWISE_ASSIGN_OR_RETURN(scores.num_kv_heads,
                            Integer(what, json, "num_kv_heads"));
  HEADWISE_RETURN_IF_ERROR(ReadArrays(what, json, scores));
  HEADWISE_RETURN_IF_ERROR(CheckHeadScores(scores));
  return scores;
}

}  // namespace headwise
