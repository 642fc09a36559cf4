#include "model/files/safetensors_container.h"

#include <algorithm>
#include <array>
#include <optional>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/byte_reader.h"
#include "model/files/model_limits.h"
#include "model/files/quoted.h"
#include "model/files/safetensors_header.h"

namespace headwise {

namespace {

struct SafetensorsType {
  absl::string_view name;
  int64_t bytes;  // of an element
  std::optional<DType> dtype;
};

constexpr std::array<SafetensorsType, 15> kTypes = {{
    {"F32", 4, DType::kF32},
    {"F16", 2, DType::kF16},
    {"BF16", 2, DType::kBF16},
    {"F64", 8, {}},
    {"I64", 8, {}},
    {"U64", 8, {}},
    {"I32", 4, {}},
    {"U32", 4, {}},
    {"I16", 2, {}},
    {"U16", 2, {}},
    {"I8", 1, {}},
    {"U8", 1, {}},
    {"BOOL", 1, {}},
    {"F8_E4M3", 1, {}},
    {"F8_E5M2", 1, {}},
}};

absl::StatusOr<DType> ParseDType(const SafetensorsEntry& entry) {
  for (const SafetensorsType& type : kTypes) {
    if (type.name == entry.dtype && type.dtype) return *type.dtype;
  }
  return absl::UnimplementedError(absl::StrCat("tensor ", Quoted(entry.name),
                                               ": dtype ", Quoted(entry.dtype),
                                               "; we read F32, F16, BF16"));
}

// Elements times bytes of one, nullopt beyond 63 bits.
std::optional<int64_t> DataBytes(const SafetensorsEntry& entry, DType dtype) {
  int64_t size = InfoOf(dtype).block_bytes;
  for (const int64_t extent : entry.shape) {
    if (__builtin_mul_overflow(size, extent, &size)) return std::nullopt;
  }
  return size;
}

absl::StatusOr<TensorView> MakeTensor(const SafetensorsEntry& entry,
                                      absl::Span<const uint8_t> file,
                                      int64_t buffer_begin) {
  const std::string what = absl::StrCat("tensor ", Quoted(entry.name));
  const int64_t buffer_bytes = static_cast<int64_t>(file.size()) - buffer_begin;
  if (entry.begin > entry.end || entry.end > buffer_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": data_offsets [", entry.begin, ", ", entry.end,
                     "] in a buffer of ", buffer_bytes, " bytes"));
  }
  HEADWISE_ASSIGN_OR_RETURN(const DType dtype, ParseDType(entry));
  const std::optional<int64_t> size = DataBytes(entry, dtype);
  if (size != entry.end - entry.begin) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, ": data_offsets span ", entry.end - entry.begin,
        " bytes, but shape and dtype ", entry.dtype, " want ",
        size ? absl::StrCat(*size) : std::string("more than 2^63 - 1")));
  }
  if ((buffer_begin + entry.begin) % InfoOf(dtype).block_bytes != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, " begins at byte ", buffer_begin + entry.begin,
        " of the file, not a multiple of ", InfoOf(dtype).block_bytes));
  }
  return TensorView{
      .name = entry.name,
      .dtype = dtype,
      .shape = entry.shape,
      .bytes = file.subspan(buffer_begin + entry.begin, *size),
  };
}

// Sorted entries must fill [0, buffer_bytes).
absl::Status CheckNoGapOrOverlap(const std::vector<SafetensorsEntry>& entries,
                                 int64_t buffer_bytes) {
  int64_t expected = 0;
  for (const SafetensorsEntry& entry : entries) {
    if (entry.begin != expected) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensor ", Quoted(entry.name), " begins at ", entry.begin,
          entry.begin < expected ? " and overlaps the tensor before it, which "
                                   "ends at "
                                 : " and leaves a gap after the tensor that "
                                   "ends at ",
          expected));
    }
    expected = entry.end;
  }
  if (expected == buffer_bytes) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("safetensors: tensors end at ",
                                                 expected, " in a buffer of ",
                                                 buffer_bytes, " bytes"));
}

}  // namespace

absl::StatusOr<SafetensorsContainer> ParseSafetensorsContainer(
    absl::Span<const uint8_t> bytes) {
  ByteReader reader(bytes);
  uint64_t header_bytes = 0;
  if (!reader.Read(&header_bytes)) {
    return absl::InvalidArgumentError(
        absl::StrCat("safetensors file of ", bytes.size(),
                     " bytes has no room for the header's length of 8"));
  }
  absl::Span<const uint8_t> json;
  if (header_bytes > kMaxSafetensorsHeader ||
      !reader.ReadSpan(header_bytes, &json)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "safetensors header declares ", header_bytes, " bytes; the limit is ",
        kMaxSafetensorsHeader, " and ", reader.remaining(), " bytes remain"));
  }
  if (json.empty() || json[0] != '{') {
    return absl::InvalidArgumentError(
        "safetensors header does not begin with {");
  }
  HEADWISE_ASSIGN_OR_RETURN(SafetensorsHeader header,
                            ParseSafetensorsHeader(json));
  SafetensorsContainer container;
  std::sort(header.entries.begin(), header.entries.end(),
            [](const SafetensorsEntry& a, const SafetensorsEntry& b) {
              return std::tie(a.begin, a.end, a.name) <
                     std::tie(b.begin, b.end, b.name);
            });
  container.tensors.reserve(header.entries.size());
  for (const SafetensorsEntry& entry : header.entries) {
    HEADWISE_ASSIGN_OR_RETURN(
        TensorView tensor,
        MakeTensor(entry, bytes, static_cast<int64_t>(reader.offset())));
    container.tensors.push_back(std::move(tensor));
  }
  HEADWISE_RETURN_IF_ERROR(CheckNoGapOrOverlap(
      header.entries, static_cast<int64_t>(reader.remaining())));
  container.metadata = std::move(header.metadata);
  return container;
}

}  // namespace headwise
