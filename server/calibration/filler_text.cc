#include "server/calibration/filler_text.h"

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"

namespace headwise {
namespace {

using Words = std::vector<std::string>;

const Words& Things() {
  static const auto& words = *new Words{
      "gardener", "river",   "teacher",  "market",   "bridge",    "orchard",
      "baker",    "forest",  "captain",  "library",  "village",   "painter",
      "harbor",   "meadow",  "musician", "workshop", "shepherd",  "lighthouse",
      "neighbor", "station", "doctor",   "valley",   "carpenter", "museum"};
  return words;
}

const Words& Kinds() {
  static const auto& words =
      *new Words{"old",    "quiet",  "friendly", "narrow", "bright", "careful",
                 "little", "famous", "patient",  "wooden", "gentle", "busy",
                 "modest", "young",  "distant",  "tired",  "proud",  "simple"};
  return words;
}

const Words& Deeds() {
  static const auto& words =
      *new Words{"looked after", "talked about",    "walked past",
                 "waited near",  "painted",         "remembered",
                 "wrote about",  "paid a visit to", "took a picture of",
                 "admired",      "made a map of",   "asked about",
                 "was fond of",  "dreamed of",      "told tales about",
                 "came back to"};
  return words;
}

const Words& Times() {
  static const auto& words = *new Words{"early in the morning",
                                        "on a rainy afternoon",
                                        "before the winter",
                                        "when the sun went down",
                                        "after a long journey",
                                        "during the holidays",
                                        "as the clock struck",
                                        "late in the spring",
                                        "without much hurry",
                                        "for the first time",
                                        "once more",
                                        "in the evening light"};
  return words;
}

const Words& Joints() {
  static const auto& words =
      *new Words{"and", "but", "while", "because", "although"};
  return words;
}

std::string DrawClause(Draws& draws) {
  return absl::StrCat("the ", draws.Of(Kinds()), " ", draws.Of(Things()), " ",
                      draws.Of(Deeds()), " the ", draws.Of(Kinds()), " ",
                      draws.Of(Things()));
}

bool IsSpace(char c) {
  return absl::ascii_isspace(static_cast<unsigned char>(c));
}

bool EndsSentence(char c) { return c == '.' || c == '!' || c == '?'; }

// Where the first piece of `text`, which is not empty, ends.
size_t FirstPieceEnd(absl::string_view text) {
  constexpr size_t kMaxPieceBytes = 400;
  size_t last_space = 0;
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\n') return i + 1;
    if (EndsSentence(text[i]) &&
        (i + 1 == text.size() || IsSpace(text[i + 1]))) {
      return i + 1;
    }
    if (IsSpace(text[i])) last_space = i;
    if (i + 1 < kMaxPieceBytes) continue;
    if (last_space > 0) return last_space;
    // Bytes 10xxxxxx go on with a character.
    size_t end = i;
    while (end > 1 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) {
      --end;
    }
    return end;
  }
  return text.size();
}

}  // namespace

std::string DrawSentence(Draws& draws) {
  std::string sentence = DrawClause(draws);
  if (draws.Below(3) == 0) {
    absl::StrAppend(&sentence, ", ", draws.Of(Joints()), " ",
                    DrawClause(draws));
  } else {
    absl::StrAppend(&sentence, " ", draws.Of(Times()));
  }
  sentence[0] = 'T';
  return sentence + ".";
}

const std::string& DrawSpellingWord(Draws& draws) {
  static const auto& words = *new Words{
      "alpha",  "bravo",   "charlie", "delta",  "echo",   "foxtrot", "golf",
      "hotel",  "india",   "juliet",  "kilo",   "lima",   "mike",    "november",
      "oscar",  "papa",    "quebec",  "romeo",  "sierra", "tango",   "uniform",
      "victor", "whiskey", "xray",    "yankee", "zulu"};
  return draws.Of(words);
}

const std::string& CityName(int64_t index) {
  static const auto& names =
      *new Words{"Oslo",   "Cairo",  "Lima",    "Tokyo",  "Paris",  "Athens",
                 "Dublin", "Rome",   "Berlin",  "Madrid", "Vienna", "Prague",
                 "Boston", "Quito",  "Havana",  "Delhi",  "Seoul",  "Milan",
                 "London", "Geneva", "Nairobi", "Lisbon", "Warsaw", "Sydney"};
  return names[static_cast<size_t>(index)];
}

std::vector<std::string> SplitSentences(absl::string_view text) {
  std::vector<std::string> sentences;
  while (!text.empty()) {
    const size_t end = FirstPieceEnd(text);
    const absl::string_view piece =
        absl::StripAsciiWhitespace(text.substr(0, end));
    if (!piece.empty()) sentences.emplace_back(piece);
    text.remove_prefix(end);
  }
  return sentences;
}

}  // namespace headwise
