#include "server/scheduler/model_workers.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_hash.h"
#include "model/head_plan/kv_retention.h"

namespace headwise {
namespace {

constexpr int32_t kVocabSize = 97;

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash = (hash ^ value) * 0x9e3779b97f4a7c15;
  return hash ^ (hash >> 29);
}

// Of the first `count` tokens.
uint64_t PrefixHash(const ModelPast& past, size_t count) {
  uint64_t hash = past.tag;
  for (size_t i = 0; i < count; ++i) hash = Mix(hash, past.tokens[i]);
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

// The last 16 bits are the plan's.
uint64_t TagUnder(uint64_t prefix_tag, const HeadPlan* plan) {
  constexpr uint64_t kPlanBits = 0xffff;
  const uint64_t of_plan =
      plan == nullptr
          ? 2
          : std::stoull(HeadPlanHash(*plan).substr(0, 15), nullptr, 16);
  if ((prefix_tag & kPlanBits) == (of_plan & kPlanBits)) return prefix_tag;
  return (Mix(prefix_tag, of_plan) & ~kPlanBits) | (of_plan & kPlanBits);
}

ExpectedAnswer ExpectedAnswerOf(const EngineRequest& request,
                                const ModelPast& prefix) {
  ExpectedAnswer answer;
  ModelPast past = {prefix.tokens, TagUnder(prefix.tag, request.plan.get())};
  past.tokens.insert(past.tokens.end(), request.prompt.begin(),
                     request.prompt.end());
  if (request.kind == WorkKind::kGenerate) {
    for (int64_t i = 0; i < request.max_new_tokens; ++i) {
      const int32_t token =
          Sample(PrefixHash(past, past.tokens.size()), request.sampling);
      answer.tokens.push_back(token);
      past.tokens.push_back(token);
      if (std::count(request.stop_tokens.begin(), request.stop_tokens.end(),
                     token) > 0) {
        break;
      }
    }
    return answer;
  }
  if (request.kind == WorkKind::kPrefix) return answer;
  for (size_t row = prefix.tokens.size(); row < past.tokens.size(); ++row) {
    const uint64_t hash = PrefixHash(past, row + 1);
    if (request.kind == WorkKind::kEmbed) {
      answer.hidden.push_back(static_cast<float>(hash % 4096));
      answer.hidden.push_back(static_cast<float>(row));
      continue;
    }
    answer.score_logprobs.push_back(
        row + 1 < past.tokens.size() ? ScoreLogprob(hash, past.tokens[row + 1])
                                     : 0.0f);
    if (request.hash_logits) answer.logits_digests.push_back(Digest(hash));
  }
  return answer;
}

ModelWorkers::ModelWorkers(const KvGeometry& geometry, KvCapacity capacity)
    : geometry_(geometry), capacity_(std::move(capacity)) {}

absl::StatusOr<StepResult> ModelWorkers::Execute(const Step& step) {
  const uint64_t expected_id = ++last_step_id_;
  if (step.step_id != expected_id) {
    return absl::InvalidArgumentError(
        absl::StrCat("step id is ", step.step_id, ", expected ", expected_id));
  }
  Books books = sequences_;
  Books files = files_;
  Plans plans = plans_;
  for (const uint64_t id : step.free_sequence_ids) {
    if (books.erase(id) + files.erase(id) == 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("free of unknown sequence ", id));
    }
  }
  HEADWISE_RETURN_IF_ERROR(KeepPlans(step, plans));
  if (!step.parks.empty() && step.slices.size() + step.forks.size() > 0) {
    return absl::InvalidArgumentError("parks are not alone in their step");
  }
  StepResult outcome;
  for (const ParkRequest& park : step.parks) {
    outcome.parks.push_back(ApplyPark(park, books, files));
  }
  for (const Fork& fork : step.forks) {
    HEADWISE_RETURN_IF_ERROR(MakeFork(fork, plans, books));
  }
  std::set<uint64_t> seen;
  for (const Slice& slice : step.slices) {
    if (!seen.insert(slice.sequence_id).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("two slices of sequence ", slice.sequence_id));
    }
    HEADWISE_RETURN_IF_ERROR(Append(slice, plans, books));
  }
  HEADWISE_RETURN_IF_ERROR(CheckRoom(books));
  outcome.step_id = step.step_id;
  for (const Slice& slice : step.slices) {
    ModelSequence& sequence = books[slice.sequence_id];
    Trim(sequence);
    outcome.results.push_back(Answer(slice, sequence));
  }
  sequences_ = std::move(books);
  files_ = std::move(files);
  plans_ = std::move(plans);
  return outcome;
}

const UnitPolicy& ModelWorkers::PolicyOf(const ModelSequence& sequence,
                                         size_t unit) const {
  static const UnitPolicy full;
  return sequence.plan == nullptr ? full : sequence.plan->units[unit];
}

// As often as a step says it: one that failed may have been heard.
absl::Status ModelWorkers::KeepPlans(const Step& step, Plans& plans) {
  for (const uint64_t id : step.drop_plan_ids) plans.erase(id);
  for (const NumberedPlan& plan : step.plans) {
    const auto [kept, is_new] = plans.emplace(plan.plan_id, plan.plan);
    if (is_new || *kept->second == *plan.plan) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("plan ", plan.plan_id, " is another one here"));
  }
  if (plans.size() <= static_cast<size_t>(kMaxPlans)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(plans.size(), " plans are kept, limit ", kMaxPlans));
}

absl::Status ModelWorkers::MakeFork(const Fork& fork, const Plans& plans,
                                    Books& books) const {
  const auto source = books.find(fork.from_sequence_id);
  const bool has_plan = fork.plan_id == 0 || plans.contains(fork.plan_id);
  if (books.contains(fork.sequence_id) || source == books.end() || !has_plan ||
      fork.length > static_cast<int64_t>(source->second.past.tokens.size())) {
    return absl::InvalidArgumentError(
        absl::StrCat("fork ", fork.sequence_id, " of ", fork.from_sequence_id,
                     " at ", fork.length, " under plan ", fork.plan_id));
  }
  const ModelSequence& from = source->second;
  ModelSequence to;
  if (fork.plan_id != 0) to.plan = plans.at(fork.plan_id);
  to.prompt_len = fork.prompt_len;
  to.past.tag = TagUnder(from.past.tag, to.plan.get());
  to.past.tokens.assign(from.past.tokens.begin(),
                        from.past.tokens.begin() + fork.length);
  to.tables = from.tables;
  for (size_t unit = 0; unit < to.tables.size(); ++unit) {
    auto& table = to.tables[unit];
    table.resize((fork.length + 63) / 64);
    if (fork.length % 64 != 0) table.back() = std::make_shared<Block>();
    const KeptSpans kept =
        KeptOf(PolicyOf(to, unit), fork.length, to.prompt_len);
    for (size_t block = 0; block < table.size(); ++block) {
      if (table[block] != nullptr || !IsBlockKept(kept, block)) continue;
      return absl::InvalidArgumentError(
          absl::StrCat("fork ", fork.sequence_id, " needs block ", block,
                       " of unit ", unit, ", which was dropped"));
    }
  }
  books.emplace(fork.sequence_id, std::move(to));
  return absl::OkStatus();
}

absl::Status ModelWorkers::Append(const Slice& slice, const Plans& plans,
                                  Books& books) const {
  const bool is_new = !books.contains(slice.sequence_id);
  if (is_new && slice.plan_id != 0 && !plans.contains(slice.plan_id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("plan ", slice.plan_id, " is not here"));
  }
  if (slice.contrast_plan_id != 0 && !plans.contains(slice.contrast_plan_id)) {
    return absl::InvalidArgumentError(
        absl::StrCat("plan ", slice.contrast_plan_id, " is not here"));
  }
  ModelSequence& sequence = books[slice.sequence_id];
  if (is_new) {
    if (slice.contrast_plan_id != 0) {
      sequence.contrast_plan = plans.at(slice.contrast_plan_id);
    }
    if (slice.plan_id != 0) sequence.plan = plans.at(slice.plan_id);
    sequence.prompt_len = slice.prompt_len;
    sequence.past.tag = TagUnder(1, sequence.plan.get());
    sequence.tables.resize(geometry_.num_layers * geometry_.num_kv_heads);
  }
  std::vector<int32_t>& tokens = sequence.past.tokens;
  const int64_t context_len = static_cast<int64_t>(tokens.size());
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
  if (slice.use_last_sample) tokens.push_back(*sequence.last_sample);
  tokens.insert(tokens.end(), slice.tokens.begin(), slice.tokens.end());
  for (auto& table : sequence.tables) {
    while (table.size() * 64 < tokens.size()) {
      table.push_back(std::make_shared<Block>());
    }
  }
  return absl::OkStatus();
}

void ModelWorkers::Trim(ModelSequence& sequence) const {
  const auto length = static_cast<int64_t>(sequence.past.tokens.size());
  for (size_t unit = 0; unit < sequence.tables.size(); ++unit) {
    const KeptSpans kept =
        KeptOf(PolicyOf(sequence, unit), length, sequence.prompt_len);
    for (size_t block = 0; block < sequence.tables[unit].size(); ++block) {
      if (!IsBlockKept(kept, block)) sequence.tables[unit][block] = nullptr;
    }
  }
}

ParkOutcome ModelWorkers::ApplyPark(const ParkRequest& park, Books& books,
                                    Books& files) {
  const uint64_t id = park.sequence_id;
  const bool reads = park.action == ParkAction::kRead;
  if (park.action == ParkAction::kUnload) {
    books.erase(id);
    return {};
  }
  if (park.action == ParkAction::kErase) {
    files.erase(id);
    return {};
  }
  Books& from = reads ? files : books;
  Books& to = reads ? books : files;
  if (!from.contains(id) || to.contains(id)) {
    return {absl::InvalidArgumentError(absl::StrCat("park of ", id))};
  }
  ModelSequence copy = from.at(id);
  for (auto& table : copy.tables) {
    for (auto& block : table) {
      if (block != nullptr) block = std::make_shared<Block>();
    }
  }
  to.emplace(id, std::move(copy));
  const int64_t bytes = reads ? 0 : 1000;
  return {absl::OkStatus(), bytes, {bytes}};
}

absl::Status ModelWorkers::CheckRoom(const Books& books) {
  ++num_counts_;
  std::vector<int64_t> used(capacity_.rank_bytes.size(), 0);
  for (const auto& [id, sequence] : books) {
    const auto length = static_cast<int64_t>(sequence.past.tokens.size());
    for (size_t unit = 0; unit < sequence.tables.size(); ++unit) {
      const UnitPolicy& policy = PolicyOf(sequence, unit);
      const int64_t block_bytes =
          64 *
          KvBytesPerPosition(ResolveKvType(policy.kv_type, geometry_.kv_type),
                             geometry_.head_dim);
      int64_t& bytes = used[capacity_.unit_rank[unit]];
      bytes += ExtraBytesHeld(policy, length, geometry_.head_dim,
                              geometry_.heads_per_kv_head);
      for (const auto& block : sequence.tables[unit]) {
        if (block == nullptr || block->counted == num_counts_) continue;
        block->counted = num_counts_;
        bytes += block_bytes;
      }
    }
  }
  for (size_t rank = 0; rank < used.size(); ++rank) {
    if (used[rank] <= capacity_.rank_bytes[rank]) continue;
    return absl::ResourceExhaustedError(
        absl::StrCat(used[rank], " bytes of KV in use on rank ", rank,
                     ", capacity ", capacity_.rank_bytes[rank]));
  }
  return absl::OkStatus();
}

SliceResult ModelWorkers::Answer(const Slice& slice, ModelSequence& sequence) {
  SliceResult outcome;
  outcome.sequence_id = slice.sequence_id;
  ModelPast contrast;
  if (slice.contrast_plan_id != 0) {
    contrast = {sequence.past.tokens,
                TagUnder(1, sequence.contrast_plan.get())};
  }
  for (int64_t row = 0; row < slice.num_rows(); ++row) {
    const int64_t position = slice.first_position + row;
    const uint64_t hash = PrefixHash(sequence.past, position + 1);
    if (!slice.score_targets.empty()) {
      outcome.score_logprobs.push_back(
          ScoreLogprob(hash, slice.score_targets.at(row)));
      if (slice.contrast_plan_id != 0) {
        outcome.contrast_logprobs.push_back(ScoreLogprob(
            PrefixHash(contrast, position + 1), slice.score_targets.at(row)));
      }
    }
    if (slice.hash_logits) outcome.logits_digests.push_back(Digest(hash));
    if (slice.embed) {
      outcome.hidden.push_back(static_cast<float>(hash % 4096));
      outcome.hidden.push_back(static_cast<float>(position));
    }
  }
  if (!slice.probe.empty()) {
    HeadProbe& probe = outcome.probes.emplace_back();
    for (int64_t row = 0; row < slice.num_rows(); ++row) {
      probe.argmax.push_back(static_cast<int32_t>(slice.first_position + row));
    }
  }
  sequence.last_sample.reset();
  if (slice.sample) {
    outcome.has_token = true;
    outcome.token = Sample(
        PrefixHash(sequence.past, sequence.past.tokens.size()), slice.sampling);
    sequence.last_sample = outcome.token;
  }
  return outcome;
}

}  // namespace headwise
