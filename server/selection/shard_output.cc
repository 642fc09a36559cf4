#include "server/selection/shard_output.h"

#include <fcntl.h>
#include <unistd.h>
#include <zstd.h>

#include <limits>
#include <optional>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "base/check.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "server/selection/byte_reader.h"
#include "server/selection/decompressor.h"
#include "server/selection/input_root.h"
#include "server/selection/line_reader.h"
#include "server/selection/row_codec.h"

namespace headwise {
namespace {

constexpr int kLevel = 3;
constexpr size_t kPieceBytes = size_t{128} << 10;
// A row is as long as its id may be; LineReader does not allocate ahead.
constexpr int64_t kMaxRowBytes = int64_t{1} << 34;

// Reads a file and hashes what it reads.
class HashedFile final : public ByteReader {
 public:
  HashedFile(std::string path, OwnedFd fd)
      : path_(std::move(path)), fd_(std::move(fd)) {}

  absl::StatusOr<size_t> Read(absl::Span<char> into) override {
    while (true) {
      const ssize_t size = read(fd_.get(), into.data(), into.size());
      if (size < 0 && errno == EINTR) continue;
      if (size < 0) return absl::ErrnoToStatus(errno, path_);
      hash_.Update({reinterpret_cast<const uint8_t*>(into.data()),
                    static_cast<size_t>(size)});
      return static_cast<size_t>(size);
    }
  }

  // Of the whole file, whatever was read of it. Once.
  absl::StatusOr<std::string> Sha256() {
    std::vector<char> rest(kPieceBytes);
    while (true) {
      HEADWISE_ASSIGN_OR_RETURN(const size_t size, Read(absl::MakeSpan(rest)));
      if (size == 0) return Sha256Hex(hash_.Finish());
    }
  }

 private:
  const std::string path_;
  const OwnedFd fd_;
  headwise::Sha256 hash_;
};

absl::Status NotThatFile(absl::string_view path) {
  return absl::DataLossError(
      absl::StrCat(path, ": its bytes are not those that were written"));
}

}  // namespace

struct ShardOutput::Compressor {
  Compressor() : context(ZSTD_createCCtx()), out(ZSTD_CStreamOutSize()) {
    HEADWISE_CHECK(context != nullptr);
    for (const auto& [parameter, value] :
         {std::pair{ZSTD_c_compressionLevel, kLevel},
          std::pair{ZSTD_c_checksumFlag, 1},
          std::pair{ZSTD_c_contentSizeFlag, 0}}) {
      HEADWISE_CHECK(
          !ZSTD_isError(ZSTD_CCtx_setParameter(context, parameter, value)));
    }
  }
  ~Compressor() { ZSTD_freeCCtx(context); }
  Compressor(const Compressor&) = delete;
  Compressor& operator=(const Compressor&) = delete;

  ZSTD_CCtx* const context;
  std::vector<char> out;
};

std::string PartName(int64_t shard) {
  return absl::StrFormat("part-%06d.jsonl.zst", shard);
}

ShardOutput::ShardOutput(std::unique_ptr<DurableFile> file,
                         std::unique_ptr<Compressor> compressor)
    : file_(std::move(file)), compressor_(std::move(compressor)) {}

ShardOutput::~ShardOutput() = default;

absl::StatusOr<std::unique_ptr<ShardOutput>> ShardOutput::Create(
    const std::string& folder, int64_t shard, const std::string& writer) {
  HEADWISE_ASSIGN_OR_RETURN(
      auto file, DurableFile::Create(folder, PartName(shard), writer));
  return std::unique_ptr<ShardOutput>(
      new ShardOutput(std::move(file), std::make_unique<Compressor>()));
}

absl::Status ShardOutput::Compress(absl::string_view text, bool is_last) {
  ZSTD_inBuffer in = {text.data(), text.size(), 0};
  const ZSTD_EndDirective directive = is_last ? ZSTD_e_end : ZSTD_e_continue;
  while (true) {
    std::vector<char>& bytes = compressor_->out;
    ZSTD_outBuffer out = {bytes.data(), bytes.size(), 0};
    const size_t left =
        ZSTD_compressStream2(compressor_->context, &out, &in, directive);
    if (ZSTD_isError(left)) {
      return absl::InternalError(
          absl::StrCat("zstd: ", ZSTD_getErrorName(left)));
    }
    HEADWISE_RETURN_IF_ERROR(file_->Append({bytes.data(), out.pos}));
    if (is_last ? left == 0 : in.pos == in.size) return absl::OkStatus();
  }
}

absl::Status ShardOutput::Add(const ScoreRow& row) {
  AppendRowJson(row, text_);
  text_ += '\n';
  ++num_rows_;
  size_t done = 0;
  for (; text_.size() - done >= kPieceBytes; done += kPieceBytes) {
    HEADWISE_RETURN_IF_ERROR(
        Compress(absl::string_view(text_).substr(done, kPieceBytes), false));
  }
  text_.erase(0, done);
  return absl::OkStatus();
}

absl::StatusOr<PartFile> ShardOutput::Commit() {
  HEADWISE_RETURN_IF_ERROR(Compress(text_, true));
  PartFile part;
  part.num_rows = num_rows_;
  part.num_bytes = file_->num_bytes();
  part.sha256 = file_->Sha256();
  HEADWISE_RETURN_IF_ERROR(file_->Commit());
  return part;
}

absl::Status ReadPart(const std::string& path, const std::string& sha256,
                      const std::function<absl::Status(ScoreRow& row)>& take) {
  OwnedFd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (fd.get() < 0) return absl::ErrnoToStatus(errno, path);
  HashedFile file(path, std::move(fd));
  const auto rows = Decompressor::Create(Compression::kZstd, &file);
  LineReader lines(rows.get(), kMaxRowBytes);
  ScoreRow row;
  while (true) {
    HEADWISE_ASSIGN_OR_RETURN(const auto line, lines.Next());
    if (!line.has_value()) break;
    if (line->is_last || !ParseRowInto(line->text, row).ok()) {
      return NotThatFile(path);
    }
    HEADWISE_RETURN_IF_ERROR(take(row));
  }
  HEADWISE_ASSIGN_OR_RETURN(const std::string found, file.Sha256());
  return found == sha256 && !rows->is_broken() ? absl::OkStatus()
                                               : NotThatFile(path);
}

}  // namespace headwise
