#include "server/selection/piece_hasher.h"

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/synchronization/mutex.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "base/thread_team.h"
#include "server/selection/input_format.h"

namespace headwise {
namespace {

constexpr int kMaxThreads = 4;
constexpr size_t kReadBytes = size_t{1} << 20;

absl::Status Changed(const ShardPiece& piece, absl::string_view how) {
  return absl::AbortedError(absl::StrCat(
      "input ", QuotedInputName(piece.file),
      " changed while the job was planned: it ", how, " byte ", piece.end));
}

// A piece must end where its file or one of its lines ends.
absl::Status CheckEnd(const InputFile& file, const ShardPiece& piece,
                      char last_byte) {
  if (file.size() == piece.end) return absl::OkStatus();
  HEADWISE_ASSIGN_OR_RETURN(const InputFormat format, FormatOfName(piece.file));
  if (!format.is_one_piece() && last_byte == '\n') return absl::OkStatus();
  return Changed(piece, "no longer ends at");
}

class PieceHasher {
 public:
  PieceHasher(const InputRoot& root, absl::Span<ShardPiece* const> pieces,
              const std::function<bool(int64_t)>& progress)
      : root_(root), pieces_(pieces), progress_(progress) {}

  // What each thread does; member 0 is the caller's.
  void RunMember(int member) {
    std::vector<char> buffer(kReadBytes);
    while (!stop_) {
      const size_t index = next_++;
      if (index >= pieces_.size()) return;
      const absl::Status status =
          Hash(member, absl::MakeSpan(buffer), pieces_[index]);
      if (!status.ok()) Fail(status);
    }
  }

  int64_t num_bytes() const { return num_bytes_; }
  absl::Status status() const {
    absl::MutexLock lock(&mutex_);
    return status_;
  }

 private:
  void Fail(const absl::Status& status) {
    stop_ = true;
    absl::MutexLock lock(&mutex_);
    status_.Update(status);
  }

  absl::Status Hash(int member, absl::Span<char> buffer, ShardPiece* piece) {
    HEADWISE_ASSIGN_OR_RETURN(const InputFile file,
                              root_.OpenFile(piece->file));
    Sha256 hash;
    char last_byte = '\n';
    for (int64_t at = piece->begin; at < piece->end && !stop_;) {
      const auto part = buffer.subspan(
          0, std::min(buffer.size(), static_cast<size_t>(piece->end - at)));
      HEADWISE_ASSIGN_OR_RETURN(const size_t size, file.ReadAt(at, part));
      if (size < part.size()) return Changed(*piece, "ends before");
      hash.Update({reinterpret_cast<const uint8_t*>(part.data()), size});
      last_byte = part.back();
      at += static_cast<int64_t>(size);
      num_bytes_ += static_cast<int64_t>(size);
      if (member == 0 && !progress_(num_bytes_)) {
        return absl::CancelledError("planning was cancelled");
      }
    }
    if (stop_) return absl::OkStatus();
    piece->sha256 = Sha256Hex(hash.Finish());
    return CheckEnd(file, *piece, last_byte);
  }

  const InputRoot& root_;
  const absl::Span<ShardPiece* const> pieces_;
  const std::function<bool(int64_t)>& progress_;

  std::atomic<size_t> next_{0};
  std::atomic<int64_t> num_bytes_{0};
  std::atomic<bool> stop_{false};
  mutable absl::Mutex mutex_;
  absl::Status status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace

absl::Status HashPieces(const InputRoot& root,
                        absl::Span<ShardPiece* const> pieces,
                        const std::function<bool(int64_t)>& progress) {
  const int num_cpus = static_cast<int>(std::thread::hardware_concurrency());
  const int num_threads = std::clamp(
      std::min<int>(num_cpus, static_cast<int>(pieces.size())), 1, kMaxThreads);
  PieceHasher hasher(root, pieces, progress);
  ThreadTeam team(num_threads, {});
  team.Run([&](int member) { hasher.RunMember(member); });
  HEADWISE_RETURN_IF_ERROR(hasher.status());
  if (progress(hasher.num_bytes())) return absl::OkStatus();
  return absl::CancelledError("planning was cancelled");
}

}  // namespace headwise
