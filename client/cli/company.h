// Other texts to keep a text company in its steps.

#ifndef HEADWISE_CLIENT_CLI_COMPANY_H_
#define HEADWISE_CLIENT_CLI_COMPANY_H_

#include <algorithm>
#include <cstdint>
#include <vector>

namespace headwise {

// The `index`-th of `count` texts: `ids` turned by a part of their number, so
// each begins elsewhere and all are of real text. Requires 0 <= index < count.
inline std::vector<int32_t> OtherText(std::vector<int32_t> ids, int index,
                                      int count) {
  const auto turn =
      static_cast<int64_t>(ids.size()) * (index + 1) / (count + 1);
  std::rotate(ids.begin(), ids.begin() + turn, ids.end());
  return ids;
}

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CLI_COMPANY_H_
