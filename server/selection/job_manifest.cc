#include "server/selection/job_manifest.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "model/head_plan/kv_type.h"
#include "nlohmann/json.hpp"
#include "server/selection/input_files.h"
#include "server/selection/valid_utf8.h"

namespace headwise {
namespace {

using nlohmann::ordered_json;

constexpr int64_t kVersion = 1;
constexpr size_t kHashDigits = 64;
constexpr int64_t kMaxTokens = int64_t{1} << 40;
constexpr char kShardsBegin[] = ",\"shards\":[";
constexpr char kShardsEnd[] = "\n]}\n";

absl::Status CheckHash(absl::string_view field, absl::string_view value) {
  const bool is_hash =
      value.size() == kHashDigits &&
      std::all_of(value.begin(), value.end(), [](char c) {
        return absl::ascii_isdigit(c) || (c >= 'a' && c <= 'f');
      });
  if (is_hash) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      field, " has ", value.size(), " bytes, allowed: ", kHashDigits,
      " hexadecimal digits, lower case"));
}

absl::Status CheckInt(absl::string_view field, int64_t value, int64_t min,
                      int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, " is ", value, ", allowed: ", min, " to ", max));
}

absl::Status CheckScoring(const ScoringOptions& scoring) {
  HEADWISE_RETURN_IF_ERROR(CheckInt("window", scoring.window, 2, kMaxTokens));
  HEADWISE_RETURN_IF_ERROR(
      CheckInt("max_tokens", scoring.max_tokens, 0, kMaxTokens));
  return CheckInt("skip_tokens", scoring.skip_tokens, 1, scoring.window - 1);
}

absl::Status CheckRanking(const RankingRules& ranking) {
  HEADWISE_RETURN_IF_ERROR(
      CheckInt("min_tokens", ranking.min_tokens, 0, kMaxTokens));
  if (!(ranking.min_loss >= 0.0) || !std::isfinite(ranking.min_loss)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "min_loss is ", ranking.min_loss, ", allowed: 0 or more, finite"));
  }
  if (!(ranking.max_repetition >= 0.0 && ranking.max_repetition <= 1.0)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "max_repetition is ", ranking.max_repetition, ", allowed: 0 to 1"));
  }
  if (ranking.domains.size() > kMaxJobDomains) {
    return absl::InvalidArgumentError(absl::StrCat(
        "domains has ", ranking.domains.size(), ", limit ", kMaxJobDomains));
  }
  for (const std::string& domain : ranking.domains) {
    if (domain.size() > kMaxDomainBytes || !IsValidUtf8(domain)) {
      return absl::InvalidArgumentError(
          absl::StrCat("domains has a name of ", domain.size(),
                       " bytes, allowed: UTF-8 to ", kMaxDomainBytes));
    }
  }
  return absl::OkStatus();
}

// "layer.head", as decimal numbers print.
bool IsHeadName(absl::string_view name) {
  const std::vector<absl::string_view> parts = absl::StrSplit(name, '.');
  if (parts.size() != 2) return false;
  return std::all_of(parts.begin(), parts.end(), [](absl::string_view part) {
    uint32_t number = 0;
    return absl::SimpleAtoi(part, &number) && absl::StrCat(number) == part;
  });
}

absl::Status CheckKvType(const std::string& kv_type) {
  if (ParseKvType(kv_type).ok()) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("kv_type has ", kv_type.size(),
                   " bytes, allowed: \"fp32\", \"fp16\", \"bf16\", \"int8\""));
}

absl::Status CheckMask(const JobManifest& manifest) {
  if (manifest.mask != "uniform" && manifest.mask != "zero") {
    return absl::InvalidArgumentError(
        absl::StrCat("mask has ", manifest.mask.size(),
                     " bytes, allowed: \"uniform\", \"zero\""));
  }
  if (manifest.masked_heads.size() > kMaxMaskedHeads) {
    return absl::InvalidArgumentError(
        absl::StrCat("masked_heads has ", manifest.masked_heads.size(),
                     ", limit ", kMaxMaskedHeads));
  }
  for (const std::string& head : manifest.masked_heads) {
    if (!IsHeadName(head)) {
      return absl::InvalidArgumentError(
          absl::StrCat("masked_heads has a name of ", head.size(),
                       " bytes that is not \"<layer>.<head>\""));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckInput(const InputOptions& input) {
  HEADWISE_RETURN_IF_ERROR(CheckInputOptions(input));
  if (!IsValidUtf8(input.root)) {
    return absl::InvalidArgumentError("root is no UTF-8");
  }
  for (const std::string& path : input.paths) {
    if (!IsValidUtf8(path)) {
      return absl::InvalidArgumentError("paths has a name that is no UTF-8");
    }
  }
  return absl::OkStatus();
}

absl::Status CheckShards(const std::vector<InputShard>& shards) {
  int64_t num_pieces = 0;
  for (size_t i = 0; i < shards.size(); ++i) {
    HEADWISE_RETURN_IF_ERROR(CheckInt("index of a shard", shards[i].index,
                                      static_cast<int64_t>(i),
                                      static_cast<int64_t>(i)));
    num_pieces += static_cast<int64_t>(shards[i].pieces.size());
    for (const ShardPiece& piece : shards[i].pieces) {
      HEADWISE_RETURN_IF_ERROR(CheckHash("sha256 of a piece", piece.sha256));
      HEADWISE_RETURN_IF_ERROR(CheckInt("begin of a piece", piece.begin, 0,
                                        std::numeric_limits<int64_t>::max()));
      HEADWISE_RETURN_IF_ERROR(CheckInt("end of a piece", piece.end,
                                        piece.begin,
                                        std::numeric_limits<int64_t>::max()));
      if (!IsValidUtf8(piece.file)) {
        return absl::InvalidArgumentError("file of a piece is no UTF-8");
      }
    }
  }
  return CheckInt("number of pieces", num_pieces, 0, kMaxInputPieces);
}

ordered_json HeadToJson(const JobManifest& manifest) {
  ordered_json json;
  json["version"] = kVersion;
  json["model_sha256"] = manifest.model_sha256;
  json["tokenizer_sha256"] = manifest.tokenizer_sha256;
  json["masked_plan_sha256"] = manifest.masked_plan_sha256;
  json["masked_heads"] = manifest.masked_heads;
  json["mask"] = manifest.mask;
  json["kv_type"] = manifest.kv_type;
  if (manifest.numerics != 1) json["numerics"] = manifest.numerics;
  json["scoring"] = {{"window", manifest.scoring.window},
                     {"max_tokens", manifest.scoring.max_tokens},
                     {"skip_tokens", manifest.scoring.skip_tokens}};
  json["ranking"] = {{"min_tokens", manifest.ranking.min_tokens},
                     {"min_loss", manifest.ranking.min_loss},
                     {"max_repetition", manifest.ranking.max_repetition},
                     {"domains", manifest.ranking.domains}};
  const InputOptions& input = manifest.input;
  json["input"] = {{"root", input.root},
                   {"paths", input.paths},
                   {"id_field", input.id_field},
                   {"text_field", input.text_field},
                   {"domain_field", input.domain_field},
                   {"domain", input.domain},
                   {"shard_bytes", input.shard_bytes},
                   {"max_document_bytes", input.max_document_bytes}};
  return json;
}

// Throws nlohmann's exceptions.
JobManifest HeadFromJson(const ordered_json& json) {
  JobManifest manifest;
  json.at("model_sha256").get_to(manifest.model_sha256);
  json.at("tokenizer_sha256").get_to(manifest.tokenizer_sha256);
  json.at("masked_plan_sha256").get_to(manifest.masked_plan_sha256);
  json.at("masked_heads").get_to(manifest.masked_heads);
  json.at("mask").get_to(manifest.mask);
  json.at("kv_type").get_to(manifest.kv_type);
  manifest.numerics = json.value("numerics", manifest.numerics);
  const ordered_json& scoring = json.at("scoring");
  scoring.at("window").get_to(manifest.scoring.window);
  scoring.at("max_tokens").get_to(manifest.scoring.max_tokens);
  scoring.at("skip_tokens").get_to(manifest.scoring.skip_tokens);
  const ordered_json& ranking = json.at("ranking");
  ranking.at("min_tokens").get_to(manifest.ranking.min_tokens);
  ranking.at("min_loss").get_to(manifest.ranking.min_loss);
  ranking.at("max_repetition").get_to(manifest.ranking.max_repetition);
  ranking.at("domains").get_to(manifest.ranking.domains);
  const ordered_json& input = json.at("input");
  input.at("root").get_to(manifest.input.root);
  input.at("paths").get_to(manifest.input.paths);
  input.at("id_field").get_to(manifest.input.id_field);
  input.at("text_field").get_to(manifest.input.text_field);
  input.at("domain_field").get_to(manifest.input.domain_field);
  input.at("domain").get_to(manifest.input.domain);
  input.at("shard_bytes").get_to(manifest.input.shard_bytes);
  input.at("max_document_bytes").get_to(manifest.input.max_document_bytes);
  return manifest;
}

std::string ShardToLine(const InputShard& shard) {
  ordered_json pieces = ordered_json::array();
  for (const ShardPiece& piece : shard.pieces) {
    pieces.push_back({{"file", piece.file},
                      {"begin", piece.begin},
                      {"end", piece.end},
                      {"sha256", piece.sha256}});
  }
  ordered_json json;
  json["index"] = shard.index;
  json["pieces"] = std::move(pieces);
  return json.dump();
}

// Throws nlohmann's exceptions.
InputShard ShardFromLine(absl::string_view line) {
  const ordered_json json = ordered_json::parse(line.begin(), line.end());
  InputShard shard;
  json.at("index").get_to(shard.index);
  for (const ordered_json& piece : json.at("pieces")) {
    ShardPiece& read = shard.pieces.emplace_back();
    piece.at("file").get_to(read.file);
    piece.at("begin").get_to(read.begin);
    piece.at("end").get_to(read.end);
    piece.at("sha256").get_to(read.sha256);
  }
  return shard;
}

// Throws nlohmann's exceptions.
JobManifest ManifestFromText(absl::string_view text) {
  // No string of the head holds this text: its quotes would be escaped.
  const size_t head_bytes = text.find(kShardsBegin);
  if (head_bytes == absl::string_view::npos) {
    return HeadFromJson(ordered_json::parse(text.begin(), text.end()));
  }
  const std::string head = absl::StrCat(text.substr(0, head_bytes), "}");
  JobManifest manifest = HeadFromJson(ordered_json::parse(head));
  absl::string_view lines = text.substr(head_bytes + sizeof(kShardsBegin) - 1);
  absl::ConsumeSuffix(&lines, kShardsEnd);
  for (absl::string_view line : absl::StrSplit(lines, '\n')) {
    absl::ConsumeSuffix(&line, ",");
    if (!line.empty()) manifest.shards.push_back(ShardFromLine(line));
  }
  return manifest;
}

}  // namespace

absl::Status CheckManifest(const JobManifest& manifest) {
  HEADWISE_RETURN_IF_ERROR(CheckHash("model_sha256", manifest.model_sha256));
  if (!manifest.tokenizer_sha256.empty()) {
    HEADWISE_RETURN_IF_ERROR(
        CheckHash("tokenizer_sha256", manifest.tokenizer_sha256));
  }
  HEADWISE_RETURN_IF_ERROR(
      CheckHash("masked_plan_sha256", manifest.masked_plan_sha256));
  HEADWISE_RETURN_IF_ERROR(CheckMask(manifest));
  HEADWISE_RETURN_IF_ERROR(CheckKvType(manifest.kv_type));
  HEADWISE_RETURN_IF_ERROR(CheckInt("numerics", manifest.numerics, 1,
                                    std::numeric_limits<uint32_t>::max()));
  HEADWISE_RETURN_IF_ERROR(CheckScoring(manifest.scoring));
  HEADWISE_RETURN_IF_ERROR(CheckRanking(manifest.ranking));
  HEADWISE_RETURN_IF_ERROR(CheckInput(manifest.input));
  return CheckShards(manifest.shards);
}

std::string ManifestHeadJson(const JobManifest& manifest) {
  return HeadToJson(manifest).dump();
}

std::string ManifestJson(const JobManifest& manifest) {
  std::string text = ManifestHeadJson(manifest);
  text.pop_back();
  text += kShardsBegin;
  for (const InputShard& shard : manifest.shards) {
    absl::StrAppend(&text, shard.index == 0 ? "\n" : ",\n", ShardToLine(shard));
  }
  text += kShardsEnd;
  return text;
}

absl::StatusOr<JobManifest> ParseManifest(absl::string_view text) {
  JobManifest manifest;
  try {
    manifest = ManifestFromText(text);
  } catch (const nlohmann::json::exception& error) {
    return absl::DataLossError(
        absl::StrCat("the manifest can't be read: ", error.what()));
  }
  if (absl::Status status = CheckManifest(manifest); !status.ok()) {
    return absl::DataLossError(
        absl::StrCat("the manifest: ", status.message()));
  }
  const bool has_shards = absl::EndsWith(text, "\n");
  if (text !=
      (has_shards ? ManifestJson(manifest) : ManifestHeadJson(manifest))) {
    return absl::DataLossError(
        "the manifest is not spelled as this version spells it");
  }
  return manifest;
}

std::string JobId(const JobManifest& manifest) {
  const std::string text = ManifestJson(manifest);
  return Sha256Hex(Sha256Of(absl::MakeConstSpan(
      reinterpret_cast<const uint8_t*>(text.data()), text.size())));
}

}  // namespace headwise
