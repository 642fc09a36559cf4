// The input of a selection job, and the pieces of it that are scored at a time.

#ifndef HEADWISE_SERVER_SELECTION_INPUT_SHARD_H_
#define HEADWISE_SERVER_SELECTION_INPUT_SHARD_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace headwise {

// What a job reads, and how.
struct InputOptions {
  // Absolute, with no symbolic link in it. Nothing outside it is ever opened.
  std::string root;
  // Files or folders, relative to `root`; empty: all of it.
  std::vector<std::string> paths;

  // Names of the fields of a JSON line.
  std::string id_field = "id";
  std::string text_field = "text";
  std::string domain_field = "domain";

  // Domain of records without that field, and of text files. If empty, a record
  // has none, and a text file has the name of the first folder below the one of
  // `paths` that it was found in; if it lies in that folder itself, its name.
  std::string domain;

  int64_t shard_bytes = int64_t{8} << 20;          // about; as stored on disk
  int64_t max_document_bytes = int64_t{16} << 20;  // of a line or a text file
};

// InvalidArgument naming the field, its value and its limit.
absl::Status CheckInputOptions(const InputOptions& options);

// Of one job: its manifest lists them.
inline constexpr int64_t kMaxInputPieces = 1'000'000;

// Bytes [begin, end) of a file, as stored on disk.
struct ShardPiece {
  std::string file;  // relative to InputOptions::root, no newline in it
  int64_t begin = 0;
  int64_t end = 0;
  std::string sha256;  // of those bytes, 64 lower-case hexadecimal digits

  bool operator==(const ShardPiece&) const = default;
};

// What is scored and written as one.
struct InputShard {
  int64_t index = 0;  // in its job, from 0
  std::vector<ShardPiece> pieces;

  int64_t bytes() const;
  // SHA-256 over the pieces, 64 hexadecimal digits; does not depend on `index`.
  std::string Digest() const;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_INPUT_SHARD_H_
