#include "server/calibration/needle_prompt.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/calibration/filler_text.h"

namespace headwise {
namespace {

using Tokens = std::vector<int32_t>;

void Append(const Tokens& more, Tokens& tokens) {
  tokens.insert(tokens.end(), more.begin(), more.end());
}

Tokens Plain(const Haystack& haystack, absl::string_view text) {
  return haystack.tokenizer().Encode(
      text, {.add_special = false, .parse_special = false});
}

Tokens Opening(const Haystack& haystack) {
  return haystack.tokenizer().Encode(
      "Facts are hidden in the following text. Remember them.\n\n",
      {.add_special = true, .parse_special = false});
}

// A fact: tokens [begin, end) are what is asked for.
struct Needle {
  Tokens tokens;
  int64_t begin = 0;
  int64_t end = 0;
};

Needle MakeNeedle(const Haystack& haystack, absl::string_view lead,
                  const Tokens& answer) {
  Needle needle;
  needle.tokens = Plain(haystack, lead);
  needle.begin = static_cast<int64_t>(needle.tokens.size());
  Append(answer, needle.tokens);
  needle.end = static_cast<int64_t>(needle.tokens.size());
  Append(Plain(haystack, "."), needle.tokens);
  return needle;
}

int64_t Size(const std::vector<Tokens>& sentences) {
  int64_t size = 0;
  for (const Tokens& sentence : sentences) {
    size += static_cast<int64_t>(sentence.size());
  }
  return size;
}

// A needle and the sentence that it stands before, by depth.
struct Place {
  double depth = 0.0;
  Needle needle;
};

// Joins sentences and needles; `places` by rising depth. Returns where each
// needle begins.
std::vector<int64_t> Weave(const std::vector<Tokens>& sentences,
                           const std::vector<Place>& places, Tokens& prefix) {
  const double size = static_cast<double>(Size(sentences));
  std::vector<int64_t> begins;
  int64_t passed = 0;
  size_t next = 0;
  const auto put_needles = [&](bool all) {
    while (next < places.size() &&
           (all || static_cast<double>(passed) >= places[next].depth * size)) {
      begins.push_back(static_cast<int64_t>(prefix.size()));
      Append(places[next++].needle.tokens, prefix);
    }
  };
  for (const Tokens& sentence : sentences) {
    put_needles(/*all=*/false);
    Append(sentence, prefix);
    passed += static_cast<int64_t>(sentence.size());
  }
  put_needles(/*all=*/true);
  return begins;
}

std::string DrawWords(int64_t num_words, Draws& draws) {
  std::string words;
  for (int64_t i = 0; i < num_words; ++i) {
    absl::StrAppend(&words, " ", DrawSpellingWord(draws));
  }
  return words;
}

std::string DrawDigits(int64_t num_digits, Draws& draws) {
  std::string digits = absl::StrCat(" ", 1 + draws.Below(9));
  for (int64_t i = 1; i < num_digits; ++i) {
    absl::StrAppend(&digits, draws.Below(10));
  }
  return digits;
}

}  // namespace

Tokens NeedlePrompt::Tail() const {
  Tokens tail = question;
  Append(answer, tail);
  return tail;
}

absl::StatusOr<Haystack> Haystack::Create(const Tokenizer& tokenizer,
                                          absl::string_view text) {
  std::vector<std::string> sentences = SplitSentences(text);
  if (sentences.empty() && !text.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("haystack: ", text.size(),
                     " bytes of white space; must hold a sentence"));
  }
  return Haystack(tokenizer, std::move(sentences));
}

std::vector<Tokens> Haystack::Take(int64_t num_tokens, Draws& draws) const {
  std::vector<Tokens> taken;
  size_t next = 0;
  if (!sentences_.empty()) {
    next = static_cast<size_t>(
        draws.Below(static_cast<int64_t>(sentences_.size())));
  }
  int64_t size = 0;
  while (true) {
    const std::string sentence = sentences_.empty()
                                     ? DrawSentence(draws)
                                     : sentences_[next++ % sentences_.size()];
    Tokens tokens = Plain(*this, " " + sentence);
    // A sentence without a token would never fill the room.
    size += std::max<int64_t>(1, static_cast<int64_t>(tokens.size()));
    if (size > num_tokens) return taken;
    taken.push_back(std::move(tokens));
  }
}

NeedlePrompt MakeNeedlePrompt(const Haystack& haystack, int64_t length,
                              double depth, int64_t kind, Draws& draws) {
  const std::string& city = CityName(draws.Below(kNumCities));
  const bool digits = kind % kNumNeedleKinds == 0;
  const std::string fact =
      absl::StrCat(digits ? "The pass key of " : "The secret words of ", city,
                   digits ? " is" : " are");
  NeedlePrompt prompt;
  prompt.answer = Plain(haystack, digits ? DrawDigits(/*num_digits=*/6, draws)
                                         : DrawWords(/*num_words=*/4, draws));
  prompt.question =
      Plain(haystack,
            absl::StrCat("\n\nQuestion: What ",
                         digits ? "is the pass key" : "are the secret words",
                         " of ", city, "?\nAnswer: ", fact));
  const Needle needle = MakeNeedle(haystack, " " + fact, prompt.answer);
  prompt.prefix = Opening(haystack);
  const int64_t room =
      length - prompt.num_tokens() - static_cast<int64_t>(needle.tokens.size());
  const std::vector<int64_t> begins =
      Weave(haystack.Take(room, draws), {{.depth = depth, .needle = needle}},
            prompt.prefix);
  for (int64_t i = needle.begin; i < needle.end; ++i) {
    prompt.needle.push_back(begins[0] + i);
  }
  return prompt;
}

NeedlePrompt MakePassKeysPrompt(const Haystack& haystack, int64_t length,
                                int64_t num_needles, int64_t num_words,
                                Draws& draws) {
  const int64_t first_city = draws.Below(kNumCities);
  NeedlePrompt prompt;
  prompt.question = Plain(haystack, "\n\nAll pass keys, in their order:");
  std::vector<Place> places;
  int64_t needles_size = 0;
  for (int64_t i = 0; i < num_needles; ++i) {
    const std::string lead = absl::StrCat(
        " The pass key of ", CityName((first_city + i) % kNumCities), " is");
    Place place;
    place.needle = MakeNeedle(haystack, lead,
                              Plain(haystack, DrawWords(num_words, draws)));
    // A grid of 0.05 to 0.95, as the source has it.
    place.depth = 0.05 + 0.9 * static_cast<double>(draws.Below(1000)) / 999;
    needles_size += static_cast<int64_t>(place.needle.tokens.size());
    Append(place.needle.tokens, prompt.answer);
    places.push_back(std::move(place));
  }
  // The depths are put in order, and with them the needles keep theirs.
  std::vector<double> depths;
  for (const Place& place : places) depths.push_back(place.depth);
  std::sort(depths.begin(), depths.end());
  for (size_t i = 0; i < places.size(); ++i) places[i].depth = depths[i];
  prompt.prefix = Opening(haystack);
  const int64_t room = length - prompt.num_tokens() - needles_size;
  Weave(haystack.Take(room, draws), places, prompt.prefix);
  return prompt;
}

absl::Status CheckRoom(const NeedlePrompt& prompt, int64_t length) {
  if (prompt.num_tokens() <= length) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("length: ", length,
                   " tokens have no room for needles and question, "
                   "which take ",
                   prompt.num_tokens()));
}

}  // namespace headwise
