#include "server/calibration/key_value_prompt.h"

#include <algorithm>
#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace headwise {
namespace {

using Tokens = std::vector<int32_t>;

constexpr int64_t kKeyLength = 32;
constexpr int64_t kMinPairs = kKeyValueExamples + 1;
// A sentence of Haystack has at most 400 bytes, and a space before it.
constexpr int64_t kMaxSentenceTokens = 401;

struct Pair {
  std::string key;
  Tokens value;  // of a sentence with a space before it
};

int64_t Size(const Tokens& tokens) {
  return static_cast<int64_t>(tokens.size());
}

// Texts that are tokens of their own wherever they stand.
class Writer {
 public:
  explicit Writer(const Tokenizer& tokenizer) : tokenizer_(tokenizer) {}

  Tokens Encode(absl::string_view text, bool is_begin = false) const {
    return tokenizer_.Encode(text,
                             {.add_special = is_begin, .parse_special = false});
  }
  void Append(absl::string_view text, Tokens& tokens) const {
    AppendTokens(Encode(text), tokens);
  }
  static void AppendTokens(const Tokens& more, Tokens& tokens) {
    tokens.insert(tokens.end(), more.begin(), more.end());
  }

  // Up to the value.
  Tokens Question(const std::string& key) const {
    return Encode(absl::StrCat("Key: ", key, "\nValue:"));
  }
  Tokens Entry(const Pair& pair, bool is_last) const {
    Tokens tokens = EntryBegin(pair.key);
    AppendTokens(pair.value, tokens);
    Append(is_last ? "\"}\n\n" : "\",\n", tokens);
    return tokens;
  }
  Tokens EntryBegin(const std::string& key) const {
    return Encode(absl::StrCat("\"", key, "\": \""));
  }
  Tokens Example(const Pair& pair) const {
    Tokens tokens = Question(pair.key);
    AppendTokens(pair.value, tokens);
    Append("\n\n", tokens);
    return tokens;
  }

 private:
  const Tokenizer& tokenizer_;
};

std::string DrawKey(Draws& draws) {
  constexpr absl::string_view kLetters =
      "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
  std::string key;
  for (int64_t i = 0; i < kKeyLength; ++i) {
    key += kLetters[static_cast<size_t>(draws.Below(kLetters.size()))];
  }
  return key;
}

// As many as fit into `room`, and kMinPairs whether they do or not. The first
// kMinPairs are those that are shown again.
std::vector<Pair> DrawPairs(const Haystack& haystack, const Writer& writer,
                            int64_t room, Draws& draws) {
  std::vector<Pair> pairs;
  for (Tokens& sentence :
       haystack.Take(std::max(room, kMinPairs * kMaxSentenceTokens), draws)) {
    Pair pair = {.key = DrawKey(draws), .value = std::move(sentence)};
    room -= Size(writer.Entry(pair, /*is_last=*/false));
    if (static_cast<int64_t>(pairs.size()) < kMinPairs) {
      room -= Size(writer.Example(pair));
    } else if (room < 0) {
      break;
    }
    pairs.push_back(std::move(pair));
  }
  return pairs;
}

// Mixes the pairs; the first one comes to `place`. Returns where the next
// kKeyValueExamples have come to.
std::vector<size_t> Place(size_t place, std::vector<Pair>& pairs,
                          Draws& draws) {
  std::vector<size_t> order(pairs.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  for (size_t i = order.size(); i > 1; --i) {
    std::swap(order[i - 1],
              order[static_cast<size_t>(draws.Below(static_cast<int64_t>(i)))]);
  }
  std::swap(*std::find(order.begin(), order.end(), 0), order[place]);
  std::vector<Pair> mixed(pairs.size());
  std::vector<size_t> examples(kKeyValueExamples);
  for (size_t i = 0; i < order.size(); ++i) {
    mixed[i] = std::move(pairs[order[i]]);
    if (order[i] >= 1 && order[i] <= kKeyValueExamples) {
      examples[order[i] - 1] = i;
    }
  }
  pairs = std::move(mixed);
  return examples;
}

}  // namespace

NeedlePrompt MakeKeyValuePrompt(const Haystack& haystack, int64_t length,
                                double depth, Draws& draws) {
  const Writer writer(haystack.tokenizer());
  NeedlePrompt prompt;
  prompt.prefix = writer.Encode("{", /*is_begin=*/true);
  // The last entry may end in other tokens than the others.
  const int64_t end_tokens = Size(writer.Encode("\"}\n\n"));
  std::vector<Pair> pairs = DrawPairs(
      haystack, writer, length - Size(prompt.prefix) - end_tokens, draws);
  const auto place = static_cast<size_t>(
      std::lround(depth * static_cast<double>(pairs.size() - 1)));
  const std::vector<size_t> examples = Place(place, pairs, draws);

  for (size_t i = 0; i < pairs.size(); ++i) {
    if (i == place) {
      const int64_t begin =
          Size(prompt.prefix) + Size(writer.EntryBegin(pairs[i].key));
      for (int64_t j = 0; j < Size(pairs[i].value); ++j) {
        prompt.needle.push_back(begin + j);
      }
    }
    Writer::AppendTokens(writer.Entry(pairs[i], i + 1 == pairs.size()),
                         prompt.prefix);
  }
  for (const size_t example : examples) {
    Writer::AppendTokens(writer.Example(pairs[example]), prompt.prefix);
  }
  prompt.question = writer.Question(pairs[place].key);
  prompt.answer = pairs[place].value;
  return prompt;
}

}  // namespace headwise
