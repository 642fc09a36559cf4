#include "worker/executor/sequence_file.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/head_plan/head_plan_hash.h"

namespace headwise {
namespace {

constexpr std::array<char, 16> kMagic = {'h', 'e', 'a', 'd', 'w', 'i', 's',
                                         'e', ' ', 'k', 'v', ' ', '1', '\n'};
constexpr size_t kVersionAt = 12;  // what stands before it never changes

std::string PlanText(const HeadPlan* plan) {
  return plan == nullptr ? "the default plan"
                         : absl::StrCat("plan ", HeadPlanHash(*plan));
}

std::string ShapeText(const SequencesOptions& rank) {
  return absl::StrCat(rank.num_layers, " layers of ", rank.num_heads,
                      " heads and ", rank.num_kv_heads, " KV heads of ",
                      rank.head_dim, ", a vocabulary of ", rank.vocab_size,
                      ", KV type ", static_cast<int>(rank.default_element),
                      rank.titans ? ", a titans model" : "");
}

std::string UnitsText(const SequencesOptions& rank) {
  std::string text = absl::StrCat(rank.units.size(), " units:");
  for (const SequencesOptions::UnitName& unit : rank.units) {
    absl::StrAppend(&text, " ", unit.layer, ".", unit.kv_head,
                    unit.is_owner ? "" : "-",
                    unit.held_ranges.empty() ? "" : ":");
    for (const bool held : unit.held_ranges) {
      absl::StrAppend(&text, held ? "1" : "0");
    }
  }
  return text;
}

int64_t ChunkBlockBytes(int64_t head_dim) {
  return KvLayout{KvElement::kFp32, head_dim}.block_bytes();
}

void WriteSummaries(const UnitKv& unit, int64_t head_dim,
                    HashedFileWriter* file) {
  file->PutInt(unit.folded_end);
  file->PutList(unit.folded_sum);
  file->PutList(unit.page_bounds);
  file->PutList(unit.open_queries);
  file->PutInt(static_cast<int64_t>(unit.chunk_keys.size()));
  for (const ChunkKeys& keys : unit.chunk_keys) {
    const int64_t used =
        (unit.num_chunk_keys + KvLayout::kPositions - 1) / KvLayout::kPositions;
    for (int64_t b = 0; b < used; ++b) {
      file->PutBytes({keys.blocks[static_cast<size_t>(b)],
                      static_cast<size_t>(ChunkBlockBytes(head_dim))});
    }
  }
  file->PutInt(static_cast<int64_t>(unit.calibrated.size()));
  for (const CalibratedHead& head : unit.calibrated) {
    const SinkSearch::State state = head.search.state();
    file->PutInt(state.first_query);
    file->PutList(state.sums);
    file->PutInt(static_cast<int64_t>(head.sinks.size()));
    for (const CalibratedSinks& sinks : head.sinks) {
      file->PutInt(sinks.first_position);
      file->PutList(sinks.sinks);
    }
  }
}

void WriteMemory(const UnitMemory& memory, HashedFileWriter* file) {
  file->PutText(SaveMemoryHead(memory.head));
  file->PutList(memory.conv_tails);
  file->PutList(memory.context.values());
}

}  // namespace

absl::StatusOr<int64_t> WriteSequenceFile(const std::string& path,
                                          const SequencesOptions& rank,
                                          const Sequence& sequence) {
  HEADWISE_ASSIGN_OR_RETURN(HashedFileWriter file,
                            HashedFileWriter::Create(path));
  file.PutArray<char>(kMagic);
  file.PutText(PlanText(sequence.kv.plan.get()));
  file.PutText(ShapeText(rank));
  file.PutText(UnitsText(rank));
  file.PutInt(sequence.kv.prompt_len);
  file.PutInt(sequence.last_sample);
  file.PutList(sequence.tokens.ToVector());
  for (const UnitKv& unit : sequence.kv.units) {
    for (const uint8_t* block : unit.blocks) {
      file.PutInt(block != nullptr ? 1 : 0);
      if (block == nullptr) continue;
      file.PutBytes({block, static_cast<size_t>(unit.layout.block_bytes())});
    }
    WriteSummaries(unit, rank.head_dim, &file);
  }
  for (const UnitMemory& memory : sequence.kv.memories) {
    WriteMemory(memory, &file);
  }
  return file.Finish();
}

absl::StatusOr<SequenceFileReader> SequenceFileReader::Open(
    const std::string& path, const SequencesOptions& rank,
    const HeadPlan* plan) {
  HEADWISE_ASSIGN_OR_RETURN(HashedFileReader file,
                            HashedFileReader::Open(path));
  SequenceFileReader reader(std::move(file), rank);
  HEADWISE_RETURN_IF_ERROR(reader.ReadHeader(plan));
  return reader;
}

absl::Status SequenceFileReader::ReadHeader(const HeadPlan* plan) {
  std::array<char, kMagic.size()> magic = {};
  HEADWISE_RETURN_IF_ERROR(file_.GetArray<char>(absl::MakeSpan(magic)));
  if (!std::equal(magic.begin(), magic.begin() + kVersionAt, kMagic.begin())) {
    return absl::FailedPreconditionError(
        "this is no file of a parked sequence");
  }
  if (magic != kMagic) {
    return absl::FailedPreconditionError(
        "the file of the parked sequence is of another version than 1");
  }
  const std::array<std::pair<const char*, std::string>, 3> expected = {
      {{"plan", PlanText(plan)},
       {"model shape", ShapeText(rank_)},
       {"units", UnitsText(rank_)}}};
  for (const auto& [what, text] : expected) {
    HEADWISE_ASSIGN_OR_RETURN(const std::string written, file_.GetText());
    if (written == text) continue;
    return absl::FailedPreconditionError(absl::StrCat(
        "the parked sequence has another ", what, ": ", written.substr(0, 200),
        "; expected ", text.substr(0, 200)));
  }
  HEADWISE_ASSIGN_OR_RETURN(prompt_len_, file_.GetInt());
  HEADWISE_ASSIGN_OR_RETURN(const int64_t last_sample, file_.GetInt());
  HEADWISE_ASSIGN_OR_RETURN(tokens_, file_.GetList<int32_t>());
  if (prompt_len_ < 0 || last_sample < -1 || last_sample >= rank_.vocab_size ||
      tokens_.empty()) {
    return file_.Damaged(absl::StrCat("prompt_len ", prompt_len_,
                                      ", last sample ", last_sample, ", ",
                                      tokens_.size(), " tokens"));
  }
  last_sample_ = static_cast<int32_t>(last_sample);
  for (const int32_t token : tokens_) {
    if (token >= 0 && token < rank_.vocab_size) continue;
    return file_.Damaged(absl::StrCat("token ", token, " is not in [0, ",
                                      rank_.vocab_size, ")"));
  }
  return absl::OkStatus();
}

absl::Status SequenceFileReader::ReadInto(Sequence* sequence) {
  sequence->last_sample = last_sample_;
  for (UnitKv& unit : sequence->kv.units) {
    HEADWISE_RETURN_IF_ERROR(ReadBlocks(&unit));
    HEADWISE_RETURN_IF_ERROR(ReadSummaries(&unit));
  }
  for (UnitMemory& memory : sequence->kv.memories) {
    HEADWISE_RETURN_IF_ERROR(ReadMemory(&memory));
  }
  if (file_.bytes_left() > 0) {
    return file_.Damaged(
        absl::StrCat(file_.bytes_left(), " bytes follow the last unit"));
  }
  sequence->tokens = TokenHistory(tokens_);
  return absl::OkStatus();
}

absl::Status SequenceFileReader::ReadBlocks(UnitKv* unit) {
  for (size_t b = 0; b < unit->blocks.size(); ++b) {
    uint8_t* block = unit->blocks[b];
    HEADWISE_ASSIGN_OR_RETURN(const int64_t is_here, file_.GetInt());
    if (is_here != (block != nullptr ? 1 : 0)) {
      return file_.Damaged(absl::StrCat("block ", b, " of a unit is ",
                                        block == nullptr ? "" : "not ",
                                        "in the file"));
    }
    if (block == nullptr) continue;
    HEADWISE_RETURN_IF_ERROR(file_.GetBytes(
        {block, static_cast<size_t>(unit->layout.block_bytes())}));
  }
  return absl::OkStatus();
}

// Lists are there or empty: a policy that has no use for one leaves it so.
absl::Status SequenceFileReader::ReadSummaries(UnitKv* unit) {
  const auto check = [this](const char* what, size_t have, int64_t want) {
    if (have == 0 || static_cast<int64_t>(have) == want) {
      return absl::OkStatus();
    }
    return file_.Damaged(
        absl::StrCat(what, " has ", have, " values, expected ", want));
  };
  HEADWISE_ASSIGN_OR_RETURN(unit->folded_end, file_.GetInt());
  HEADWISE_ASSIGN_OR_RETURN(unit->folded_sum, file_.GetList<double>());
  HEADWISE_RETURN_IF_ERROR(
      check("folded_sum", unit->folded_sum.size(), 2 * rank_.head_dim));
  if (unit->folded_end < 0 ||
      unit->folded_end > std::max(length(), unit->policy.num_sinks)) {
    return file_.Damaged(absl::StrCat("folded_end ", unit->folded_end));
  }
  HEADWISE_ASSIGN_OR_RETURN(unit->page_bounds, file_.GetList<float>());
  HEADWISE_RETURN_IF_ERROR(
      check("page_bounds", unit->page_bounds.size(),
            length() / KvLayout::kPositions * 2 * rank_.head_dim));
  HEADWISE_RETURN_IF_ERROR(ReadChunks(unit));
  HEADWISE_ASSIGN_OR_RETURN(const int64_t num_calibrated, file_.GetInt());
  if (num_calibrated != static_cast<int64_t>(unit->calibrated.size())) {
    return file_.Damaged(absl::StrCat(num_calibrated,
                                      " calibrated heads, expected ",
                                      unit->calibrated.size()));
  }
  for (CalibratedHead& head : unit->calibrated) {
    HEADWISE_RETURN_IF_ERROR(ReadCalibrated(&head));
  }
  return absl::OkStatus();
}

absl::Status SequenceFileReader::ReadMemory(UnitMemory* memory) {
  HEADWISE_ASSIGN_OR_RETURN(const std::string head, file_.GetText());
  HEADWISE_ASSIGN_OR_RETURN(memory->head,
                            LoadMemoryHead(memory->head.spec(), head));
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<float> tails,
                            file_.GetList<float>());
  HEADWISE_ASSIGN_OR_RETURN(const std::vector<float> context,
                            file_.GetList<float>());
  if (memory->head.num_tokens() != length() ||
      tails.size() != memory->conv_tails.size() ||
      context.size() != memory->context.values().size()) {
    return file_.Damaged(absl::StrCat(
        "a memory of ", memory->head.num_tokens(), " tokens, ", tails.size(),
        " values of tails and ", context.size(), " of context"));
  }
  memory->conv_tails = tails;
  memory->context.values() = context;
  return absl::OkStatus();
}

absl::Status SequenceFileReader::ReadChunks(UnitKv* unit) {
  const int64_t g = rank_.num_heads / rank_.num_kv_heads;
  const bool is_chunked = unit->policy.kind == PolicyKind::kLongHeads;
  const bool has_chunks = is_chunked && !unit->is_elsewhere;
  const int64_t chunk_len = has_chunks ? unit->policy.chunk_len : 0;
  HEADWISE_ASSIGN_OR_RETURN(unit->open_queries, file_.GetList<float>());
  HEADWISE_ASSIGN_OR_RETURN(const int64_t num_heads, file_.GetInt());
  const int64_t chunks = has_chunks ? length() / chunk_len : 0;
  unit->num_chunk_keys = chunks;
  if (num_heads != (has_chunks ? g : 0) ||
      static_cast<int64_t>(unit->open_queries.size()) !=
          g * chunk_len * rank_.head_dim) {
    return file_.Damaged(absl::StrCat("chunks of ", num_heads, " heads and ",
                                      unit->open_queries.size(),
                                      " values of open queries"));
  }
  const int64_t block_bytes = ChunkBlockBytes(rank_.head_dim);
  const int64_t blocks =
      (chunks + KvLayout::kPositions - 1) / KvLayout::kPositions;
  if (has_chunks && num_heads * blocks > file_.bytes_left() / block_bytes) {
    return file_.Damaged("keys of chunks are missing");
  }
  unit->chunk_keys.resize(static_cast<size_t>(num_heads));
  for (ChunkKeys& keys : unit->chunk_keys) {
    for (int64_t b = 0; b < blocks; ++b) {
      keys.storage.push_back(
          std::make_shared<AlignedBuffer<uint8_t>>(block_bytes));
      keys.blocks.push_back(keys.storage.back()->data());
      HEADWISE_RETURN_IF_ERROR(file_.GetBytes(
          {keys.storage.back()->data(), static_cast<size_t>(block_bytes)}));
    }
  }
  return absl::OkStatus();
}

absl::Status SequenceFileReader::ReadCalibrated(CalibratedHead* head) {
  SinkSearch::State state;
  HEADWISE_ASSIGN_OR_RETURN(state.first_query, file_.GetInt());
  HEADWISE_ASSIGN_OR_RETURN(state.sums, file_.GetList<double>());
  const auto num_sums = static_cast<int64_t>(state.sums.size());
  if (num_sums > length() || state.first_query < 0 ||
      state.first_query > num_sums) {
    return file_.Damaged(absl::StrCat("sums of ", num_sums,
                                      " queries from the ", state.first_query,
                                      "th on"));
  }
  head->search = SinkSearch(std::move(state));
  HEADWISE_ASSIGN_OR_RETURN(const int64_t num_lists, file_.GetInt());
  if (num_lists < 0 || num_lists > length()) {
    return file_.Damaged(absl::StrCat(num_lists, " lists of sinks"));
  }
  head->sinks.clear();
  for (int64_t i = 0; i < num_lists; ++i) {
    CalibratedSinks& sinks = head->sinks.emplace_back();
    HEADWISE_ASSIGN_OR_RETURN(sinks.first_position, file_.GetInt());
    HEADWISE_ASSIGN_OR_RETURN(sinks.sinks, file_.GetList<int64_t>());
    int64_t last = -1;
    for (const int64_t sink : sinks.sinks) {
      if (sink <= last || sink >= length()) {
        return file_.Damaged(absl::StrCat("sink ", sink, " after ", last));
      }
      last = sink;
    }
  }
  return absl::OkStatus();
}

}  // namespace headwise
