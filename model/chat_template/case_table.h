// Case mappings of one code point to several.

#ifndef HEADWISE_MODEL_CHAT_TEMPLATE_CASE_TABLE_H_
#define HEADWISE_MODEL_CHAT_TEMPLATE_CASE_TABLE_H_

#include <cstdint>

namespace headwise::jinja {

struct SpecialCase {
  int32_t code_point;
  const char* upper;  // UTF-8
  const char* title;  // UTF-8
};

// nullptr if the code point's upper and title case are one code point each.
const SpecialCase* FindSpecialCase(int32_t code_point);

}  // namespace headwise::jinja

#endif  // HEADWISE_MODEL_CHAT_TEMPLATE_CASE_TABLE_H_
