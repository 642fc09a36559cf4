// SHA-256, incremental.

#ifndef HEADWISE_BASE_SHA256_H_
#define HEADWISE_BASE_SHA256_H_

#include <array>
#include <cstdint>
#include <memory>
#include <string>

#include "absl/types/span.h"

namespace headwise {

using Sha256Digest = std::array<uint8_t, 32>;

// Not thread-safe.
class Sha256 {
 public:
  Sha256();
  ~Sha256();
  void Update(absl::Span<const uint8_t> bytes);
  // The digest of all bytes so far; the object may not be used afterwards.
  Sha256Digest Finish();

 private:
  struct Context;
  std::unique_ptr<Context> context_;
};

Sha256Digest Sha256Of(absl::Span<const uint8_t> bytes);

// 64 lower-case hexadecimal digits.
std::string Sha256Hex(const Sha256Digest& digest);

}  // namespace headwise

#endif  // HEADWISE_BASE_SHA256_H_
