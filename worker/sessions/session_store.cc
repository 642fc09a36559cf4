#include "worker/sessions/session_store.h"

#include <algorithm>
#include <atomic>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "worker/sessions/attend_rows.h"
#include "worker/sessions/block_bytes.h"
#include "worker/sessions/policy_units.h"
#include "worker/sessions/probe_rows.h"
#include "worker/sessions/session_geometry.h"

namespace headwise {
namespace {

constexpr int64_t kBlock = KvLayout::kPositions;

absl::Status CheckPiece(const SessionShape& shape, const StagePiece& piece,
                        int64_t length) {
  const bool has_place =
      piece.num_positions >= 1 && piece.num_positions <= kMaxChunkPositions &&
      piece.first_position >= length &&
      piece.first_position <= shape.max_positions - piece.num_positions;
  const int64_t row = shape.head_dim * FloatBytes(shape.input_type);
  const int64_t bytes = has_place ? piece.num_positions * row : 0;
  if (!has_place || static_cast<int64_t>(piece.keys.size()) != bytes ||
      static_cast<int64_t>(piece.values.size()) != bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        "piece of kv_head ", piece.kv_head, ": ", piece.num_positions,
        " positions from ", piece.first_position, " on with ",
        piece.keys.size(), " and ", piece.values.size(),
        " bytes; allowed 1 to ", kMaxChunkPositions, " positions from ", length,
        " to ", shape.max_positions, ", of ", row, " bytes each"));
  }
  return absl::OkStatus();
}

// Writes positions [begin, end) of a piece, which lie in one block.
class PieceWriter {
 public:
  PieceWriter(const SessionPart& part, const Kernels& kernels)
      : part_(part), kernels_(kernels) {}

  void Write(const StagePiece& piece, int64_t begin, int64_t end) {
    const SessionShape& shape = part_.shape();
    const SessionPart::Unit& unit = *part_.FindUnit(piece.kv_head);
    const int64_t stride = shape.head_dim * FloatBytes(shape.input_type);
    key_.resize(shape.head_dim);
    value_.resize(shape.head_dim);
    for (int64_t position = begin; position < end; ++position) {
      const int64_t at = (position - piece.first_position) * stride;
      const auto* key = reinterpret_cast<const uint8_t*>(piece.keys.data());
      const auto* value = reinterpret_cast<const uint8_t*>(piece.values.data());
      ReadFloats(shape.input_type, key + at, shape.head_dim, key_.data());
      ReadFloats(shape.input_type, value + at, shape.head_dim, value_.data());
      kernels_.append({shape.layout(), unit.blocks[position / kBlock],
                       position % kBlock, key_.data(), value_.data()});
    }
  }

 private:
  const SessionPart& part_;
  const Kernels& kernels_;
  std::vector<float> key_;
  std::vector<float> value_;
};

}  // namespace

SessionStore::SessionStore(const SessionStoreOptions& options,
                           const Kernels& kernels, ThreadTeam& team,
                           const Clock& clock)
    : options_(options),
      kernels_(kernels),
      team_(team),
      parts_({"session", "sessions", options.lease, options.max_sessions},
             clock) {}

SessionStore::~SessionStore() = default;

BlockPool& SessionStore::PoolOf(const SessionShape& shape) {
  const int64_t bytes = shape.layout().block_bytes();
  return pools_.try_emplace(bytes, bytes).first->second;
}

int64_t SessionStore::committed_bytes() const {
  int64_t bytes = 0;
  for (const auto& [block_bytes, pool] : pools_) {
    bytes += block_bytes * pool.blocks_in_use();
  }
  return bytes + parts_.Sum([](const SessionPart& part) {
    return part.bytes_to_come();
  });
}

absl::Status SessionStore::CheckFree(int64_t bytes) const {
  const int64_t available = options_.capacity_bytes - committed_bytes();
  if (bytes <= available) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "the session needs ", bytes, " bytes, ", std::max<int64_t>(available, 0),
      " of ", options_.capacity_bytes, " are available"));
}

absl::StatusOr<int64_t> SessionStore::Add(const std::string& session_id,
                                          std::unique_ptr<SessionPart> part) {
  const int64_t bytes = part->max_bytes();
  parts_.Add(session_id, std::move(part));
  return bytes;
}

absl::StatusOr<int64_t> SessionStore::Open(const OpenPartRequest& request) {
  HEADWISE_RETURN_IF_ERROR(parts_.CheckNew(request.session_id));
  HEADWISE_RETURN_IF_ERROR(CheckShape(request.shape));
  HEADWISE_RETURN_IF_ERROR(CheckShares(request.shape, request.units));
  auto part = std::make_unique<SessionPart>(request.shape, request.units,
                                            PoolOf(request.shape));
  HEADWISE_RETURN_IF_ERROR(CheckFree(part->bytes_to_come()));
  return Add(request.session_id, std::move(part));
}

absl::Status SessionStore::Stage(const StageRequest& request) {
  HEADWISE_ASSIGN_OR_RETURN(SessionPart* const part,
                            parts_.Find(request.session_id));
  HEADWISE_RETURN_IF_ERROR(CheckLength(part->shape(), request.length));
  for (const StagePiece& piece : request.pieces) {
    HEADWISE_RETURN_IF_ERROR(CheckPiece(part->shape(), piece, request.length));
  }
  HEADWISE_RETURN_IF_ERROR(Remember(*part, request.length, kernels_, team_));
  part->DropUnneeded(request.length);
  struct Span {
    const StagePiece* piece;
    int64_t begin;
    int64_t end;
  };
  std::vector<Span> spans;
  for (const StagePiece& piece : request.pieces) {
    const int64_t end = piece.first_position + piece.num_positions;
    HEADWISE_RETURN_IF_ERROR(
        part->MakeRoom(piece.kv_head, piece.first_position, end));
    for (int64_t begin = piece.first_position; begin < end;) {
      const int64_t next = std::min((begin / kBlock + 1) * kBlock, end);
      spans.push_back({&piece, begin, next});
      begin = next;
    }
  }
  std::atomic<size_t> next = 0;
  team_.Run([&](int) {
    PieceWriter writer(*part, kernels_);
    for (size_t i = next++; i < spans.size(); i = next++) {
      writer.Write(*spans[i].piece, spans[i].begin, spans[i].end);
    }
  });
  return absl::OkStatus();
}

absl::StatusOr<AttendPartResult> SessionStore::Attend(
    const AttendPartRequest& request) {
  HEADWISE_ASSIGN_OR_RETURN(SessionPart* const part,
                            parts_.Find(request.session_id));
  HEADWISE_RETURN_IF_ERROR(CheckLength(part->shape(), request.length));
  HEADWISE_RETURN_IF_ERROR(Remember(*part, request.length, kernels_, team_));
  return AttendRows(*part, request, kernels_, team_);
}

absl::StatusOr<ProbePartResult> SessionStore::Probe(
    const ProbePartRequest& request) {
  HEADWISE_ASSIGN_OR_RETURN(SessionPart* const part,
                            parts_.Find(request.session_id));
  return ProbeRows(*part, request, kernels_, team_);
}

absl::StatusOr<int64_t> SessionStore::Fork(const std::string& session_id,
                                           const std::string& fork_id,
                                           int64_t length) {
  HEADWISE_ASSIGN_OR_RETURN(SessionPart* const part, parts_.Find(session_id));
  HEADWISE_RETURN_IF_ERROR(parts_.CheckNew(fork_id));
  HEADWISE_RETURN_IF_ERROR(CheckLength(part->shape(), length));
  HEADWISE_RETURN_IF_ERROR(CheckFree(part->fork_bytes(length)));
  return Add(fork_id, part->Fork(length));
}

absl::StatusOr<std::string> SessionStore::Export(const std::string& session_id,
                                                 const BlockRun& run,
                                                 int64_t length) {
  HEADWISE_ASSIGN_OR_RETURN(SessionPart* const part, parts_.Find(session_id));
  HEADWISE_RETURN_IF_ERROR(CheckLength(part->shape(), length));
  if (run.num_blocks == 0) {
    HEADWISE_RETURN_IF_ERROR(Remember(*part, length, kernels_, team_));
    return ExportSums(*part, run.kv_head, length);
  }
  const SessionPart::Unit* unit = part->FindUnit(run.kv_head);
  const int64_t block_bytes = part->pool().block_bytes();
  const int64_t held =
      unit == nullptr ? 0 : static_cast<int64_t>(unit->blocks.size());
  bool has_blocks = run.first_block >= 0 && run.num_blocks > 0 &&
                    run.num_blocks <= held &&
                    run.first_block <= held - run.num_blocks;
  std::string bytes;
  for (int64_t i = 0; has_blocks && i < run.num_blocks; ++i) {
    const uint8_t* block = unit->blocks[run.first_block + i];
    has_blocks = block != nullptr;
    if (!has_blocks) break;
    bytes.append(reinterpret_cast<const char*>(block),
                 static_cast<size_t>(block_bytes));
    const int64_t used = length - (run.first_block + i) * kBlock;
    if (used < kBlock) {
      ClearSlots(kernels_, part->shape().layout(), std::max<int64_t>(used, 0),
                 bytes.data() + i * block_bytes);
    }
  }
  if (!has_blocks) {
    return absl::InvalidArgumentError(absl::StrCat(
        run.num_blocks, " blocks of kv_head ", run.kv_head, " from ",
        run.first_block, " on are not of this worker, which has ", held));
  }
  return bytes;
}

absl::Status SessionStore::Import(const std::string& session_id,
                                  const BlockRun& run,
                                  const std::string& bytes) {
  HEADWISE_ASSIGN_OR_RETURN(SessionPart* const part, parts_.Find(session_id));
  if (run.num_blocks == 0) return ImportSums(*part, run.kv_head, bytes);
  const SessionShape& shape = part->shape();
  const int64_t block_bytes = part->pool().block_bytes();
  const int64_t max_blocks = (shape.max_positions + kBlock - 1) / kBlock;
  if (run.num_blocks < 1 || run.num_blocks > kMaxChunkPositions / kBlock ||
      run.first_block < 0 || run.first_block > max_blocks - run.num_blocks ||
      static_cast<int64_t>(bytes.size()) != run.num_blocks * block_bytes) {
    return absl::InvalidArgumentError(absl::StrCat(
        run.num_blocks, " blocks from ", run.first_block, " on with ",
        bytes.size(), " bytes; a block has ", block_bytes,
        ", the session at most ", max_blocks, " blocks"));
  }
  HEADWISE_RETURN_IF_ERROR(CheckBlocks(shape.layout(), run, bytes));
  HEADWISE_RETURN_IF_ERROR(
      part->MakeRoom(run.kv_head, run.first_block * kBlock,
                     std::min((run.first_block + run.num_blocks) * kBlock,
                              shape.max_positions)));
  const SessionPart::Unit* unit = part->FindUnit(run.kv_head);
  for (int64_t i = 0; i < run.num_blocks; ++i) {
    std::copy_n(bytes.data() + i * block_bytes, block_bytes,
                reinterpret_cast<char*>(unit->blocks[run.first_block + i]));
  }
  return absl::OkStatus();
}

absl::Status SessionStore::Delete(const std::string& session_id) {
  return parts_.Delete(session_id);
}

std::vector<std::string> SessionStore::Renew(
    const std::vector<std::string>& session_ids) {
  return parts_.Renew(session_ids);
}

}  // namespace headwise
