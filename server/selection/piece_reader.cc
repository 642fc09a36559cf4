#include "server/selection/piece_reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise {

PieceReader::PieceReader(InputFile file, ShardPiece piece)
    : file_(std::move(file)), piece_(std::move(piece)), at_(piece_.begin) {}

absl::Status PieceReader::Changed() const {
  return absl::DataLossError(
      absl::StrCat("input ", QuotedInputName(piece_.file), " has changed: its ",
                   "bytes ", piece_.begin, " to ", piece_.end,
                   " are not those with the SHA-256 ", piece_.sha256));
}

absl::StatusOr<size_t> PieceReader::Read(absl::Span<char> into) {
  if (at_ == piece_.end) {
    if (!is_checked_ && Sha256Hex(hash_.Finish()) != piece_.sha256) {
      return Changed();
    }
    is_checked_ = true;
    return size_t{0};
  }
  into = into.subspan(
      0, std::min(into.size(), static_cast<size_t>(piece_.end - at_)));
  HEADWISE_ASSIGN_OR_RETURN(const size_t size, file_.ReadAt(at_, into));
  if (size < into.size()) return Changed();
  hash_.Update({reinterpret_cast<const uint8_t*>(into.data()), into.size()});
  at_ += static_cast<int64_t>(size);
  return size;
}

absl::Status PieceReader::Drain() {
  std::array<char, 64 * 1024> buffer;
  while (true) {
    HEADWISE_ASSIGN_OR_RETURN(const size_t size, Read(absl::MakeSpan(buffer)));
    if (size == 0) return absl::OkStatus();
  }
}

}  // namespace headwise
