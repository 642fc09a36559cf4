#include "server/frontends/quota_file.h"

#include <fstream>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"

namespace headwise {
namespace {

using Json = nlohmann::json;

constexpr size_t kMaxFileBytes = 1 << 20;
// Bytes and tokens are told exactly by a double up to there.
constexpr double kMaxNumber = 9007199254740992;  // 2^53

absl::Status NotAnObject(absl::string_view what) {
  return absl::InvalidArgumentError(
      absl::StrCat("quotas: ", what, " must be an object"));
}

absl::StatusOr<TenantQuota> ParseOne(const std::string& whose,
                                     const Json& json) {
  if (!json.is_object()) return NotAnObject(whose);
  TenantQuota quota;
  const std::map<std::string, int64_t*> whole = {
      {"running", &quota.max_running},
      {"waiting", &quota.max_waiting},
      {"kv_bytes", &quota.max_kv_bytes}};
  const std::map<std::string, double*> real = {
      {"tokens_per_second", &quota.tokens_per_second},
      {"burst_tokens", &quota.burst_tokens}};
  for (const auto& [name, value] : json.items()) {
    const std::string field = absl::StrCat("quotas: ", whose, ".", name);
    const auto to_whole = whole.find(name);
    const auto to_real = real.find(name);
    if (to_whole == whole.end() && to_real == real.end()) {
      return absl::InvalidArgumentError(
          absl::StrCat(field,
                       " is unknown; there are running, waiting, kv_bytes, "
                       "tokens_per_second and burst_tokens"));
    }
    if (!value.is_number() || value.get<double>() < 0 ||
        value.get<double>() > kMaxNumber ||
        (to_whole != whole.end() && !value.is_number_integer())) {
      return absl::InvalidArgumentError(
          absl::StrCat(field, " is ", value.dump().substr(0, 64), ", must be ",
                       to_whole != whole.end() ? "a whole number" : "a number",
                       " from 0 to 2^53"));
    }
    if (to_whole != whole.end()) *to_whole->second = value.get<int64_t>();
    if (to_real != real.end()) *to_real->second = value.get<double>();
  }
  return quota;
}

}  // namespace

absl::StatusOr<TenantQuotas> ParseQuotas(absl::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), /*callback=*/nullptr,
                                /*allow_exceptions=*/false);
  if (!json.is_object()) return NotAnObject("the file");
  TenantQuotas quotas;
  for (const auto& [name, value] : json.items()) {
    if (name == "others") {
      HEADWISE_ASSIGN_OR_RETURN(quotas.of_others, ParseOne(name, value));
      continue;
    }
    if (name != "tenants") {
      return absl::InvalidArgumentError(absl::StrCat(
          "quotas: ", name, " is unknown; there are others and tenants"));
    }
    if (!value.is_object()) return NotAnObject(name);
    for (const auto& [tenant, quota] : value.items()) {
      HEADWISE_ASSIGN_OR_RETURN(
          quotas.named[tenant],
          ParseOne(absl::StrCat("tenants.", tenant), quota));
    }
  }
  HEADWISE_RETURN_IF_ERROR(CheckTenantQuotas(quotas));
  return quotas;
}

absl::StatusOr<TenantQuotas> ReadQuotaFile(const std::string& path) {
  if (path.empty()) return TenantQuotas();
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFileBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (file.bad() || !file.is_open()) {
    return absl::NotFoundError(
        absl::StrCat("quotas: ", path, " can't be read"));
  }
  text.resize(static_cast<size_t>(file.gcount()));
  if (text.size() > kMaxFileBytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "quotas: ", path, " has more than ", kMaxFileBytes, " bytes"));
  }
  return ParseQuotas(text);
}

}  // namespace headwise
