#include "server/selection/decompressor.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstddef>
#include <vector>

#include "base/check.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr size_t kPackedBytes = 256 * 1024;
constexpr int kMaxZstdWindowLog = 27;  // 128 MiB, the format's usual limit
constexpr int kGzipOnly = 16;          // added to zlib's window bits
// zlib counts in 32 bits.
constexpr size_t kMaxStepBytes = size_t{1} << 30;

// What both formats share: packed bytes are fetched, unpacked a step at a time,
// and a stream may end only between two members.
class SteppedDecompressor : public Decompressor {
 public:
  explicit SteppedDecompressor(ByteReader* source)
      : source_(source), buffer_(kPackedBytes) {}

  absl::StatusOr<size_t> Read(absl::Span<char> into) override {
    into = into.subspan(0, kMaxStepBytes);
    while (!is_done_) {
      if (packed_.empty() && !source_ended_) {
        HEADWISE_ASSIGN_OR_RETURN(const size_t size,
                                  source_->Read(absl::MakeSpan(buffer_)));
        packed_ = absl::MakeConstSpan(buffer_.data(), size);
        source_ended_ = size == 0;
      }
      if (packed_.empty() && is_between_) break;
      const size_t num_packed = packed_.size();
      const bool was_between = is_between_;
      const size_t size = Step(into);
      if (size > 0) return size;
      // A step that does nothing would do nothing again.
      if (packed_.size() == num_packed && is_between_ == was_between) Break();
    }
    is_done_ = true;
    return size_t{0};
  }

  bool is_broken() const override { return is_broken_; }

 protected:
  // Takes bytes off packed(), puts some into `into`, and returns how many.
  virtual size_t Step(absl::Span<char> into) = 0;

  absl::Span<const char>& packed() { return packed_; }
  // Between two members: at the begin, and where one has just ended.
  void set_between(bool is_between) { is_between_ = is_between; }
  void Break() { is_done_ = is_broken_ = true; }

 private:
  ByteReader* const source_;
  std::vector<char> buffer_;
  absl::Span<const char> packed_;  // of buffer_
  bool source_ended_ = false;
  bool is_between_ = true;
  bool is_done_ = false;
  bool is_broken_ = false;
};

class GzipDecompressor final : public SteppedDecompressor {
 public:
  explicit GzipDecompressor(ByteReader* source) : SteppedDecompressor(source) {
    // Fails for want of memory alone.
    HEADWISE_CHECK(inflateInit2(&stream_, MAX_WBITS + kGzipOnly) == Z_OK);
  }
  ~GzipDecompressor() override { inflateEnd(&stream_); }

 private:
  size_t Step(absl::Span<char> into) override {
    stream_.next_in = reinterpret_cast<Bytef*>(
        const_cast<char*>(packed().data()));  // zlib reads them only
    stream_.avail_in = static_cast<uInt>(packed().size());
    stream_.next_out = reinterpret_cast<Bytef*>(into.data());
    stream_.avail_out = static_cast<uInt>(into.size());
    const int result = inflate(&stream_, Z_NO_FLUSH);
    packed().remove_prefix(packed().size() - stream_.avail_in);
    set_between(result == Z_STREAM_END);
    if (result == Z_STREAM_END) {
      HEADWISE_CHECK(inflateReset(&stream_) == Z_OK);
    } else if (result != Z_OK && result != Z_BUF_ERROR) {
      Break();
    }
    return into.size() - stream_.avail_out;
  }

  z_stream stream_ = {};
};

class ZstdDecompressor final : public SteppedDecompressor {
 public:
  explicit ZstdDecompressor(ByteReader* source)
      : SteppedDecompressor(source), context_(ZSTD_createDCtx()) {
    HEADWISE_CHECK(context_ != nullptr);
    HEADWISE_CHECK(ZSTD_isError(ZSTD_DCtx_setParameter(
                       context_, ZSTD_d_windowLogMax, kMaxZstdWindowLog)) == 0);
  }
  ~ZstdDecompressor() override { ZSTD_freeDCtx(context_); }

 private:
  size_t Step(absl::Span<char> into) override {
    // It asks for a block and the header of the next one, and tells nothing of
    // what it unpacked before an error. Without that header's last byte an
    // error costs no block but the bad one.
    const size_t given = std::max(wanted_ - 1, size_t{1});
    ZSTD_inBuffer in = {packed().data(), std::min(packed().size(), given), 0};
    ZSTD_outBuffer out = {into.data(), into.size(), 0};
    const size_t result = ZSTD_decompressStream(context_, &out, &in);
    packed().remove_prefix(in.pos);
    if (ZSTD_isError(result) != 0) {
      Break();
      return 0;
    }
    set_between(result == 0);
    wanted_ = result == 0 ? kFirstBytes : result;
    return out.pos;
  }

  static constexpr size_t kFirstBytes = 5;  // of a frame's header
  ZSTD_DCtx* const context_;
  size_t wanted_ = kFirstBytes;
};

}  // namespace

std::unique_ptr<Decompressor> Decompressor::Create(Compression compression,
                                                   ByteReader* source) {
  HEADWISE_CHECK(compression != Compression::kNone);
  if (compression == Compression::kGzip) {
    return std::make_unique<GzipDecompressor>(source);
  }
  return std::make_unique<ZstdDecompressor>(source);
}

}  // namespace headwise
