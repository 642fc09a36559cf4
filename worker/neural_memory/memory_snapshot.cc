// A head's state as bytes and back. Bound by SHA-256, which goes over the bytes
// once each way.

#include <array>
#include <bit>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "worker/neural_memory/memory_head.h"

namespace headwise {
namespace {

static_assert(std::endian::native == std::endian::little);

constexpr char kMagic[8] = "HWMEM1\n";
constexpr size_t kDigestBytes = sizeof(Sha256Digest);

// Do not change: it is in files.
struct Header {
  char magic[8] = {};
  int64_t head_dim = 0;
  int64_t num_layers = 0;
  int64_t hidden_dim = 0;
  int64_t chunk_len = 0;
  float loss_scale = 0.0f;
  float max_norm = 0.0f;
  uint8_t activation = 0;
  uint8_t norm = 0;
  uint8_t residual = 0;
  uint8_t rule = 0;
  uint8_t zeros[4] = {};
  int64_t num_tokens = 0;
};
static_assert(sizeof(Header) == 64);

Header HeaderOf(const MemorySpec& spec, int64_t num_tokens) {
  Header header;
  std::memcpy(header.magic, kMagic, sizeof(kMagic));
  header.head_dim = spec.head_dim;
  header.num_layers = spec.num_layers;
  header.hidden_dim = spec.hidden_dim;
  header.chunk_len = spec.chunk_len;
  header.loss_scale = spec.loss_scale;
  header.max_norm = spec.max_norm;
  header.activation = static_cast<uint8_t>(spec.activation);
  header.norm = static_cast<uint8_t>(spec.norm);
  header.residual = spec.residual ? 1 : 0;
  header.rule = static_cast<uint8_t>(spec.rule);
  header.num_tokens = num_tokens;
  return header;
}

absl::Span<const uint8_t> BytesOf(absl::string_view text) {
  return {reinterpret_cast<const uint8_t*>(text.data()), text.size()};
}

void AppendFloats(const float* x, int64_t n, std::string* bytes) {
  bytes->append(reinterpret_cast<const char*>(x),
                static_cast<size_t>(n) * sizeof(float));
}

// The next n floats of the bytes, copied: they may lie at any address.
AlignedFloats TakeFloats(int64_t n, absl::string_view* bytes) {
  AlignedFloats floats(static_cast<size_t>(n));
  const size_t size = floats.size() * sizeof(float);
  std::memcpy(floats.data(), bytes->data(), size);
  bytes->remove_prefix(size);
  return floats;
}

int64_t StateFloats(const MemorySpec& spec, int64_t num_open_rows) {
  return 2 * spec.num_weights() + num_open_rows * (2 * spec.head_dim + 3);
}

absl::Status Damaged(absl::string_view what) {
  return absl::DataLossError(absl::StrCat("memory snapshot: ", what));
}

// The header, once the bytes are known to be what was saved.
absl::StatusOr<Header> CheckedHeader(const MemorySpec& spec,
                                     absl::string_view bytes) {
  if (bytes.size() < sizeof(Header) + kDigestBytes) {
    return Damaged(absl::StrCat(bytes.size(), " bytes, a header alone has ",
                                sizeof(Header) + kDigestBytes));
  }
  const absl::string_view content =
      bytes.substr(0, bytes.size() - kDigestBytes);
  const Sha256Digest digest = Sha256Of(BytesOf(content));
  if (std::memcmp(digest.data(), bytes.data() + content.size(), kDigestBytes) !=
      0) {
    return Damaged("its SHA-256 is another one than it says");
  }
  Header header;
  std::memcpy(&header, content.data(), sizeof(header));
  const Header wanted = HeaderOf(spec, header.num_tokens);
  if (std::memcmp(&header, &wanted, sizeof(header)) != 0) {
    return absl::FailedPreconditionError(absl::StrCat(
        "memory snapshot: of another spec: head_dim ", header.head_dim,
        ", num_layers ", header.num_layers, ", hidden_dim ", header.hidden_dim,
        ", chunk_len ", header.chunk_len,
        " or its rule, activation, norm, residual, loss_scale or max_norm"));
  }
  if (header.num_tokens < 0) {
    return Damaged(absl::StrCat("num_tokens = ", header.num_tokens));
  }
  const int64_t floats = StateFloats(spec, header.num_tokens % spec.chunk_len);
  if (content.size() - sizeof(Header) !=
      static_cast<size_t>(floats) * sizeof(float)) {
    return Damaged(absl::StrCat(content.size() - sizeof(Header),
                                " bytes of state, the spec has ",
                                floats * int64_t{sizeof(float)}));
  }
  return header;
}

}  // namespace

std::string SaveMemoryHead(const MemoryHead& head) {
  const MemorySpec& spec = head.spec_;
  const int64_t n = head.num_open_rows();
  std::string bytes;
  bytes.reserve(sizeof(Header) + kDigestBytes +
                static_cast<size_t>(head.state_bytes()));
  const Header header = HeaderOf(spec, head.num_tokens_);
  bytes.append(reinterpret_cast<const char*>(&header), sizeof(header));
  AppendFloats(head.weights_.data(), spec.num_weights(), &bytes);
  AppendFloats(head.momentum_.data(), spec.num_weights(), &bytes);
  if (n > 0) {
    const MemoryRows rows = head.open_->Rows();
    AppendFloats(rows.keys, n * spec.head_dim, &bytes);
    AppendFloats(rows.values, n * spec.head_dim, &bytes);
    AppendFloats(rows.theta, n, &bytes);
    AppendFloats(rows.eta, n, &bytes);
    AppendFloats(rows.alpha, n, &bytes);
  }
  const Sha256Digest digest = Sha256Of(BytesOf(bytes));
  bytes.append(reinterpret_cast<const char*>(digest.data()), digest.size());
  return bytes;
}

absl::StatusOr<MemoryHead> LoadMemoryHead(const MemorySpec& spec,
                                          absl::string_view bytes) {
  HEADWISE_ASSIGN_OR_RETURN(const Header header, CheckedHeader(spec, bytes));
  bytes.remove_prefix(sizeof(Header));
  const AlignedFloats weights = TakeFloats(spec.num_weights(), &bytes);
  HEADWISE_RETURN_IF_ERROR(CheckMemoryWeights("weights", weights));
  MemoryHead head(spec, weights);
  head.momentum_ = TakeFloats(spec.num_weights(), &bytes);
  HEADWISE_RETURN_IF_ERROR(CheckMemoryWeights("momentum", head.momentum_));
  head.num_tokens_ = header.num_tokens;
  const int64_t n = head.num_open_rows();
  if (n == 0) return head;
  const AlignedFloats keys = TakeFloats(n * spec.head_dim, &bytes);
  const AlignedFloats values = TakeFloats(n * spec.head_dim, &bytes);
  const AlignedFloats gates = TakeFloats(3 * n, &bytes);
  MemoryRows rows;
  rows.num_rows = n;
  rows.keys = keys.data();
  rows.values = values.data();
  rows.row_stride = spec.head_dim;
  rows.theta = gates.data();
  rows.eta = gates.data() + n;
  rows.alpha = gates.data() + 2 * n;
  HEADWISE_RETURN_IF_ERROR(CheckMemoryRows(spec, rows));
  head.open_ = std::make_unique<OpenChunk>(spec);
  head.open_->Append(rows, 0, n);
  return head;
}

}  // namespace headwise
