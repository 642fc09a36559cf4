#include "client/cli/bench_memory_task.h"

#include <cmath>
#include <fstream>
#include <iterator>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "nlohmann/json.hpp"
#include "server/calibration/draws.h"

namespace headwise {
namespace {

constexpr int32_t kNumBytes = 256;

absl::StatusOr<TokenRange> ParseRange(const nlohmann::json& json,
                                      const char* key, int64_t vocab_size) {
  const auto found = json.find(key);
  if (found == json.end() || !found->is_array() || found->size() != 2 ||
      !found->at(0).is_number_integer() || !found->at(1).is_number_integer()) {
    return absl::InvalidArgumentError(absl::StrCat(
        key, ": ", found == json.end() ? "missing" : found->dump(),
        "; expected the first token's id and one past the last's"));
  }
  const auto begin = found->at(0).get<int64_t>();
  const auto end = found->at(1).get<int64_t>();
  if (begin < 0 || begin >= end || end > vocab_size) {
    return absl::InvalidArgumentError(
        absl::StrCat(key, ": [", begin, ", ", end,
                     ") is not a range of the model's ", vocab_size, " ids"));
  }
  return TokenRange{static_cast<int32_t>(begin), static_cast<int32_t>(end)};
}

// `count` different keys, each with any value.
std::vector<RecallPair> DrawPairs(const RecallTask& task, int64_t count,
                                  Draws& draws) {
  std::vector<int32_t> keys;
  for (int32_t key = task.keys.begin; key < task.keys.end; ++key) {
    keys.push_back(key);
  }
  std::vector<RecallPair> pairs;
  for (int64_t i = 0; i < count; ++i) {
    const auto left = static_cast<int64_t>(keys.size()) - i;
    std::swap(keys[static_cast<size_t>(i)],
              keys[static_cast<size_t>(i + draws.Below(left))]);
    const auto value = static_cast<int32_t>(draws.Below(task.values.size()));
    pairs.push_back({keys[static_cast<size_t>(i)], task.values.begin + value});
  }
  return pairs;
}

}  // namespace

absl::StatusOr<RecallTask> ParseRecallTask(const std::string& text,
                                           int64_t vocab_size) {
  const nlohmann::json json =
      nlohmann::json::parse(text, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!json.is_object()) {
    return absl::InvalidArgumentError("not a JSON object");
  }
  if (json.value("kind", nlohmann::json()) != "recall") {
    return absl::InvalidArgumentError(
        absl::StrCat("kind: ", json.value("kind", nlohmann::json()).dump(),
                     "; we have \"recall\""));
  }
  RecallTask task;
  HEADWISE_ASSIGN_OR_RETURN(task.text,
                            ParseRange(json, "text_ids", vocab_size));
  HEADWISE_ASSIGN_OR_RETURN(task.keys, ParseRange(json, "key_ids", vocab_size));
  HEADWISE_ASSIGN_OR_RETURN(task.values,
                            ParseRange(json, "value_ids", vocab_size));
  if (task.text.size() != kNumBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("text_ids: ", task.text.size(), " ids; a byte has ",
                     kNumBytes, " values"));
  }
  return task;
}

absl::StatusOr<RecallTask> ReadRecallTask(const std::string& model_folder,
                                          int64_t vocab_size) {
  const std::string path = model_folder + "/task.json";
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return absl::NotFoundError(absl::StrCat(
        "cannot read ", path, ", which says what the model recalls"));
  }
  const absl::StatusOr<RecallTask> task = ParseRecallTask(
      std::string(std::istreambuf_iterator<char>(file), {}), vocab_size);
  if (task.ok()) return task;
  return absl::Status(task.status().code(),
                      absl::StrCat(path, ": ", task.status().message()));
}

RecallText MakeRecallText(const RecallTask& task, absl::string_view haystack,
                          const RecallTextOptions& options) {
  Draws draws(options.seed, /*stream=*/0);
  RecallText text;
  text.pairs = DrawPairs(task, options.num_needles, draws);
  const int64_t length = options.context_len + options.spread;
  text.tokens.reserve(static_cast<size_t>(length));
  auto at =
      static_cast<size_t>(draws.Below(static_cast<int64_t>(haystack.size())));
  for (int64_t i = 0; i < length; ++i, at = (at + 1) % haystack.size()) {
    text.tokens.push_back(task.text.begin + static_cast<uint8_t>(haystack[at]));
  }
  const int64_t first =
      std::llround(options.depth * static_cast<double>(options.context_len));
  for (int64_t i = 0; i < options.num_needles; ++i) {
    const auto place =
        static_cast<size_t>(first + i * options.spread / options.num_needles);
    text.tokens[place] = text.pairs[static_cast<size_t>(i)].key;
    text.tokens[place + 1] = text.pairs[static_cast<size_t>(i)].value;
  }
  return text;
}

}  // namespace headwise
