#include "server/selection/document_reader.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/types/span.h"
#include "base/status_macros.h"
#include "server/selection/input_format.h"
#include "server/selection/json_record.h"
#include "server/selection/valid_utf8.h"

namespace headwise {
namespace {

constexpr absl::string_view kByteOrderMark = "\xEF\xBB\xBF";

// Without what may stand around a JSON value on its line.
absl::string_view Trimmed(absl::string_view line) {
  absl::ConsumePrefix(&line, kByteOrderMark);
  const size_t begin = line.find_first_not_of(" \t\r");
  if (begin == line.npos) return {};
  return line.substr(begin, line.find_last_not_of(" \t\r") - begin + 1);
}

// Reads at most max_bytes + 1 bytes.
absl::StatusOr<std::string> ReadUpTo(int64_t max_bytes, ByteReader* source) {
  std::array<char, 64 * 1024> buffer;
  std::string text;
  while (static_cast<int64_t>(text.size()) <= max_bytes) {
    const auto part = absl::MakeSpan(buffer).subspan(
        0, static_cast<size_t>(max_bytes + 1) - text.size());
    HEADWISE_ASSIGN_OR_RETURN(const size_t size, source->Read(part));
    if (size == 0) break;
    text.append(part.data(), size);
  }
  return text;
}

// As InputOptions::domain says.
std::string DomainOfFile(const InputOptions& options, absl::string_view file) {
  if (!options.domain.empty()) return options.domain;
  std::string folder;  // the longest one of the paths that holds the file
  for (const std::string& path : options.paths) {
    std::string name = WithoutLastSlash(path);
    if (name == file) name.resize(std::min(name.rfind('/'), name.size()));
    if (name.size() > folder.size() && absl::StartsWith(file, name + "/")) {
      folder = std::move(name);
    }
  }
  if (!folder.empty()) file.remove_prefix(folder.size() + 1);
  const size_t slash = file.find('/');
  if (slash != file.npos) return std::string(file.substr(0, slash));
  return folder.substr(folder.rfind('/') + 1);
}

absl::Status CheckPieces(const InputShard& shard) {
  for (const ShardPiece& piece : shard.pieces) {
    HEADWISE_RETURN_IF_ERROR(CheckInputName("piece of", piece.file));
    HEADWISE_RETURN_IF_ERROR(FormatOfName(piece.file).status());
    if (piece.begin < 0 || piece.end < piece.begin) {
      return absl::InvalidArgumentError(absl::StrCat(
          "piece of ", QuotedInputName(piece.file), " has bytes ", piece.begin,
          " to ", piece.end, ", expected: 0 <= begin <= end"));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::StatusOr<std::unique_ptr<DocumentReader>> DocumentReader::Open(
    const InputOptions& options, const InputShard& shard) {
  HEADWISE_RETURN_IF_ERROR(CheckInputOptions(options));
  HEADWISE_RETURN_IF_ERROR(CheckPieces(shard));
  HEADWISE_ASSIGN_OR_RETURN(InputRoot root, InputRoot::Open(options.root));
  return std::unique_ptr<DocumentReader>(
      new DocumentReader(options, shard, std::move(root)));
}

DocumentReader::DocumentReader(const InputOptions& options,
                               const InputShard& shard, InputRoot root)
    : options_(options), shard_(shard), root_(std::move(root)) {}

absl::StatusOr<std::optional<Document>> DocumentReader::Next() {
  HEADWISE_RETURN_IF_ERROR(error_);
  absl::StatusOr<std::optional<Document>> document = ReadNext();
  error_ = document.status();
  return document;
}

absl::StatusOr<std::optional<Document>> DocumentReader::ReadNext() {
  while (true) {
    if (piece_ == nullptr) {
      if (next_piece_ == shard_.pieces.size()) return std::nullopt;
      HEADWISE_RETURN_IF_ERROR(OpenPiece());
    }
    std::optional<Document> document;
    if (lines_ == nullptr) {
      HEADWISE_ASSIGN_OR_RETURN(document, ReadTextFile());
    } else {
      HEADWISE_ASSIGN_OR_RETURN(document, ReadLine());
    }
    // A text file ends with its document, a piece of lines where none follows.
    if (lines_ == nullptr || !document.has_value()) {
      HEADWISE_RETURN_IF_ERROR(piece_->Drain());
      lines_ = nullptr;
      unpacked_ = nullptr;
      piece_ = nullptr;
    }
    if (document.has_value()) return document;
  }
}

absl::Status DocumentReader::OpenPiece() {
  const ShardPiece& piece = shard_.pieces[next_piece_++];
  HEADWISE_ASSIGN_OR_RETURN(const InputFormat format, FormatOfName(piece.file));
  HEADWISE_ASSIGN_OR_RETURN(InputFile file, root_.OpenFile(piece.file));
  if (format.is_one_piece() && file.size() != piece.end) {
    return absl::DataLossError(absl::StrCat(
        "input ", QuotedInputName(piece.file), " has changed: it has ",
        file.size(), " bytes, ", piece.end, " when the job was planned"));
  }
  piece_ = std::make_unique<PieceReader>(std::move(file), piece);
  if (format.compression != Compression::kNone) {
    unpacked_ = Decompressor::Create(format.compression, piece_.get());
  }
  if (format.is_lines) {
    lines_ =
        std::make_unique<LineReader>(source(), options_.max_document_bytes);
  }
  is_break_told_ = false;
  return absl::OkStatus();
}

ByteReader* DocumentReader::source() const {
  if (unpacked_ != nullptr) return unpacked_.get();
  return piece_.get();
}

absl::StatusOr<Document> DocumentReader::ReadTextFile() {
  const int64_t max_bytes = options_.max_document_bytes;
  const std::string& file = piece_->piece().file;
  Document document = {.id = file, .domain = DomainOfFile(options_, file)};
  HEADWISE_ASSIGN_OR_RETURN(std::string text, ReadUpTo(max_bytes, source()));
  if (static_cast<int64_t>(text.size()) > max_bytes) {
    document.flags |= kTooLarge;
    return document;
  }
  if (unpacked_ != nullptr && unpacked_->is_broken()) {
    document.flags |= kBrokenRecord;
    return document;
  }
  if (absl::StartsWith(text, kByteOrderMark)) {
    text.erase(0, kByteOrderMark.size());
  }
  if (text.empty()) document.flags |= kEmptyText;
  if (!IsValidUtf8(text)) {
    document.flags |= kInvalidUtf8;
  } else {
    document.text = std::move(text);
  }
  return document;
}

absl::StatusOr<std::optional<Document>> DocumentReader::ReadLine() {
  while (true) {
    HEADWISE_ASSIGN_OR_RETURN(const std::optional<LineReader::Line> line,
                              lines_->Next());
    const bool is_end = !line.has_value() || line->is_last;
    if (is_end && unpacked_ != nullptr && unpacked_->is_broken()) {
      // One row for the break, whether or not it is within a line.
      if (std::exchange(is_break_told_, true)) return std::nullopt;
      return MadeUpDocument(line.has_value() ? line->offset : lines_->offset(),
                            kBrokenRecord);
    }
    if (!line.has_value()) return std::nullopt;
    if (line->is_too_long) return MadeUpDocument(line->offset, kTooLarge);
    const absl::string_view text = Trimmed(line->text);
    if (!text.empty()) return MakeDocument(text, line->offset);
  }
}

Document DocumentReader::MadeUpDocument(int64_t offset, uint32_t flags) const {
  return {.id = MadeUpId(offset),
          .domain = options_.domain,
          .flags = flags | kMadeUpId};
}

Document DocumentReader::MakeDocument(absl::string_view line,
                                      int64_t offset) const {
  std::optional<JsonRecord> record = ParseJsonRecord(line, options_);
  if (!record.has_value()) return MadeUpDocument(offset, kBrokenRecord);
  Document document =
      ToDocument(*std::move(record), MadeUpId(offset), options_.domain);
  if (document.id.size() > kMaxDocumentIdBytes &&
      (document.flags & (kMadeUpId | kInvalidIdType)) == 0) {
    document.id = MadeUpId(offset);
    document.flags |= kInvalidIdType;
  }
  if (document.domain.size() > kMaxDomainBytes) {
    document.domain = options_.domain;
    document.text.clear();
    document.flags |= kUnknownDomain;
  }
  return document;
}

std::string DocumentReader::MadeUpId(int64_t offset) const {
  const ShardPiece& piece = piece_->piece();
  return absl::StrCat(piece.file, ":", piece.begin + offset);
}

}  // namespace headwise
