#include "server/attention/session_snapshot.h"

#include <algorithm>
#include <cstring>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/leases/gather.h"
#include "worker/sessions/session_geometry.h"

namespace headwise {
namespace {

constexpr int64_t kBlock = KvLayout::kPositions;
constexpr int64_t kMaxRunBytes = 4 << 20;
constexpr int64_t kMaxRunBlocks = kMaxChunkPositions / kBlock;

std::string HashOf(const std::string& data) {
  const Sha256Digest digest =
      Sha256Of({reinterpret_cast<const uint8_t*>(data.data()), data.size()});
  return {digest.begin(), digest.end()};
}

}  // namespace

SnapshotReader::SnapshotReader(AttentionSessions& sessions,
                               const Caller& caller, SessionUse session,
                               SessionChange change)
    : sessions_(sessions),
      caller_(caller),
      session_(std::move(session)),
      change_(std::move(change)),
      length_(session_->length()) {
  const int64_t block_bytes = config().shape.layout().block_bytes();
  const int64_t max_blocks =
      std::min(kMaxRunBlocks, std::max<int64_t>(1, kMaxRunBytes / block_bytes));
  for (size_t w = 0; w < session_->workers().size(); ++w) {
    for (const UnitShare& unit : session_->workers()[w].units) {
      for (const BlockRun& run : BlockRuns(unit, length_, max_blocks)) {
        steps_.push_back({run, w});
      }
    }
  }
  std::sort(steps_.begin(), steps_.end(), [](const Step& a, const Step& b) {
    // Sums come before the blocks.
    return std::tuple(a.run.kv_head, a.run.first_block, a.run.num_blocks) <
           std::tuple(b.run.kv_head, b.run.first_block, b.run.num_blocks);
  });
}

absl::StatusOr<std::unique_ptr<SnapshotReader>> SnapshotReader::Open(
    AttentionSessions& sessions, const Caller& caller,
    const std::string& session_id) {
  HEADWISE_ASSIGN_OR_RETURN(SessionUse session,
                            sessions.Use(caller, session_id));
  HEADWISE_ASSIGN_OR_RETURN(SessionChange change,
                            SessionChange::Begin(*session));
  return std::unique_ptr<SnapshotReader>(new SnapshotReader(
      sessions, caller, std::move(session), std::move(change)));
}

absl::StatusOr<std::optional<SnapshotBlock>> SnapshotReader::Next() {
  if (next_ == steps_.size()) return std::nullopt;
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller_, sessions_.clock()));
  const Step& step = steps_[next_++];
  const AttentionSession::Worker& worker = session_->workers()[step.worker];
  Gather<std::string> answer(1);
  worker.link->Export(session_->id(), step.run, length_, timeout,
                      answer.Slot(0));
  absl::StatusOr<std::string>& data = answer.Wait()[0];
  if (!data.ok()) return session_->Explain(worker, data.status());
  SnapshotBlock block = {step.run, *std::move(data), ""};
  block.sha256 = HashOf(block.data);
  return block;
}

absl::StatusOr<std::unique_ptr<SnapshotWriter>> SnapshotWriter::Open(
    AttentionSessions& sessions, const Caller& caller,
    const AttentionConfig& config, int64_t stored_positions) {
  if (stored_positions < 0 || stored_positions > config.shape.max_positions) {
    return absl::InvalidArgumentError(
        absl::StrCat("stored_positions: ", stored_positions, ", allowed 0 to ",
                     config.shape.max_positions));
  }
  HEADWISE_ASSIGN_OR_RETURN(std::shared_ptr<AttentionSession> session,
                            sessions.OpenHidden(caller, config));
  // It is not idle while it is being restored.
  session->Touch(sessions.clock().Now(), 1);
  return std::unique_ptr<SnapshotWriter>(new SnapshotWriter(
      sessions, caller, std::move(session), stored_positions));
}

SnapshotWriter::~SnapshotWriter() {
  session_->Touch(sessions_.clock().Now(), -1);
  if (!published_) sessions_.Drop(session_);
}

UnitShare SnapshotWriter::ShareOf(int64_t kv_head) const {
  return {.kv_head = kv_head, .policy = session_->config().policies[kv_head]};
}

bool SnapshotWriter::is_complete() const {
  return kv_head_ == session_->config().shape.num_kv_heads;
}

void SnapshotWriter::FindNext() {
  const int64_t num_blocks = (length_ + kBlock - 1) / kBlock;
  while (!is_complete()) {
    while (block_ < num_blocks &&
           !IsBlockKeptAt(ShareOf(kv_head_), length_, block_)) {
      ++block_;
    }
    if (block_ < num_blocks) return;
    ++kv_head_;
    block_ = 0;
    has_sums_ = false;
  }
}

bool SnapshotWriter::ExpectsSums() const {
  return !is_complete() && !has_sums_ && HasSums(ShareOf(kv_head_), length_);
}

absl::Status SnapshotWriter::CheckRun(const BlockRun& run) const {
  const bool expects_sums = ExpectsSums();
  const int64_t min_blocks = expects_sums ? 0 : 1;
  const int64_t max_blocks = expects_sums ? 0 : kMaxRunBlocks;
  if (!is_complete() && run.kv_head == kv_head_ &&
      run.first_block == (expects_sums ? 0 : block_) &&
      run.num_blocks >= min_blocks && run.num_blocks <= max_blocks) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat(
      "blocks: ", run.num_blocks, " from block ", run.first_block,
      " of KV head ", run.kv_head, "; expected ", min_blocks, " to ",
      max_blocks,
      is_complete() ? ", but all are there"
                    : absl::StrCat(" from block ", expects_sums ? 0 : block_,
                                   " of KV head ", kv_head_)));
}

// Where the sums end follows from the length.
absl::Status SnapshotWriter::CheckSums(const std::string& data) const {
  int64_t end = 0;
  if (data.size() >= sizeof(end)) std::memcpy(&end, data.data(), sizeof(end));
  const int64_t expected = KeptAt(ShareOf(kv_head_), length_).kept_begin;
  if (end == expected) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("sums of KV head ", kv_head_,
                                                 " end at position ", end,
                                                 "; expected ", expected));
}

absl::Status SnapshotWriter::Add(const SnapshotBlock& block) {
  const BlockRun& run = block.run;
  HEADWISE_RETURN_IF_ERROR(CheckRun(run));
  if (HashOf(block.data) != block.sha256) {
    return absl::DataLossError(absl::StrCat(
        "sha256 of the blocks from ", run.first_block, " of KV head ",
        run.kv_head, " is wrong: they were changed"));
  }
  if (run.num_blocks == 0) HEADWISE_RETURN_IF_ERROR(CheckSums(block.data));
  const int64_t range = RangeIndexOf(run.first_block * kBlock);
  const AttentionSession::Worker* holder = nullptr;
  for (const AttentionSession::Worker& worker : session_->workers()) {
    for (const UnitShare& unit : worker.units) {
      if (unit.kv_head == run.kv_head && HoldsRange(unit, range)) {
        holder = &worker;
      }
    }
  }
  HEADWISE_ASSIGN_OR_RETURN(const absl::Duration timeout,
                            TimeoutFor(caller_, sessions_.clock()));
  Gather<Nothing> answer(1);
  holder->link->Import(session_->id(), run, block.data, timeout,
                       answer.Slot(0));
  const absl::Status imported = answer.Wait()[0].status();
  if (!imported.ok()) return session_->Explain(*holder, imported);
  if (run.num_blocks == 0) has_sums_ = true;
  for (int64_t i = 0; i < run.num_blocks; ++i) {
    if (is_complete() || kv_head_ != run.kv_head ||
        block_ != run.first_block + i) {
      return absl::InvalidArgumentError(
          absl::StrCat("blocks: block ", run.first_block + i, " of KV head ",
                       run.kv_head, " is not part of the session"));
    }
    ++block_;
    FindNext();
  }
  return absl::OkStatus();
}

absl::StatusOr<SessionInfo> SnapshotWriter::Finish() {
  if (!is_complete()) {
    return absl::DataLossError(absl::StrCat("the snapshot ends before block ",
                                            block_, " of KV head ", kv_head_));
  }
  session_->StoreAll(length_, ChunkLog());
  published_ = true;
  sessions_.Publish(session_);
  return session_->info();
}

}  // namespace headwise
