#include "model/files/gguf_container.h"

#include <algorithm>
#include <optional>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "model/files/byte_reader.h"
#include "model/files/gguf_tensor_types.h"
#include "model/files/model_limits.h"
#include "model/files/quoted.h"

namespace headwise {

namespace {

constexpr uint32_t kMagic = 0x46554747;  // "GGUF"
constexpr uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;
constexpr uint64_t kMinTensorBytes = 8 + 1 + 4 + 8 + 4 + 8;
constexpr uint32_t kMaxDimensions = 4;

absl::Status Truncated(absl::string_view what, const ByteReader& reader) {
  return absl::InvalidArgumentError(
      absl::StrCat("GGUF file is truncated in ", what, ": at byte ",
                   reader.offset(), ", ", reader.remaining(), " bytes remain"));
}

// Bytes of a scalar, 0 for strings and arrays, nullopt for no type of GGUF.
std::optional<uint64_t> ScalarBytes(uint32_t type) {
  switch (static_cast<GgufType>(type)) {
    case GgufType::kUint8:
    case GgufType::kInt8:
    case GgufType::kBool:
      return 1;
    case GgufType::kUint16:
    case GgufType::kInt16:
      return 2;
    case GgufType::kUint32:
    case GgufType::kInt32:
    case GgufType::kFloat32:
      return 4;
    case GgufType::kUint64:
    case GgufType::kInt64:
    case GgufType::kFloat64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return std::nullopt;
}

struct Counts {
  uint64_t num_tensors = 0;
  uint64_t num_keys = 0;
};

absl::Status CheckHeaderCount(absl::string_view what, uint64_t count,
                              uint64_t limit, uint64_t fit) {
  if (count <= limit && count <= fit) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("GGUF header declares ", count, " ", what, "; the limit is ",
                   limit, " and the file has room for ", fit));
}

absl::StatusOr<Counts> ReadHeader(ByteReader& reader, uint32_t& version) {
  uint32_t magic = 0;
  Counts counts;
  if (!reader.Read(&magic)) return Truncated("the header", reader);
  if (magic != kMagic) {
    return absl::InvalidArgumentError(absl::StrCat(
        "not a GGUF file: magic is 0x", absl::Hex(magic, absl::kZeroPad8)));
  }
  if (!reader.Read(&version)) return Truncated("the header", reader);
  if (version != 2 && version != 3) {
    return absl::UnimplementedError(
        (version & 0xffff) == 0
            ? absl::StrCat("big-endian GGUF (version field 0x",
                           absl::Hex(version, absl::kZeroPad8), ")")
            : absl::StrCat("GGUF version ", version, "; we read 2 and 3"));
  }
  if (!reader.Read(&counts.num_tensors) || !reader.Read(&counts.num_keys)) {
    return Truncated("the header", reader);
  }
  HEADWISE_RETURN_IF_ERROR(CheckHeaderCount("keys", counts.num_keys,
                                            kMaxGgufKeys,
                                            reader.remaining() / kMinKeyBytes));
  HEADWISE_RETURN_IF_ERROR(
      CheckHeaderCount("tensors", counts.num_tensors, kMaxGgufTensors,
                       reader.remaining() / kMinTensorBytes));
  return counts;
}

absl::Status ReadName(absl::string_view what, ByteReader& reader,
                      absl::string_view* name) {
  if (!reader.ReadString(name)) {
    return Truncated(absl::StrCat("the name of ", what), reader);
  }
  if (name->empty() || name->size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF: the name of ", what, " has ", name->size(),
                     " bytes, outside the limits 1 to ", kMaxNameBytes));
  }
  return absl::OkStatus();
}

absl::Status SkipStrings(absl::string_view key, ByteReader& reader,
                         uint64_t count) {
  absl::string_view text;
  for (uint64_t i = 0; i < count; ++i) {
    if (!reader.ReadString(&text)) {
      return Truncated(
          absl::StrCat("string ", i, " of ", count, " of key ", Quoted(key)),
          reader);
    }
  }
  return absl::OkStatus();
}

absl::Status ReadArray(absl::string_view key, absl::Span<const uint8_t> bytes,
                       ByteReader& reader, GgufValue& value) {
  uint32_t element_type = 0;
  if (!reader.Read(&element_type) || !reader.Read(&value.count)) {
    return Truncated(absl::StrCat("the array of key ", Quoted(key)), reader);
  }
  const std::optional<uint64_t> element_bytes = ScalarBytes(element_type);
  value.element_type = static_cast<GgufType>(element_type);
  if (!element_bytes || value.element_type == GgufType::kArray) {
    return absl::InvalidArgumentError(absl::StrCat(
        "GGUF key ", Quoted(key), ": array elements of type ", element_type,
        value.element_type == GgufType::kArray
            ? ": an array in an array is not allowed"
            : "; the largest known type is 12"));
  }
  const bool is_text = value.element_type == GgufType::kString;
  const uint64_t min_bytes = is_text ? sizeof(uint64_t) : *element_bytes;
  if (value.count > reader.remaining() / min_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF key ", Quoted(key), ": array of ", value.count,
                     " elements of at least ", min_bytes, " bytes, but ",
                     reader.remaining(), " bytes remain"));
  }
  const uint64_t begin = reader.offset();
  if (is_text) {
    HEADWISE_RETURN_IF_ERROR(SkipStrings(key, reader, value.count));
    value.payload = bytes.subspan(begin, reader.offset() - begin);
    return absl::OkStatus();
  }
  if (!reader.ReadSpan(value.count * *element_bytes, &value.payload)) {
    return Truncated(absl::StrCat("the array of key ", Quoted(key)), reader);
  }
  return absl::OkStatus();
}

absl::Status ReadValue(absl::string_view key, absl::Span<const uint8_t> bytes,
                       ByteReader& reader, GgufValue& value) {
  uint32_t type = 0;
  if (!reader.Read(&type)) {
    return Truncated(absl::StrCat("the type of key ", Quoted(key)), reader);
  }
  const std::optional<uint64_t> scalar_bytes = ScalarBytes(type);
  if (!scalar_bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF key ", Quoted(key), ": type ", type,
                     "; the largest known type is 12"));
  }
  value.type = static_cast<GgufType>(type);
  if (value.type == GgufType::kArray) {
    return ReadArray(key, bytes, reader, value);
  }
  uint64_t size = *scalar_bytes;
  if (value.type == GgufType::kString && !reader.Read(&size)) {
    return Truncated(absl::StrCat("the value of key ", Quoted(key)), reader);
  }
  if (!reader.ReadSpan(size, &value.payload)) {
    return Truncated(absl::StrCat("the ", size, " bytes of key ", Quoted(key)),
                     reader);
  }
  if (value.type == GgufType::kBool && value.payload[0] > 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF key ", Quoted(key), ": a bool of value ",
                     value.payload[0], "; 0 and 1 are allowed"));
  }
  return absl::OkStatus();
}

absl::Status ReadEntries(absl::Span<const uint8_t> bytes, uint64_t num_keys,
                         ByteReader& reader, GgufContainer& container) {
  container.entries.reserve(num_keys);
  container.entry_of_key.reserve(num_keys);
  for (uint64_t i = 0; i < num_keys; ++i) {
    absl::string_view key;
    GgufValue value;
    HEADWISE_RETURN_IF_ERROR(ReadName(absl::StrCat("key ", i), reader, &key));
    HEADWISE_RETURN_IF_ERROR(ReadValue(key, bytes, reader, value));
    if (!container.entry_of_key.emplace(key, i).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("GGUF key ", Quoted(key), " occurs twice"));
    }
    container.entries.emplace_back(key, value);
  }
  return absl::OkStatus();
}

absl::Status ReadAlignment(GgufContainer& container) {
  const GgufValue* value = container.Find("general.alignment");
  if (value == nullptr) return absl::OkStatus();
  if (value->type != GgufType::kUint32) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF key \"general.alignment\" has type ",
                     GgufTypeName(value->type), ", want uint32"));
  }
  uint32_t alignment = 0;
  std::memcpy(&alignment, value->payload.data(), sizeof(alignment));
  if (alignment < 8 || alignment > kMaxGgufAlignment ||
      !std::has_single_bit(alignment)) {
    return absl::InvalidArgumentError(
        absl::StrCat("GGUF key \"general.alignment\" is ", alignment,
                     "; want a power of two from 8 to ", kMaxGgufAlignment));
  }
  container.alignment = alignment;
  return absl::OkStatus();
}

// Name, dimensions (innermost first in the file), type, offset.
absl::Status ReadTensorInfo(uint64_t index, ByteReader& reader,
                            TensorView& tensor, uint64_t& offset) {
  absl::string_view name;
  HEADWISE_RETURN_IF_ERROR(
      ReadName(absl::StrCat("tensor ", index), reader, &name));
  const std::string what = absl::StrCat("tensor ", Quoted(name));
  tensor.name = std::string(name);
  uint32_t num_dimensions = 0;
  if (!reader.Read(&num_dimensions)) return Truncated(what, reader);
  if (num_dimensions < 1 || num_dimensions > kMaxDimensions) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " has ", num_dimensions,
                     " dimensions, outside the limits 1 to ", kMaxDimensions));
  }
  tensor.shape.resize(num_dimensions);
  for (uint32_t i = 0; i < num_dimensions; ++i) {
    int64_t size = 0;
    if (!reader.Read(&size)) return Truncated(what, reader);
    if (size < 1) {
      return absl::InvalidArgumentError(
          absl::StrCat(what, ": dimension ", i, " is ",
                       static_cast<uint64_t>(size), ", limits 1 to 2^63 - 1"));
    }
    tensor.shape[num_dimensions - 1 - i] = size;
  }
  uint32_t type = 0;
  if (!reader.Read(&type) || !reader.Read(&offset)) {
    return Truncated(what, reader);
  }
  absl::StatusOr<DType> dtype = DTypeOfGgmlType(type);
  if (!dtype.ok()) {
    return absl::Status(dtype.status().code(),
                        absl::StrCat(what, ": ", dtype.status().message()));
  }
  tensor.dtype = *dtype;
  return absl::OkStatus();
}

// Bytes of a tensor's data; refuses a product that leaves 63 bits and a row
// that is no whole number of blocks.
absl::StatusOr<uint64_t> DataBytes(const TensorView& tensor) {
  const DTypeInfo& info = InfoOf(tensor.dtype);
  const std::string what = absl::StrCat("tensor ", Quoted(tensor.name));
  if (tensor.cols() % info.block_len != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, ": rows of ", tensor.cols(), " elements are no multiple of the ",
        info.block_len, " elements in a block of ", info.name));
  }
  int64_t size = tensor.cols() / info.block_len;
  bool overflows = __builtin_mul_overflow(size, info.block_bytes, &size);
  for (size_t i = 0; i + 1 < tensor.shape.size(); ++i) {
    overflows |= __builtin_mul_overflow(size, tensor.shape[i], &size);
  }
  if (overflows) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": its bytes exceed 2^63 - 1"));
  }
  return static_cast<uint64_t>(size);
}

// Points the tensor at its bytes within the data section.
absl::Status PlaceTensor(absl::Span<const uint8_t> data, uint64_t alignment,
                         uint64_t offset, TensorView& tensor) {
  const std::string what = absl::StrCat("tensor ", Quoted(tensor.name));
  HEADWISE_ASSIGN_OR_RETURN(const uint64_t size, DataBytes(tensor));
  if (offset % alignment != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, ": offset ", offset,
                     " is not a multiple of the alignment ", alignment));
  }
  if (offset > data.size() || size > data.size() - offset) {
    return absl::InvalidArgumentError(absl::StrCat(
        what, ": ", size, " bytes at offset ", offset,
        " reach beyond the file's ", data.size(), " bytes of data"));
  }
  tensor.bytes = data.subspan(offset, size);
  return absl::OkStatus();
}

absl::Status CheckNoOverlap(const std::vector<TensorView>& tensors) {
  std::vector<const TensorView*> by_place;
  by_place.reserve(tensors.size());
  for (const TensorView& tensor : tensors) by_place.push_back(&tensor);
  std::sort(by_place.begin(), by_place.end(),
            [](const TensorView* a, const TensorView* b) {
              return a->bytes.data() < b->bytes.data();
            });
  for (size_t i = 1; i < by_place.size(); ++i) {
    const TensorView& before = *by_place[i - 1];
    if (before.bytes.data() + before.bytes.size() > by_place[i]->bytes.data()) {
      return absl::InvalidArgumentError(absl::StrCat(
          "tensors ", Quoted(std::min(before.name, by_place[i]->name)), " and ",
          Quoted(std::max(before.name, by_place[i]->name)),
          " share bytes of the file"));
    }
  }
  return absl::OkStatus();
}

absl::Status ReadTensors(absl::Span<const uint8_t> bytes, uint64_t num_tensors,
                         ByteReader& reader, GgufContainer& container) {
  std::vector<uint64_t> offsets(num_tensors);
  container.tensors.resize(num_tensors);
  absl::flat_hash_set<absl::string_view> names;
  names.reserve(num_tensors);
  for (uint64_t i = 0; i < num_tensors; ++i) {
    TensorView& tensor = container.tensors[i];
    HEADWISE_RETURN_IF_ERROR(ReadTensorInfo(i, reader, tensor, offsets[i]));
    if (!names.insert(tensor.name).second) {
      return absl::InvalidArgumentError(
          absl::StrCat("tensor ", Quoted(tensor.name), " occurs twice"));
    }
  }
  // No overflow: offset() <= file size, alignment <= kMaxGgufAlignment.
  const uint64_t data_begin =
      (reader.offset() + container.alignment - 1) & ~(container.alignment - 1);
  if (num_tensors > 0 && data_begin > bytes.size()) {
    return Truncated("the padding before the data", reader);
  }
  const absl::Span<const uint8_t> data =
      bytes.subspan(std::min<uint64_t>(data_begin, bytes.size()));
  for (uint64_t i = 0; i < num_tensors; ++i) {
    HEADWISE_RETURN_IF_ERROR(PlaceTensor(data, container.alignment, offsets[i],
                                         container.tensors[i]));
  }
  return CheckNoOverlap(container.tensors);
}

}  // namespace

const char* GgufTypeName(GgufType type) {
  static constexpr const char* kNames[] = {
      "uint8", "int8",   "uint16", "int16",  "uint32", "int32",  "float32",
      "bool",  "string", "array",  "uint64", "int64",  "float64"};
  return kNames[static_cast<uint32_t>(type)];
}

const GgufValue* GgufContainer::Find(absl::string_view key) const {
  const auto it = entry_of_key.find(key);
  return it == entry_of_key.end() ? nullptr : &entries[it->second].second;
}

absl::StatusOr<GgufContainer> ParseGgufContainer(
    absl::Span<const uint8_t> bytes) {
  ByteReader reader(bytes);
  GgufContainer container;
  HEADWISE_ASSIGN_OR_RETURN(const Counts counts,
                            ReadHeader(reader, container.version));
  HEADWISE_RETURN_IF_ERROR(
      ReadEntries(bytes, counts.num_keys, reader, container));
  HEADWISE_RETURN_IF_ERROR(ReadAlignment(container));
  HEADWISE_RETURN_IF_ERROR(
      ReadTensors(bytes, counts.num_tensors, reader, container));
  return container;
}

}  // namespace headwise
