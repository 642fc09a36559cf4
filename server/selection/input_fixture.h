// What tests of inputs share: a corpus on disk, packed bytes, slow streams.

#ifndef HEADWISE_SERVER_SELECTION_INPUT_FIXTURE_H_
#define HEADWISE_SERVER_SELECTION_INPUT_FIXTURE_H_

#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "gtest/gtest.h"
#include "server/selection/byte_reader.h"
#include "server/selection/document_reader.h"
#include "server/selection/input_files.h"

namespace headwise {

// A folder that goes with the test.
class InputTree {
 public:
  InputTree() {
    std::string pattern = testing::TempDir() + "input_tree_XXXXXX";
    EXPECT_NE(mkdtemp(pattern.data()), nullptr);
    root_ = std::filesystem::canonical(pattern);
  }
  ~InputTree() {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }

  const std::string& root() const { return root_; }
  std::string path(const std::string& name) const { return root_ + "/" + name; }

  void Write(const std::string& name, absl::string_view bytes) const {
    std::filesystem::create_directories(
        std::filesystem::path(path(name)).parent_path());
    std::ofstream file(path(name), std::ios::binary);
    file.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
  }
  void Link(const std::string& name, const std::string& target) const {
    std::filesystem::create_symlink(target, path(name));
  }

  InputOptions Options() const {
    InputOptions options;
    options.root = root_;
    return options;
  }
  absl::StatusOr<std::vector<InputShard>> Plan(
      const InputOptions& options) const {
    return PlanShards(options, [](int64_t, int64_t) { return true; });
  }
  absl::StatusOr<std::vector<InputShard>> Plan() const {
    return Plan(Options());
  }

 private:
  std::string root_;
};

// All documents of a shard, or the first error.
inline absl::StatusOr<std::vector<Document>> ReadShard(
    const InputOptions& options, const InputShard& shard) {
  auto reader = DocumentReader::Open(options, shard);
  if (!reader.ok()) return reader.status();
  std::vector<Document> documents;
  while (true) {
    auto document = (*reader)->Next();
    if (!document.ok()) return document.status();
    if (!document->has_value()) return documents;
    documents.push_back(**std::move(document));
  }
}

// Plans, and reads all shards in order.
inline std::vector<Document> ReadAll(const InputOptions& options) {
  const auto shards =
      PlanShards(options, [](int64_t, int64_t) { return true; });
  EXPECT_TRUE(shards.ok()) << shards.status();
  std::vector<Document> all;
  if (!shards.ok()) return all;
  for (const InputShard& shard : *shards) {
    const auto documents = ReadShard(options, shard);
    EXPECT_TRUE(documents.ok()) << documents.status();
    if (!documents.ok()) return all;
    all.insert(all.end(), documents->begin(), documents->end());
  }
  return all;
}

// One gzip member.
inline std::string GzipOf(absl::string_view text) {
  z_stream stream = {};
  EXPECT_EQ(deflateInit2(&stream, 6, Z_DEFLATED, MAX_WBITS + 16, 8,
                         Z_DEFAULT_STRATEGY),
            Z_OK);
  std::string packed(deflateBound(&stream, text.size()), '\0');
  stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
  stream.avail_in = static_cast<uInt>(text.size());
  stream.next_out = reinterpret_cast<Bytef*>(packed.data());
  stream.avail_out = static_cast<uInt>(packed.size());
  EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
  packed.resize(packed.size() - stream.avail_out);
  deflateEnd(&stream);
  return packed;
}

// One zstd frame, with a check sum.
inline std::string ZstdOf(absl::string_view text) {
  ZSTD_CCtx* context = ZSTD_createCCtx();
  ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  const size_t size = ZSTD_compress2(context, packed.data(), packed.size(),
                                     text.data(), text.size());
  EXPECT_EQ(ZSTD_isError(size), 0u);
  packed.resize(size);
  ZSTD_freeCCtx(context);
  return packed;
}

// Gives `text`, at most `step` bytes at a time.
class StringReader final : public ByteReader {
 public:
  StringReader(std::string text, size_t step)
      : text_(std::move(text)), step_(step) {}

  absl::StatusOr<size_t> Read(absl::Span<char> into) override {
    const size_t size = std::min({into.size(), step_, text_.size() - at_});
    std::copy_n(text_.data() + at_, size, into.data());
    at_ += size;
    return size;
  }

 private:
  const std::string text_;
  const size_t step_;
  size_t at_ = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_INPUT_FIXTURE_H_
