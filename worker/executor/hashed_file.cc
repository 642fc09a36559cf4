#include "worker/executor/hashed_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr int64_t kHashBytes = std::tuple_size_v<Sha256Digest>;
constexpr int64_t kPieceBytes = 1 << 20;  // hashed at once

absl::Status ErrorOf(absl::string_view what, const std::string& path,
                     int error) {
  const std::string text =
      absl::StrCat(what, " ", path, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) {
    return absl::ResourceExhaustedError(text);
  }
  if (error == ENOENT) return absl::NotFoundError(text);
  if (error == EEXIST) return absl::AlreadyExistsError(text);
  return absl::InternalError(text);
}

// The size of the whole file if it ends with the hash of the rest.
absl::StatusOr<int64_t> CheckHash(std::FILE* file, const std::string& path) {
  if (std::fseek(file, 0, SEEK_END) != 0) {
    return ErrorOf("cannot read", path, errno);
  }
  const int64_t size = std::ftell(file);
  const auto changed = [&] {
    return absl::DataLossError(
        absl::StrCat(path, ": its ", size,
                     " bytes don't have the SHA-256 at their end: the file "
                     "was cut short or changed"));
  };
  if (size < kHashBytes) return changed();
  std::rewind(file);
  Sha256 hash;
  std::vector<uint8_t> piece(static_cast<size_t>(kPieceBytes));
  for (int64_t left = size - kHashBytes; left > 0;) {
    const auto count = static_cast<size_t>(std::min(left, kPieceBytes));
    if (std::fread(piece.data(), 1, count, file) != count) return changed();
    hash.Update({piece.data(), count});
    left -= static_cast<int64_t>(count);
  }
  Sha256Digest written;
  if (std::fread(written.data(), 1, written.size(), file) != written.size() ||
      written != hash.Finish()) {
    return changed();
  }
  std::rewind(file);
  return size;
}

}  // namespace

HashedFileWriter::HashedFileWriter(std::string path, StdFile file)
    : path_(std::move(path)), file_(std::move(file)) {}

absl::StatusOr<HashedFileWriter> HashedFileWriter::Create(
    const std::string& path) {
  const int fd =
      open(path.c_str(), O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0600);
  if (fd < 0) return ErrorOf("cannot make", path, errno);
  StdFile file(fdopen(fd, "wb"));
  if (file == nullptr) {
    const int error = errno;
    close(fd);
    return ErrorOf("cannot make", path, error);
  }
  return HashedFileWriter(path, std::move(file));
}

void HashedFileWriter::WriteRaw(absl::Span<const uint8_t> bytes) {
  if (!status_.ok() || bytes.empty()) return;
  if (std::fwrite(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) {
    status_ = ErrorOf("cannot write", path_, errno);
  }
  size_ += static_cast<int64_t>(bytes.size());
}

void HashedFileWriter::PutBytes(absl::Span<const uint8_t> bytes) {
  WriteRaw(bytes);
  if (status_.ok()) hash_->Update(bytes);
}

void HashedFileWriter::PutText(absl::string_view text) {
  PutInt(static_cast<int64_t>(text.size()));
  PutArray<char>(text);
}

// Not synced: such a file is of no use to a process that comes later.
absl::StatusOr<int64_t> HashedFileWriter::Finish() {
  WriteRaw(hash_->Finish());
  if (std::fclose(file_.release()) != 0 && status_.ok()) {
    status_ = ErrorOf("cannot write", path_, errno);
  }
  if (status_.ok()) return size_;
  unlink(path_.c_str());
  return status_;
}

HashedFileReader::HashedFileReader(std::string path, StdFile file, int64_t size)
    : path_(std::move(path)), file_(std::move(file)), left_(size) {}

absl::StatusOr<HashedFileReader> HashedFileReader::Open(
    const std::string& path) {
  StdFile file(std::fopen(path.c_str(), "rbe"));
  if (file == nullptr) return ErrorOf("cannot open", path, errno);
  HEADWISE_ASSIGN_OR_RETURN(const int64_t size, CheckHash(file.get(), path));
  return HashedFileReader(path, std::move(file), size - kHashBytes);
}

absl::Status HashedFileReader::Damaged(absl::string_view what) const {
  return absl::DataLossError(absl::StrCat(path_, ": ", what));
}

absl::Status HashedFileReader::GetBytes(absl::Span<uint8_t> bytes) {
  if (bytes.empty()) return absl::OkStatus();
  if (static_cast<int64_t>(bytes.size()) > left_) {
    return Damaged(absl::StrCat(bytes.size(), " bytes are to follow, ", left_,
                                " are left"));
  }
  if (std::fread(bytes.data(), 1, bytes.size(), file_.get()) != bytes.size()) {
    return Damaged("was cut short while it was read");
  }
  left_ -= static_cast<int64_t>(bytes.size());
  return absl::OkStatus();
}

absl::StatusOr<int64_t> HashedFileReader::GetInt() {
  int64_t value = 0;
  HEADWISE_RETURN_IF_ERROR(GetArray<int64_t>({&value, 1}));
  return value;
}

absl::StatusOr<int64_t> HashedFileReader::GetCount(size_t element_bytes) {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t count, GetInt());
  if (count >= 0 && count <= left_ / static_cast<int64_t>(element_bytes)) {
    return count;
  }
  return Damaged(absl::StrCat(count, " elements of ", element_bytes,
                              " bytes are to follow, ", left_,
                              " bytes are left"));
}

absl::StatusOr<std::string> HashedFileReader::GetText() {
  HEADWISE_ASSIGN_OR_RETURN(const int64_t count, GetCount(1));
  std::string text(static_cast<size_t>(count), '\0');
  HEADWISE_RETURN_IF_ERROR(GetArray<char>(absl::MakeSpan(text)));
  return text;
}

}  // namespace headwise
