#include "client/cli/bench_needle_texts.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/calibration/draws.h"
#include "server/calibration/filler_text.h"
#include "server/calibration/needle_prompt.h"

namespace headwise {
namespace {

using Tokens = std::vector<int32_t>;

// Shorter ones have no depths to speak of.
constexpr int64_t kMinTextTokens = 64;

Tokens Plain(const Tokenizer& tokenizer, absl::string_view text) {
  return tokenizer.Encode(text, {.add_special = false, .parse_special = false});
}

std::string DrawAnswer(NeedleKind kind, Draws& draws) {
  if (kind == NeedleKind::kWord) return DrawSpellingWord(draws);
  return absl::StrCat(10000 + draws.Below(90000));
}

const char* FactName(NeedleKind kind) {
  return kind == NeedleKind::kWord ? "secret word" : "pass key";
}

std::string NeedleText(NeedleKind kind, const std::string& answer) {
  const char* fact = FactName(kind);
  return absl::StrCat(" The ", fact, " is ", answer, ". Remember it. ", answer,
                      " is the ", fact, ".");
}

// Up to where two answers part: a tokenizer may give the space in front of a
// number a token of its own.
Tokens Question(const Tokenizer& tokenizer, NeedleKind kind) {
  const char* fact = FactName(kind);
  const std::string lead = absl::StrCat("\nQuestion: What is the ", fact,
                                        "?\nAnswer: The ", fact, " is ");
  const bool words = kind == NeedleKind::kWord;
  const Tokens one = Plain(tokenizer, lead + (words ? "alpha" : "12345"));
  const Tokens other = Plain(tokenizer, lead + (words ? "tango" : "67890"));
  const auto parted =
      std::mismatch(one.begin(), one.end(), other.begin(), other.end());
  return Tokens(one.begin(), parted.first);
}

std::vector<double> DepthsOf(int64_t num_depths) {
  if (num_depths == 1) return {0.5};
  std::vector<double> depths;
  for (int64_t i = 0; i < num_depths; ++i) {
    depths.push_back(static_cast<double>(i) /
                     static_cast<double>(num_depths - 1));
  }
  return depths;
}

// Joins the sentences and cuts before the first one at or after each depth.
void Join(const std::vector<Tokens>& sentences, NeedleTask* task) {
  size_t size = 0;
  for (const Tokens& sentence : sentences) size += sentence.size();
  const size_t begin = task->text.size();
  task->text.reserve(begin + size);
  size_t next = 0;
  const auto cut_up_to = [&](size_t passed, bool all) {
    while (next < task->depths.size() &&
           (all || static_cast<double>(passed) >=
                       task->depths[next] * static_cast<double>(size))) {
      task->cuts.push_back(static_cast<int64_t>(task->text.size()));
      ++next;
    }
  };
  for (const Tokens& sentence : sentences) {
    cut_up_to(task->text.size() - begin, /*all=*/false);
    task->text.insert(task->text.end(), sentence.begin(), sentence.end());
  }
  cut_up_to(size, /*all=*/true);
}

void AddTests(const Tokenizer& tokenizer, const NeedleTaskOptions& options,
              NeedleTask* task) {
  for (int64_t depth = 0; depth < options.num_depths; ++depth) {
    for (int64_t seed = 0; seed < options.num_seeds; ++seed) {
      Draws draws(static_cast<uint64_t>(seed), static_cast<uint64_t>(depth));
      NeedleTest test = {.depth_index = depth, .seed = seed};
      test.answer = DrawAnswer(options.kind, draws);
      test.needle = Plain(tokenizer, NeedleText(options.kind, test.answer));
      task->tests.push_back(std::move(test));
    }
  }
}

}  // namespace

const char kNeedleFiller[] =
    "The grass is green. The sky is blue. The sun is yellow. Here we go. There "
    "and back again.";

Tokens NeedleTask::Rest(const NeedleTest& test) const {
  const int64_t cut = cuts[static_cast<size_t>(test.depth_index)];
  Tokens rest = test.needle;
  rest.insert(rest.end(), text.begin() + cut, text.end());
  rest.insert(rest.end(), question.begin(), question.end());
  return rest;
}

int64_t NeedleTask::MaxPromptLen() const {
  int64_t longest = 0;
  for (const NeedleTest& test : tests) {
    longest = std::max(longest, PromptLen(test));
  }
  return longest;
}

absl::StatusOr<NeedleTask> MakeNeedleTask(const Tokenizer& tokenizer,
                                          const NeedleTaskOptions& options) {
  NeedleTask task;
  task.question = Question(tokenizer, options.kind);
  task.depths = DepthsOf(options.num_depths);
  AddTests(tokenizer, options, &task);
  if (tokenizer.bos_id() >= 0) task.text.push_back(tokenizer.bos_id());
  const int64_t taken = task.MaxPromptLen() + kTimedTokens;
  const int64_t room = options.context_len - taken;
  if (room < kMinTextTokens) {
    return absl::InvalidArgumentError(absl::StrCat(
        "context: ", options.context_len, " positions; needle, question and ",
        kTimedTokens, " new tokens take ", taken, ", the text at least ",
        kMinTextTokens));
  }
  HEADWISE_ASSIGN_OR_RETURN(
      const Haystack haystack,
      Haystack::Create(tokenizer, options.haystack.empty() ? kNeedleFiller
                                                           : options.haystack));
  Draws draws(/*seed=*/0, /*stream=*/0);
  Join(haystack.Take(room, draws), &task);
  return task;
}

std::string AnswerText(const Tokenizer& tokenizer,
                       absl::Span<const int32_t> generated) {
  size_t end = std::min<size_t>(generated.size(), kAnswerTokens);
  for (size_t i = 0; i < end; ++i) {
    if (tokenizer.IsEndOfGeneration(generated[i])) end = i;
  }
  return tokenizer.Decode(generated.subspan(0, end), /*skip_special=*/true);
}

}  // namespace headwise
