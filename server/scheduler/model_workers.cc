#include "server/scheduler/model_workers.h"

#include <algorithm>
#include <array>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr int32_t kVocabSize = 97;

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15;
  return hash ^ (hash >> 29);
}

// Of the first `count` tokens.
uint64_t PrefixHash(const std::vector<int32_t>& tokens, size_t count) {
  uint64_t hash = 1;
  for (size_t i = 0; i < count; ++i) hash = Mix(hash, tokens[i]);
  return hash;
}

int32_t Sample(uint64_t hash, const SamplingOptions& sampling) {
  return static_cast<int32_t>(Mix(hash, sampling.seed) % kVocabSize);
}

float ScoreLogprob(uint64_t hash, int32_t target) {
  return target < 0 ? 0.0f : -static_cast<float>(Mix(hash, target) % 1000);
}

std::array<uint8_t, 32> Digest(uint64_t hash) {
  std::array<uint8_t, 32> digest = {};
  for (size_t i = 0; i < 8; ++i) digest[i] = hash >> (8 * i) & 0xff;
  return digest;
}

}  // namespace

ExpectedAnswer ExpectedAnswerOf(const EngineRequest& request) {
  ExpectedAnswer answer;
  std::vector<int32_t> tokens = request.prompt;
  if (request.kind == WorkKind::kGenerate) {
    for (int64_t i = 0; i < request.max_new_tokens; ++i) {
      const int32_t token =
          Sample(PrefixHash(tokens, tokens.size()), request.sampling);
      answer.tokens.push_back(token);
      tokens.push_back(token);
      if (std::count(request.stop_tokens.begin(), request.stop_tokens.end(),
                     token) > 0) {
        break;
      }
    }
    return answer;
  }
  for (size_t row = 0; row < tokens.size(); ++row) {
    const uint64_t hash = PrefixHash(tokens, row + 1);
    if (request.kind == WorkKind::kEmbed) {
      answer.hidden.push_back(static_cast<float>(hash % 4096));
      answer.hidden.push_back(static_cast<float>(row));
      continue;
    }
    answer.score_logprobs.push_back(
        row + 1 < tokens.size() ? ScoreLogprob(hash, tokens[row + 1]) : 0.0f);
    if (request.hash_logits) answer.logits_digests.push_back(Digest(hash));
  }
  return answer;
}

ModelWorkers::ModelWorkers(int64_t capacity_tokens)
    : capacity_tokens_(capacity_tokens) {}

absl::StatusOr<StepResult> ModelWorkers::Execute(const Step& step) {
  const uint64_t expected_id = ++last_step_id_;
  if (step.step_id != expected_id) {
    return absl::InvalidArgumentError(
        absl::StrCat("step id is ", step.step_id, ", expected ", expected_id));
  }
  Books books = sequences_;
  for (const uint64_t id : step.free_sequence_ids) {
    if (books.erase(id) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("free of unknown sequence ", id));
    }
  }
  std::set<uint64_t> seen;
  for (const Slice& slice : step.slices) {
    if (!seen.insert(slice.sequence_id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two slices of sequence ", slice.sequence_id));
    }
    HEADWISE_RETURN_IF_ERROR(Append(slice, books));
  }
  if (UsedTokens(books) > capacity_tokens_) {
    return absl::ResourceExhaustedError(
        absl::StrCat(UsedTokens(books), " positions of KV in use, capacity ",
                     capacity_tokens_));
  }
  StepResult outcome;
  outcome.step_id = step.step_id;
  for (const Slice& slice : step.slices) {
    outcome.results.push_back(Answer(slice, books[slice.sequence_id]));
  }
  sequences_ = std::move(books);
  return outcome;
}

absl::Status ModelWorkers::Append(const Slice& slice, Books& books) {
  ModelSequence& sequence = books[slice.sequence_id];
  const int64_t context_len = static_cast<int64_t>(sequence.tokens.size());
  if (slice.first_position != context_len) {
    return absl::InvalidArgumentError(
        absl::StrCat("sequence ", slice.sequence_id, ": first position is ",
                     slice.first_position, ", its context has ", context_len));
  }
  if (slice.use_last_sample != slice.tokens.empty() ||
      (slice.use_last_sample && !sequence.last_sample.has_value())) {
    return absl::InvalidArgumentError(
        absl::StrCat("sequence ", slice.sequence_id, ": no token for its row"));
  }
  if (slice.use_last_sample) {
    sequence.tokens.push_back(*sequence.last_sample);
  }
  sequence.tokens.insert(sequence.tokens.end(), slice.tokens.begin(),
                         slice.tokens.end());
  return absl::OkStatus();
}

SliceResult ModelWorkers::Answer(const Slice& slice, ModelSequence& sequence) {
  SliceResult outcome;
  outcome.sequence_id = slice.sequence_id;
  for (int64_t row = 0; row < slice.num_rows(); ++row) {
    const int64_t position = slice.first_position + row;
    const uint64_t hash = PrefixHash(sequence.tokens, position + 1);
    if (!slice.score_targets.empty()) {
      outcome.score_logprobs.push_back(
          ScoreLogprob(hash, slice.score_targets.at(row)));
    }
    if (slice.hash_logits) outcome.logits_digests.push_back(Digest(hash));
    if (slice.embed) {
      outcome.hidden.push_back(static_cast<float>(hash % 4096));
      outcome.hidden.push_back(static_cast<float>(position));
    }
  }
  sequence.last_sample.reset();
  if (slice.sample) {
    outcome.has_token = true;
    outcome.token = Sample(PrefixHash(sequence.tokens, sequence.tokens.size()),
                           slice.sampling);
    sequence.last_sample = outcome.token;
  }
  return outcome;
}

int64_t ModelWorkers::UsedTokens(const Books& books) {
  int64_t used = 0;
  for (const auto& [id, sequence] : books) {
    used += (static_cast<int64_t>(sequence.tokens.size()) + 63) / 64 * 64;
  }
  return used;
}

int64_t ModelWorkers::used_tokens() const { return UsedTokens(sequences_); }

}  // namespace headwise
