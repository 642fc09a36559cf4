#include "model/files/hf_text_rules.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "base/status_macros.h"
#include "model/files/bounded_json.h"
#include "model/files/quoted.h"

namespace headwise {

namespace {

using Json = nlohmann::json;

constexpr absl::string_view kSpaceMark = "\xe2\x96\x81";  // U+2581

// The word rules of Llama 3 and Qwen 2, which differ in how many digits make a
// word (tokenizer.json of meta-llama/Meta-Llama-3-8B and Qwen/Qwen2-7B).
constexpr absl::string_view kWordsBeforeDigits =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|)";
constexpr absl::string_view kWordsAfterDigits =
    R"(| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr absl::string_view kLlama3Digits = R"(\p{N}{1,3})";
constexpr absl::string_view kQwen2Digits = R"(\p{N})";

absl::Status NotOurs(absl::string_view part, absl::string_view why) {
  return absl::UnimplementedError(
      absl::StrCat("tokenizer.json: ", part, ": ", why));
}

std::string TypeOf(const Json& step) {
  const auto it = step.find("type");
  return it != step.end() && it->is_string() ? it->get<std::string>() : "";
}

// The steps of member `part`: those of a Sequence, whose list is called
// `list_key`, or the one that stands there; none if it is absent.
absl::StatusOr<std::vector<Json>> StepsOf(const Json& tokenizer,
                                          const char* part,
                                          const char* list_key) {
  const Json* member = JsonMember(tokenizer, part);
  if (member == nullptr) return std::vector<Json>();
  if (!member->is_object()) return NotOurs(part, "no object");
  if (TypeOf(*member) != "Sequence") return std::vector<Json>{*member};
  const Json* list = JsonMember(*member, list_key);
  if (list == nullptr || !list->is_array()) return NotOurs(part, "no list");
  for (const Json& step : *list) {
    if (!step.is_object()) return NotOurs(part, "a step is no object");
  }
  return std::vector<Json>(list->begin(), list->end());
}

std::string Names(const std::vector<Json>& steps) {
  return absl::StrJoin(steps, " + ", [](std::string* out, const Json& step) {
    absl::StrAppend(out, Quoted(TypeOf(step)));
  });
}

bool Flag(const Json& step, const char* key, bool absent) {
  const auto it = step.find(key);
  return it != step.end() && it->is_boolean() ? it->get<bool>() : absent;
}

std::string TextAt(const Json& step, const char* key) {
  const auto it = step.find(key);
  return it != step.end() && it->is_string() ? it->get<std::string>() : "";
}

// "pattern": {"Regex": ...} or {"String": ...}
std::string PatternOf(const Json& step, const char* kind) {
  const auto it = step.find("pattern");
  return it != step.end() && it->is_object() ? TextAt(*it, kind) : "";
}

absl::StatusOr<PreTokenizer> ParseSplit(const Json& split) {
  const std::string regex = PatternOf(split, "Regex");
  if (TextAt(split, "behavior") != "Isolated" || Flag(split, "invert", false)) {
    return NotOurs("pre_tokenizer", "a Split that is not Isolated");
  }
  if (regex ==
      absl::StrCat(kWordsBeforeDigits, kLlama3Digits, kWordsAfterDigits)) {
    return PreTokenizer::kLlamaBpe;
  }
  if (regex ==
      absl::StrCat(kWordsBeforeDigits, kQwen2Digits, kWordsAfterDigits)) {
    return PreTokenizer::kQwen2;
  }
  return NotOurs("pre_tokenizer",
                 absl::StrCat("regular expression ", Quoted(regex)));
}

bool IsSpaceReplacement(const Json& step) {
  return TypeOf(step) == "Replace" && PatternOf(step, "String") == " " &&
         TextAt(step, "content") == kSpaceMark;
}

absl::StatusOr<SpacePrefix> ReadMetaspace(const Json& step) {
  if (TypeOf(step) != "Metaspace" ||
      TextAt(step, "replacement") != kSpaceMark || Flag(step, "split", true)) {
    return NotOurs("pre_tokenizer", Quoted(TypeOf(step)));
  }
  const std::string scheme = TextAt(step, "prepend_scheme");
  if (scheme == "always") return SpacePrefix::kEverySectionWithoutOne;
  if (scheme == "first") return SpacePrefix::kFirstWithoutOne;
  if (scheme == "never") return SpacePrefix::kNone;
  return NotOurs("pre_tokenizer", absl::StrCat("Metaspace with prepend_scheme ",
                                               Quoted(scheme)));
}

}  // namespace

absl::StatusOr<PreTokenizer> ReadBytePreTokenizer(const Json& tokenizer) {
  HEADWISE_ASSIGN_OR_RETURN(
      const std::vector<Json> steps,
      StepsOf(tokenizer, "pre_tokenizer", "pretokenizers"));
  const bool ends_in_bytes = !steps.empty() &&
                             TypeOf(steps.back()) == "ByteLevel" &&
                             !Flag(steps.back(), "add_prefix_space", true);
  if (ends_in_bytes && steps.size() <= 2) {
    const bool uses_regex = Flag(steps.back(), "use_regex", true);
    const std::string first = TypeOf(steps.front());
    if (steps.size() == 1 && uses_regex) return PreTokenizer::kGpt2;
    if (steps.size() == 2 && uses_regex && first == "Digits" &&
        Flag(steps.front(), "individual_digits", false)) {
      return PreTokenizer::kSmollm;
    }
    if (steps.size() == 2 && !uses_regex && first == "Split") {
      return ParseSplit(steps.front());
    }
  }
  return NotOurs("pre_tokenizer", absl::StrCat("steps ", Names(steps)));
}

absl::StatusOr<bool> ReadNfc(const Json& tokenizer) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Json> steps,
                            StepsOf(tokenizer, "normalizer", "normalizers"));
  if (steps.empty()) return false;
  if (steps.size() == 1 && TypeOf(steps[0]) == "NFC") return true;
  return NotOurs("normalizer", absl::StrCat("steps ", Names(steps)));
}

absl::StatusOr<SpacePrefix> ReadSpacePrefix(const Json& tokenizer) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Json> normalizer,
                            StepsOf(tokenizer, "normalizer", "normalizers"));
  HEADWISE_ASSIGN_OR_RETURN(
      const std::vector<Json> pre,
      StepsOf(tokenizer, "pre_tokenizer", "pretokenizers"));
  if (normalizer.empty() && pre.size() == 1) return ReadMetaspace(pre[0]);
  if (!pre.empty()) {
    return NotOurs("pre_tokenizer",
                   absl::StrCat("with byte fallback: ", Names(pre)));
  }
  if (normalizer.size() == 1 && IsSpaceReplacement(normalizer[0])) {
    return SpacePrefix::kNone;
  }
  if (normalizer.size() == 2 && TypeOf(normalizer[0]) == "Prepend" &&
      TextAt(normalizer[0], "prepend") == kSpaceMark &&
      IsSpaceReplacement(normalizer[1])) {
    return SpacePrefix::kEverySection;
  }
  return NotOurs("normalizer",
                 absl::StrCat("with byte fallback: steps ", Names(normalizer)));
}

absl::StatusOr<std::string> ReadPrefixToken(const Json& tokenizer) {
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<Json> steps,
                            StepsOf(tokenizer, "post_processor", "processors"));
  std::string prefix;
  for (const Json& step : steps) {
    if (TypeOf(step) == "ByteLevel") continue;  // moves offsets, adds nothing
    const Json* single = JsonMember(step, "single");
    if (TypeOf(step) != "TemplateProcessing" || single == nullptr ||
        !single->is_array() || single->empty() || single->size() > 2) {
      return NotOurs("post_processor", absl::StrCat("steps ", Names(steps)));
    }
    const Json& last = single->back();
    if (!last.is_object() || !last.contains("Sequence")) {
      return NotOurs("post_processor", "a token after the text");
    }
    if (single->size() == 1) continue;
    const Json& first = single->front();
    const Json* special =
        first.is_object() ? JsonMember(first, "SpecialToken") : nullptr;
    if (special == nullptr || !special->is_object() || !prefix.empty()) {
      return NotOurs("post_processor", "more than one token before the text");
    }
    prefix = TextAt(*special, "id");
  }
  return prefix;
}

}  // namespace headwise
