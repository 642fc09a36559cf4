// Tensors in files: NumPy's .npy, or plain bytes.

#ifndef HEADWISE_CLIENT_CLI_TENSOR_FILE_H_
#define HEADWISE_CLIENT_CLI_TENSOR_FILE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace headwise {

// Contiguous, the last index running fastest, little-endian.
struct FileTensor {
  std::string dtype;           // "f4", "f2"; empty: the file does not say
  std::vector<int64_t> shape;  // empty if the file does not say
  std::string bytes;
};

// A name that ends in .npy is a NumPy array (format versions 1 to 3) of float32
// or float16 in C order; any other file is plain bytes. NotFound names the
// path, InvalidArgument what is wrong with the file.
absl::StatusOr<FileTensor> ReadTensorFile(const std::string& path);
// The same from the bytes of a .npy file.
absl::StatusOr<FileTensor> ParseNpy(absl::string_view file);

// float32; `path` says which of the two it is.
absl::Status WriteTensorFile(const std::string& path,
                             const std::vector<int64_t>& shape,
                             absl::string_view bytes);
std::string NpyHeader(const std::vector<int64_t>& shape);

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_TENSOR_FILE_H_
