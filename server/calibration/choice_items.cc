#include "server/calibration/choice_items.h"

#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "model/files/bounded_json.h"

namespace headwise {
namespace {

using Words = std::vector<std::string>;

struct Category {
  std::string name;
  Words members;
};

const std::vector<Category>& Categories() {
  static const auto& categories = *new std::vector<Category>{
      {"an animal", {"horse", "rabbit", "tiger", "eagle", "salmon", "goat"}},
      {"a fruit", {"apple", "banana", "cherry", "grape", "lemon", "peach"}},
      {"a colour", {"red", "green", "yellow", "purple", "orange", "brown"}},
      {"a metal", {"iron", "copper", "silver", "gold", "zinc", "lead"}},
      {"a tool", {"hammer", "saw", "drill", "wrench", "shovel", "axe"}},
      {"a piece of clothing",
       {"shirt", "jacket", "skirt", "scarf", "glove", "coat"}},
      {"a kind of weather", {"rain", "snow", "fog", "hail", "storm", "frost"}},
      {"a musical instrument",
       {"piano", "violin", "flute", "drum", "guitar", "trumpet"}}};
  return categories;
}

ChoiceItem DrawReview(Draws& draws) {
  static const auto& things = *new Words{"movie",   "meal",  "hotel", "book",
                                         "concert", "phone", "trip",  "game"};
  static const auto& good =
      *new Words{"wonderful", "excellent", "delightful", "superb",
                 "charming",  "brilliant", "lovely",     "fantastic"};
  static const auto& bad =
      *new Words{"terrible", "awful",  "boring",   "dreadful",
                 "horrible", "broken", "annoying", "disappointing"};
  const bool positive = draws.Below(2) == 0;
  const Words& words = positive ? good : bad;
  // An example of each label shows what an answer looks like.
  return {.prompt = absl::StrCat(
              "Review: The soup was cold and bland.\nSentiment: negative\n\n"
              "Review: The garden was pretty and calm.\nSentiment: positive\n\n"
              "Review: The ",
              draws.Of(things), " was ", draws.Of(words),
              " and the service was ", draws.Of(words), ".\nSentiment:"),
          .label = positive ? " positive" : " negative"};
}

ChoiceItem DrawChoice(Draws& draws) {
  constexpr int64_t kNumOptions = 4;
  const auto num_categories = static_cast<int64_t>(Categories().size());
  const int64_t first = draws.Below(num_categories);
  const int64_t right = draws.Below(kNumOptions);
  ChoiceItem item;
  for (int64_t i = 0; i < kNumOptions; ++i) {
    // Four categories that follow each other: no option fits twice.
    const Category& category =
        Categories()[static_cast<size_t>((first + i) % num_categories)];
    const std::string& member = draws.Of(category.members);
    if (i == right) {
      item.prompt = absl::StrCat(
          "Question: Which of these is a bird?\nOptions: table, robin, bread, "
          "river\nAnswer: robin\n\nQuestion: Which of these is ",
          category.name, "?\nOptions:", item.prompt);
      item.label = absl::StrCat(" ", member);
    }
    absl::StrAppend(&item.prompt, i == 0 ? " " : ", ", member);
  }
  absl::StrAppend(&item.prompt, "\nAnswer:");
  return item;
}

absl::StatusOr<ChoiceItem> ParseItem(absl::string_view what,
                                     absl::string_view line) {
  const auto* bytes = reinterpret_cast<const uint8_t*>(line.data());
  HEADWISE_ASSIGN_OR_RETURN(
      const nlohmann::json json,
      ParseBoundedJson(what, absl::MakeConstSpan(bytes, line.size()),
                       {.max_values = 16, .max_depth = 4}));
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(what, ": not an object"));
  }
  ChoiceItem item;
  for (const auto& [key, text] :
       {std::pair("prompt", &item.prompt), std::pair("label", &item.label)}) {
    HEADWISE_ASSIGN_OR_RETURN(std::optional<std::string> value,
                              JsonText(json, key));
    if (!value || value->empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": ", key, " is missing or empty"));
    }
    *text = *std::move(value);
  }
  return item;
}

}  // namespace

std::vector<ChoiceItem> DrawChoiceItems(int64_t count, Draws& draws) {
  std::vector<ChoiceItem> items;
  for (int64_t i = 0; i < count; ++i) {
    items.push_back(i % 2 == 0 ? DrawReview(draws) : DrawChoice(draws));
  }
  return items;
}

absl::StatusOr<std::vector<ChoiceItem>> ParseChoiceItems(
    absl::string_view jsonl) {
  std::vector<ChoiceItem> items;
  int64_t number = 0;
  for (const absl::string_view line : absl::StrSplit(jsonl, '\n')) {
    ++number;
    if (line.find_first_not_of(" \t\r") == absl::string_view::npos) continue;
    if (static_cast<int64_t>(items.size()) == kMaxChoiceItems) {
      return absl::InvalidArgumentError(
          absl::StrCat("items: more than ", kMaxChoiceItems));
    }
    HEADWISE_ASSIGN_OR_RETURN(
        ChoiceItem item, ParseItem(absl::StrCat("items: line ", number), line));
    items.push_back(std::move(item));
  }
  if (items.empty()) return absl::InvalidArgumentError("items: none are given");
  return items;
}

}  // namespace headwise
