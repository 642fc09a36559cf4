// Bytes and integers that sort as the values that they stand for.

#ifndef HEADWISE_SERVER_SELECTION_SORT_KEY_H_
#define HEADWISE_SERVER_SELECTION_SORT_KEY_H_

#include <bit>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"

namespace headwise {

// Rises with `value`, which is not NaN; equal for 0 and -0.
inline uint64_t OrderedBits(double value) {
  const auto bits = std::bit_cast<uint64_t>(value + 0.0);  // -0 + 0 is 0
  constexpr uint64_t kSign = uint64_t{1} << 63;
  return (bits & kSign) != 0 ? ~bits : bits | kSign;
}

// 8 bytes, the most significant one first.
void AppendBigEndian(uint64_t value, std::string& out);
// Of the first 8 bytes of `bytes`.
uint64_t LoadBigEndian(absl::string_view bytes);

// `bytes` in a form after which more may follow: sorts as `bytes` whatever
// that is. A zero byte becomes 00 ff, and 00 00 ends it.
void AppendDelimited(absl::string_view bytes, std::string& out);
// Takes such a form from the begin of `text`.
void TakeDelimited(absl::string_view& text, std::string& bytes);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_SORT_KEY_H_
