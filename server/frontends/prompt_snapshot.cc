#include "server/frontends/prompt_snapshot.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "proto/head_plan_codec.h"
#include "server/frontends/request_parser.h"
#include "server/frontends/rich_status.h"

namespace headwise {
namespace {

using Ids = absl::Span<const int32_t>;

absl::Span<const uint8_t> BytesOf(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

Sha256Digest HashBeforeTokens(const PromptSnapshot& snapshot,
                              int64_t num_tokens) {
  return Sha256Of(BytesOf(absl::StrCat(snapshot.model_sha256, " ",
                                       snapshot.plan.hash, " ", num_tokens)));
}

// x86-64 and ARM64 store integers little-endian.
Sha256Digest HashAfter(const Sha256Digest& before, Ids ids) {
  Sha256 hash;
  hash.Update(before);
  hash.Update({reinterpret_cast<const uint8_t*>(ids.data()),
               ids.size() * sizeof(int32_t)});
  return hash.Finish();
}

}  // namespace

std::optional<v1::PromptSnapshotPart> PromptSnapshotWriter::Next() {
  const auto num_tokens = static_cast<int64_t>(snapshot_.tokens.size());
  v1::PromptSnapshotPart part;
  if (offset_ < 0) {
    v1::PromptSnapshotHeader& header = *part.mutable_header();
    header.set_format(kPromptSnapshotFormat);
    header.set_model_sha256(snapshot_.model_sha256);
    header.set_num_tokens(num_tokens);
    if (snapshot_.plan.plan != nullptr) {
      WriteHeadPlan(*snapshot_.plan.plan, header.mutable_plan());
    }
    hash_ = HashBeforeTokens(snapshot_, num_tokens);
    offset_ = 0;
    return part;
  }
  if (offset_ == num_tokens) return std::nullopt;
  const Ids ids =
      Ids(snapshot_.tokens)
          .subspan(static_cast<size_t>(offset_), kSnapshotRunTokens);
  hash_ = HashAfter(hash_, ids);
  v1::PromptSnapshotTokens& run = *part.mutable_tokens();
  run.set_offset(offset_);
  run.mutable_ids()->Add(ids.begin(), ids.end());
  run.set_sha256(hash_.data(), hash_.size());
  offset_ += static_cast<int64_t>(ids.size());
  return part;
}

absl::Status PromptSnapshotReader::Add(const v1::PromptSnapshotPart& part) {
  const bool is_first = !snapshot_.has_value();
  if (part.has_header() != is_first || part.has_tokens() == is_first) {
    return InvalidField("part", "a header must come first, then tokens alone");
  }
  return is_first ? AddHeader(part.header()) : AddTokens(part.tokens());
}

absl::Status PromptSnapshotReader::AddHeader(
    const v1::PromptSnapshotHeader& header) {
  if (header.format() != kPromptSnapshotFormat) {
    return absl::FailedPreconditionError(absl::StrCat(
        "header.format: the snapshot is of format ", header.format(),
        ", this server reads ", kPromptSnapshotFormat));
  }
  if (header.model_sha256() != terms_.model_sha256) {
    return absl::FailedPreconditionError(
        absl::StrCat("header.model_sha256: the snapshot is of the model ",
                     header.model_sha256().substr(0, 64), ", this server has ",
                     terms_.model_sha256));
  }
  PromptSnapshot snapshot = {
      .model_sha256 = header.model_sha256(), .plan = {}, .tokens = {}};
  if (header.has_plan()) {
    HEADWISE_ASSIGN_OR_RETURN(HeadPlan plan, ReadHeadPlan(header.plan()));
    if (plan.model_sha256 != terms_.model_sha256) {
      return InvalidField("header.plan.model_sha256",
                          absl::StrCat(plan.model_sha256, " is not that of ",
                                       "header.model_sha256"));
    }
    snapshot.plan = terms_.plans.Describe(std::move(plan));
  } else {
    HEADWISE_ASSIGN_OR_RETURN(snapshot.plan, terms_.plans.Find(kFullPlan));
  }
  num_tokens_ = header.num_tokens();
  const int64_t longest = snapshot.plan.longest_context_len;
  if (num_tokens_ < 1 || num_tokens_ > longest) {
    return absl::OutOfRangeError(
        absl::StrCat("header.num_tokens: ", num_tokens_, "; 1 to ", longest,
                     " fit into the context of its plan"));
  }
  hash_ = HashBeforeTokens(snapshot, num_tokens_);
  snapshot_ = std::move(snapshot);
  return absl::OkStatus();
}

absl::Status PromptSnapshotReader::AddTokens(
    const v1::PromptSnapshotTokens& run) {
  std::vector<int32_t>& tokens = snapshot_->tokens;
  const auto num_before = static_cast<int64_t>(tokens.size());
  const Ids ids(run.ids().data(), static_cast<size_t>(run.ids_size()));
  if (run.offset() != num_before) {
    return absl::DataLossError(
        absl::StrCat("tokens.offset: ", run.offset(), " after ", num_before,
                     " tokens: a run is missing, or came twice"));
  }
  if (ids.empty() || run.ids_size() > kSnapshotRunTokens ||
      run.ids_size() > num_tokens_ - num_before) {
    return InvalidField(
        "tokens.ids", absl::StrCat("has ", ids.size(), " tokens from ",
                                   num_before, " on; 1 to ", kSnapshotRunTokens,
                                   ", in all ", num_tokens_));
  }
  const Sha256Digest hash = HashAfter(hash_, ids);
  if (run.sha256().size() != hash.size() ||
      std::memcmp(run.sha256().data(), hash.data(), hash.size()) != 0) {
    return absl::DataLossError(absl::StrCat(
        "tokens.sha256: tokens ", num_before, " to ",
        num_before + run.ids_size(), ", or what comes before them, are not ",
        "those that were written"));
  }
  HEADWISE_RETURN_IF_ERROR(CheckTokenIds("tokens.ids", ids, terms_.vocab_size));
  hash_ = hash;
  tokens.insert(tokens.end(), ids.begin(), ids.end());
  return absl::OkStatus();
}

absl::StatusOr<PromptSnapshot> PromptSnapshotReader::Finish() {
  if (!snapshot_.has_value()) return InvalidField("part", "there is none");
  const auto num_tokens = static_cast<int64_t>(snapshot_->tokens.size());
  if (num_tokens != num_tokens_) {
    return absl::DataLossError(absl::StrCat("part: the snapshot ends after ",
                                            num_tokens, " of ", num_tokens_,
                                            " tokens"));
  }
  return *std::exchange(snapshot_, std::nullopt);
}

}  // namespace headwise
