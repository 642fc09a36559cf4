#include "server/attention/chunk_check.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "worker/sessions/session_geometry.h"

namespace headwise {
namespace {

absl::Span<const uint8_t> SpanOf(const std::string& bytes) {
  return {reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size()};
}

// Sizes from here on become infinite when they are stored.
float StorageLimit(KvElement element) {
  switch (element) {
    case KvElement::kFp16:
      return 65520.0f;
    case KvElement::kBf16:
      return 0x1.ffp127f;
    default:
      return INFINITY;
  }
}

absl::Status CheckTensor(absl::string_view name, const SessionShape& shape,
                         int64_t first_position, const std::string& bytes) {
  const auto* data = reinterpret_cast<const uint8_t*>(bytes.data());
  const int64_t n =
      static_cast<int64_t>(bytes.size()) / FloatBytes(shape.input_type);
  const int64_t at =
      FirstNotBelow(shape.input_type, data, n, StorageLimit(shape.element));
  if (at == n) return absl::OkStatus();
  float value = 0.0f;
  ReadFloats(shape.input_type, data + at * FloatBytes(shape.input_type), 1,
             &value);
  const int64_t row = at / shape.head_dim;
  return absl::InvalidArgumentError(absl::StrCat(
      name, ": ", value, " at position ",
      first_position + row / shape.num_kv_heads, ", KV head ",
      row % shape.num_kv_heads, ", dimension ", at % shape.head_dim,
      std::isfinite(value) ? " is too large for how the session stores it"
                           : " is not finite"));
}

}  // namespace

absl::StatusOr<int64_t> PositionsOf(const SessionShape& shape,
                                    const Chunk& chunk) {
  const int64_t position_bytes =
      shape.num_kv_heads * shape.head_dim * FloatBytes(shape.input_type);
  const auto bytes = static_cast<int64_t>(chunk.keys.size());
  if (chunk.keys.size() != chunk.values.size() || bytes % position_bytes != 0 ||
      bytes == 0 || bytes / position_bytes > kMaxChunkPositions) {
    return absl::InvalidArgumentError(
        absl::StrCat("keys have ", bytes, " bytes, values ",
                     chunk.values.size(), "; both must have ", position_bytes,
                     " for each of 1 to ", kMaxChunkPositions, " positions"));
  }
  if (chunk.offset < 0 || chunk.offset > kMaxSessionPositions) {
    return absl::InvalidArgumentError(absl::StrCat(
        "offset: ", chunk.offset, ", allowed 0 to ", kMaxSessionPositions));
  }
  return bytes / position_bytes;
}

absl::Status CheckHash(const Chunk& chunk) {
  if (chunk.sha256.size() != sizeof(Sha256Digest)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "sha256 has ", chunk.sha256.size(), " bytes; must have 32"));
  }
  Sha256 hash;
  hash.Update(SpanOf(chunk.keys));
  hash.Update(SpanOf(chunk.values));
  const Sha256Digest digest = hash.Finish();
  if (std::equal(digest.begin(), digest.end(), SpanOf(chunk.sha256).begin())) {
    return absl::OkStatus();
  }
  return absl::DataLossError(absl::StrCat(
      "sha256 of the chunk at offset ", chunk.offset, " is ", Sha256Hex(digest),
      ", not ", absl::BytesToHexString(chunk.sha256),
      " as it says: it was changed on the way"));
}

absl::Status CheckNumbers(const SessionShape& shape, const Chunk& chunk,
                          int64_t num_positions) {
  HEADWISE_RETURN_IF_ERROR(
      CheckTensor("keys", shape, chunk.offset, chunk.keys));
  return CheckTensor("values", shape, chunk.offset, chunk.values);
}

StageRequest StageFor(const std::string& session_id, const SessionShape& shape,
                      const std::vector<UnitShare>& units, const Chunk& chunk,
                      int64_t num_positions) {
  const int64_t row_bytes = shape.head_dim * FloatBytes(shape.input_type);
  const int64_t end = chunk.offset + num_positions;
  StageRequest request = {session_id, chunk.offset, {}};
  for (const UnitShare& unit : units) {
    for (int64_t first = chunk.offset; first < end;) {
      const int64_t range = RangeIndexOf(first);
      const int64_t last =
          unit.is_whole() ? end : std::min(RangeEnd(BeginOfRange(range)), end);
      if (HoldsRange(unit, range)) {
        StagePiece piece = {unit.kv_head, first, last - first, "", ""};
        piece.keys.reserve(static_cast<size_t>((last - first) * row_bytes));
        piece.values.reserve(static_cast<size_t>((last - first) * row_bytes));
        for (int64_t j = first - chunk.offset; j < last - chunk.offset; ++j) {
          const auto at = static_cast<size_t>(
              (j * shape.num_kv_heads + unit.kv_head) * row_bytes);
          piece.keys.append(chunk.keys, at, static_cast<size_t>(row_bytes));
          piece.values.append(chunk.values, at, static_cast<size_t>(row_bytes));
        }
        request.pieces.push_back(std::move(piece));
      }
      first = last;
    }
  }
  return request;
}

}  // namespace headwise
