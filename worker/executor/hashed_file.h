// A file that ends with the SHA-256 of what stands before it.

#ifndef HEADWISE_WORKER_EXECUTOR_HASHED_FILE_H_
#define HEADWISE_WORKER_EXECUTOR_HASHED_FILE_H_

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/sha256.h"

namespace headwise {

struct CloseStdFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using StdFile = std::unique_ptr<std::FILE, CloseStdFile>;

// Integers are 64-bit, in the byte order of the machine, which is little-endian
// wherever our kernels run. Errors are kept for Finish. Not thread-safe.
class HashedFileWriter {
 public:
  // Makes the file, for its owner alone; AlreadyExists if there is one.
  static absl::StatusOr<HashedFileWriter> Create(const std::string& path);

  void PutBytes(absl::Span<const uint8_t> bytes);
  void PutInt(int64_t value) { PutArray<int64_t>({&value, 1}); }
  void PutText(absl::string_view text);
  // Elements without their count.
  template <typename T>
  void PutArray(absl::Span<const T> values) {
    PutBytes({reinterpret_cast<const uint8_t*>(values.data()),
              values.size() * sizeof(T)});
  }
  // Preceded by their count.
  template <typename T>
  void PutList(const std::vector<T>& values) {
    PutInt(static_cast<int64_t>(values.size()));
    PutArray<T>(values);
  }

  // Ends the file; its bytes. ResourceExhausted if the disk is full, Internal
  // if it can't be written for another reason; the file is then gone.
  absl::StatusOr<int64_t> Finish();

 private:
  HashedFileWriter(std::string path, StdFile file);
  void WriteRaw(absl::Span<const uint8_t> bytes);

  std::string path_;
  StdFile file_;
  std::unique_ptr<Sha256> hash_ = std::make_unique<Sha256>();
  int64_t size_ = 0;
  absl::Status status_;
};

// Reads a file whose hash was right when it was opened. Whatever a count in it
// says, no more is allocated than the file has bytes left. Not thread-safe.
class HashedFileReader {
 public:
  // DataLoss, naming the path, if the file was cut short or changed; NotFound.
  static absl::StatusOr<HashedFileReader> Open(const std::string& path);

  absl::Status GetBytes(absl::Span<uint8_t> bytes);
  absl::StatusOr<int64_t> GetInt();
  absl::StatusOr<std::string> GetText();
  template <typename T>
  absl::Status GetArray(absl::Span<T> values) {
    return GetBytes(
        {reinterpret_cast<uint8_t*>(values.data()), values.size() * sizeof(T)});
  }
  template <typename T>
  absl::StatusOr<std::vector<T>> GetList() {
    const absl::StatusOr<int64_t> count = GetCount(sizeof(T));
    if (!count.ok()) return count.status();
    std::vector<T> values(static_cast<size_t>(*count));
    const absl::Status status = GetArray<T>(absl::MakeSpan(values));
    if (!status.ok()) return status;
    return values;
  }

  // Of what the hash covers.
  int64_t bytes_left() const { return left_; }
  // What the file says makes no sense.
  absl::Status Damaged(absl::string_view what) const;

 private:
  HashedFileReader(std::string path, StdFile file, int64_t size);
  absl::StatusOr<int64_t> GetCount(size_t element_bytes);

  std::string path_;
  StdFile file_;
  int64_t left_;
};

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_HASHED_FILE_H_
