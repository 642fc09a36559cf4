#include "server/selection/row_file_reader.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/selection/input_format.h"
#include "server/selection/row_codec.h"

namespace headwise {
namespace {

class FileReader final : public ByteReader {
 public:
  FileReader(std::string path, int fd) : path_(std::move(path)), fd_(fd) {}
  ~FileReader() override { close(fd_); }

  absl::StatusOr<size_t> Read(absl::Span<char> into) override {
    while (true) {
      const ssize_t num_bytes = read(fd_, into.data(), into.size());
      if (num_bytes >= 0) return static_cast<size_t>(num_bytes);
      if (errno == EINTR) continue;
      return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path_));
    }
  }

 private:
  const std::string path_;
  const int fd_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<RowFileReader>> RowFileReader::Open(
    const std::string& path) {
  HEADWISE_ASSIGN_OR_RETURN(const InputFormat format, FormatOfName(path));
  if (!format.is_lines) {
    return absl::InvalidArgumentError(
        absl::StrCat(path, " is not named as a file of rows, .jsonl"));
  }
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) {
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  }
  std::unique_ptr<RowFileReader> reader(
      new RowFileReader(path, std::make_unique<FileReader>(path, fd)));
  ByteReader* content = reader->file_.get();
  if (format.compression != Compression::kNone) {
    reader->decompressor_ = Decompressor::Create(format.compression, content);
    content = reader->decompressor_.get();
  }
  reader->lines_ = std::make_unique<LineReader>(content, kMaxRowBytes);
  return reader;
}

RowFileReader::RowFileReader(std::string path, std::unique_ptr<ByteReader> file)
    : path_(std::move(path)), file_(std::move(file)) {}

absl::Status RowFileReader::Broken(absl::string_view what) const {
  return absl::DataLossError(
      absl::StrCat(path_, ", line ", num_lines_, ": ", what));
}

absl::StatusOr<bool> RowFileReader::Next(ScoreRow& row) {
  HEADWISE_ASSIGN_OR_RETURN(const auto line, lines_->Next());
  ++num_lines_;
  const bool is_end = !line.has_value() || line->is_last;
  if (is_end && decompressor_ != nullptr && decompressor_->is_broken()) {
    return Broken("the file can't be unpacked further");
  }
  if (!line.has_value()) return false;
  if (line->is_last) return Broken("the file ends within the line");
  if (line->is_too_long) {
    return absl::ResourceExhaustedError(absl::StrCat(
        path_, ", line ", num_lines_, ": more than ", kMaxRowBytes, " bytes"));
  }
  const absl::Status status = ParseRowInto(line->text, row);
  if (!status.ok()) return Broken(status.message());
  return true;
}

}  // namespace headwise
