#include "server/selection/input_files.h"

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "server/selection/input_format.h"
#include "server/selection/input_root.h"
#include "server/selection/input_walk.h"
#include "server/selection/piece_hasher.h"

namespace headwise {
namespace {

// So that a shard of empty files stays small, too.
constexpr size_t kMaxShardPieces = 1024;

// Lays pieces into shards in the order in which they come.
class ShardPacker {
 public:
  explicit ShardPacker(int64_t shard_bytes) : shard_bytes_(shard_bytes) {}

  absl::Status Add(const std::string& file, int64_t begin, int64_t end) {
    if (num_pieces_ == kMaxInputPieces) {
      return absl::ResourceExhaustedError(
          absl::StrCat("input has more than ", kMaxInputPieces,
                       " pieces at shard_bytes ", shard_bytes_));
    }
    const int64_t bytes = end - begin;
    if (open_bytes_ + bytes > shard_bytes_ ||
        open_.pieces.size() == kMaxShardPieces) {
      Close();
    }
    open_.pieces.push_back({file, begin, end, ""});
    open_bytes_ += bytes;
    ++num_pieces_;
    return absl::OkStatus();
  }

  // The next piece begins a shard.
  void Close() {
    if (open_.pieces.empty()) return;
    open_.index = static_cast<int64_t>(shards_.size());
    shards_.push_back(std::move(open_));
    open_ = {};
    open_bytes_ = 0;
  }

  std::vector<InputShard> TakeShards() {
    Close();
    return std::move(shards_);
  }

 private:
  const int64_t shard_bytes_;
  std::vector<InputShard> shards_;
  InputShard open_;
  int64_t open_bytes_ = 0;
  int64_t num_pieces_ = 0;
};

// The first place at or after `at` where a line ends; the end of the file if
// none does.
absl::StatusOr<int64_t> FindLineEnd(const InputFile& file, int64_t at) {
  std::array<char, 64 * 1024> buffer;
  // The newline itself may be the byte before `at`.
  for (int64_t from = at - 1;;) {
    HEADWISE_ASSIGN_OR_RETURN(const size_t size,
                              file.ReadAt(from, absl::MakeSpan(buffer)));
    const void* newline = std::memchr(buffer.data(), '\n', size);
    if (newline != nullptr) {
      return from + (static_cast<const char*>(newline) - buffer.data()) + 1;
    }
    from += static_cast<int64_t>(size);
    if (size < buffer.size()) return from;
  }
}

absl::Status CutLines(const InputRoot& root, const FoundFile& found,
                      int64_t shard_bytes, ShardPacker* packer) {
  if (found.size <= shard_bytes) return packer->Add(found.name, 0, found.size);
  HEADWISE_ASSIGN_OR_RETURN(const InputFile file, root.OpenFile(found.name));
  for (int64_t begin = 0; begin < found.size;) {
    int64_t end = found.size;
    if (found.size - begin > shard_bytes) {
      HEADWISE_ASSIGN_OR_RETURN(end, FindLineEnd(file, begin + shard_bytes));
    }
    end = std::min(end, found.size);
    HEADWISE_RETURN_IF_ERROR(packer->Add(found.name, begin, end));
    begin = end;
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<InputShard>> CutFiles(
    const InputRoot& root, absl::Span<const FoundFile> files,
    int64_t shard_bytes) {
  ShardPacker packer(shard_bytes);
  for (const FoundFile& file : files) {
    HEADWISE_ASSIGN_OR_RETURN(const InputFormat format,
                              FormatOfName(file.name));
    if (!format.is_lines) {
      HEADWISE_RETURN_IF_ERROR(packer.Add(file.name, 0, file.size));
    } else if (file.size == 0) {
      continue;  // no line, no document
    } else if (format.is_one_piece()) {
      packer.Close();
      HEADWISE_RETURN_IF_ERROR(packer.Add(file.name, 0, file.size));
      packer.Close();
    } else {
      HEADWISE_RETURN_IF_ERROR(CutLines(root, file, shard_bytes, &packer));
    }
  }
  return packer.TakeShards();
}

}  // namespace

absl::StatusOr<std::vector<InputShard>> PlanShards(
    const InputOptions& options, const PlanProgress& progress) {
  HEADWISE_RETURN_IF_ERROR(CheckInputOptions(options));
  HEADWISE_ASSIGN_OR_RETURN(const InputRoot root,
                            InputRoot::Open(options.root));
  HEADWISE_ASSIGN_OR_RETURN(
      const std::vector<FoundFile> files,
      FindInputFiles(root, options.paths, [&] { return progress(0, 0); }));
  HEADWISE_ASSIGN_OR_RETURN(std::vector<InputShard> shards,
                            CutFiles(root, files, options.shard_bytes));
  if (shards.empty()) {
    return absl::NotFoundError(
        absl::StrCat("no document in the paths under the root ",
                     QuotedInputName(options.root)));
  }
  std::vector<ShardPiece*> pieces;
  int64_t num_bytes = 0;
  for (InputShard& shard : shards) {
    num_bytes += shard.bytes();
    for (ShardPiece& piece : shard.pieces) pieces.push_back(&piece);
  }
  HEADWISE_RETURN_IF_ERROR(HashPieces(
      root, pieces, [&](int64_t bytes) { return progress(bytes, num_bytes); }));
  return shards;
}

}  // namespace headwise
