#include "client/cli/tensor_file.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <regex>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "base/status_macros.h"

namespace headwise {
namespace {

constexpr absl::string_view kMagic("\x93NUMPY", 6);
constexpr size_t kMaxHeaderBytes = 1 << 16;
constexpr int64_t kMaxElements = int64_t{1} << 40;

absl::Status NotNpy(absl::string_view why) {
  return absl::InvalidArgumentError(absl::StrCat("not a .npy file: ", why));
}

// The header is a Python literal of three keys, which NumPy writes in order.
absl::StatusOr<FileTensor> ParseHeader(const std::string& header) {
  static const std::regex kForm(
      R"(^\{'descr': '<(f4|f2)', 'fortran_order': False, )"
      R"('shape': \(([0-9, ]*)\), ?\}\s*$)");
  std::smatch match;
  if (!std::regex_match(header, match, kForm)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a .npy file of little-endian float32 or float16 in C order is wanted, "
        "not ",
        absl::StripAsciiWhitespace(header).substr(0, 80)));
  }
  FileTensor tensor;
  tensor.dtype = match[1];
  for (absl::string_view part :
       absl::StrSplit(std::string(match[2]), ',', absl::SkipWhitespace())) {
    int64_t size = 0;
    if (!absl::SimpleAtoi(part, &size)) return NotNpy("its shape is none");
    tensor.shape.push_back(size);
  }
  return tensor;
}

}  // namespace

absl::StatusOr<FileTensor> ParseNpy(absl::string_view file) {
  if (!absl::ConsumePrefix(&file, kMagic) || file.size() < 6) {
    return NotNpy("it does not begin as one");
  }
  const auto byte = [&file](size_t i) { return static_cast<uint8_t>(file[i]); };
  const int version = byte(0);
  if (version < 1 || version > 3) {
    return NotNpy(absl::StrCat("version ", version, ", known are 1 to 3"));
  }
  const size_t length_bytes = version == 1 ? 2 : 4;
  size_t header_bytes = 0;
  for (size_t i = 0; i < length_bytes; ++i) {
    header_bytes |= static_cast<size_t>(byte(2 + i)) << (8 * i);
  }
  file.remove_prefix(2 + length_bytes);
  if (header_bytes > kMaxHeaderBytes || header_bytes > file.size()) {
    return NotNpy(absl::StrCat("a header of ", header_bytes, " bytes"));
  }
  HEADWISE_ASSIGN_OR_RETURN(
      FileTensor tensor,
      ParseHeader(std::string(file.substr(0, header_bytes))));
  file.remove_prefix(header_bytes);
  int64_t bytes = tensor.dtype == "f4" ? 4 : 2;
  for (const int64_t size : tensor.shape) {
    if (size < 0 || size > kMaxElements / std::max<int64_t>(bytes, 1)) {
      return NotNpy("its shape is too large");
    }
    bytes *= size;
  }
  if (static_cast<int64_t>(file.size()) != bytes) {
    return NotNpy(
        absl::StrCat(file.size(), " bytes of data, its shape has ", bytes));
  }
  tensor.bytes = std::string(file);
  return tensor;
}

absl::StatusOr<FileTensor> ReadTensorFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return absl::NotFoundError(absl::StrCat("cannot read ", path));
  FileTensor tensor;
  tensor.bytes.assign(std::istreambuf_iterator<char>(in), {});
  if (!absl::EndsWith(path, ".npy")) return tensor;
  absl::StatusOr<FileTensor> parsed = ParseNpy(tensor.bytes);
  if (parsed.ok()) return parsed;
  return absl::Status(parsed.status().code(),
                      absl::StrCat(path, ": ", parsed.status().message()));
}

std::string NpyHeader(const std::vector<int64_t>& shape) {
  std::string header = absl::StrCat(
      "{'descr': '<f4', 'fortran_order': False, 'shape': (",
      absl::StrJoin(shape, ", "), shape.size() == 1 ? ",), }" : "), }");
  // Data begin at a multiple of 64 bytes.
  const size_t before = kMagic.size() + 4;
  header.append(63 - (before + header.size()) % 64, ' ');
  header += '\n';
  return absl::StrCat(kMagic, absl::string_view("\x01\x00", 2),
                      std::string(1, static_cast<char>(header.size() & 0xff)),
                      std::string(1, static_cast<char>(header.size() >> 8)),
                      header);
}

absl::Status WriteTensorFile(const std::string& path,
                             const std::vector<int64_t>& shape,
                             absl::string_view bytes) {
  std::ofstream out(path, std::ios::binary);
  if (absl::EndsWith(path, ".npy")) out << NpyHeader(shape);
  out << bytes;
  out.close();
  if (out) return absl::OkStatus();
  return absl::UnavailableError(absl::StrCat("cannot write ", path));
}

}  // namespace headwise
