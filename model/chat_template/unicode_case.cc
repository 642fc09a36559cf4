// Upper, lower and title case, as Python's str gives them: full mappings, and
// the Greek final sigma.

#include <utf8proc.h>

#include "model/chat_template/case_table.h"
#include "model/chat_template/unicode.h"

namespace headwise::jinja {
namespace {

constexpr int32_t kCapitalSigma = 0x3a3;
constexpr int32_t kSmallSigma = 0x3c3;
constexpr int32_t kFinalSigma = 0x3c2;
constexpr int32_t kCapitalIWithDot = 0x130;
constexpr int32_t kCombiningDotAbove = 0x307;

// Cased (Unicode 14.0 Other_Lowercase and Other_Uppercase), though no letter
// with case by their category: first and last of each range.
constexpr int32_t kOtherCased[][2] = {
    {0xaa, 0xaa},       {0xba, 0xba},       {0x2b0, 0x2b8},
    {0x2c0, 0x2c1},     {0x2e0, 0x2e4},     {0x345, 0x345},
    {0x37a, 0x37a},     {0x1d2c, 0x1d6a},   {0x1d78, 0x1d78},
    {0x1d9b, 0x1dbf},   {0x2071, 0x2071},   {0x207f, 0x207f},
    {0x2090, 0x209c},   {0x2160, 0x217f},   {0x24b6, 0x24e9},
    {0x2c7c, 0x2c7d},   {0xa69c, 0xa69d},   {0xa770, 0xa770},
    {0xa7f8, 0xa7f9},   {0xab5c, 0xab5f},   {0x10780, 0x10780},
    {0x10783, 0x10785}, {0x10787, 0x107b0}, {0x107b2, 0x107ba},
    {0x1f130, 0x1f149}, {0x1f150, 0x1f169}, {0x1f170, 0x1f189}};

// Case-ignorable by Word_Break (Unicode 14.0), whatever their category.
constexpr int32_t kOtherIgnorable[] = {
    0x27,   0x2e,   0x3a,   0xb7,   0x387,  0x55f,  0x5f4,  0x2018, 0x2019,
    0x2024, 0x2027, 0xfe13, 0xfe52, 0xfe55, 0xff07, 0xff0e, 0xff1a};

bool IsCaseIgnorable(int32_t code_point) {
  for (const int32_t ignorable : kOtherIgnorable) {
    if (code_point == ignorable) return true;
  }
  switch (utf8proc_category(code_point)) {
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_CF:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_SK:
      return true;
    default:
      return false;
  }
}

std::vector<int32_t> CodePoints(absl::string_view text) {
  std::vector<int32_t> code_points;
  for (size_t i = 0; i < text.size();) {
    const Decoded decoded = DecodeAt(text, i);
    // A stray byte keeps its value, below zero so that no mapping touches it.
    code_points.push_back(decoded.code_point >= 0
                              ? decoded.code_point
                              : -1 - static_cast<uint8_t>(text[i]));
    i += decoded.num_bytes;
  }
  return code_points;
}

void AppendCodePoint(int32_t code_point, std::string* out) {
  if (code_point >= 0) return AppendUtf8(code_point, out);
  out->push_back(static_cast<char>(-1 - code_point));
}

void AppendUpper(int32_t code_point, std::string* out) {
  const SpecialCase* special = FindSpecialCase(code_point);
  if (special != nullptr) {
    out->append(special->upper);
  } else {
    AppendCodePoint(utf8proc_toupper(code_point), out);
  }
}

void AppendTitle(int32_t code_point, std::string* out) {
  const SpecialCase* special = FindSpecialCase(code_point);
  if (special != nullptr) {
    out->append(special->title);
  } else {
    AppendCodePoint(utf8proc_totitle(code_point), out);
  }
}

// Lower-cases one text, left to right. A sigma is final if the nearest code
// point before it that is not case-ignorable is cased, and that after it isn't.
class LowerCaser {
 public:
  explicit LowerCaser(const std::vector<int32_t>& code_points)
      : code_points_(code_points),
        cased_follows_(code_points.size() + 1, false) {
    for (size_t i = code_points.size(); i-- > 0;) {
      cased_follows_[i] = IsCaseIgnorable(code_points[i])
                              ? cased_follows_[i + 1]
                              : IsCased(code_points[i]);
    }
  }

  // Requires calls for i = 0, 1, 2, ...
  void Skip(size_t i) {
    if (!IsCaseIgnorable(code_points_[i]))
      after_cased_ = IsCased(code_points_[i]);
  }
  void Append(size_t i, std::string* out) {
    const int32_t c = code_points_[i];
    if (c == kCapitalSigma) {
      const bool is_final = after_cased_ && !cased_follows_[i + 1];
      AppendUtf8(is_final ? kFinalSigma : kSmallSigma, out);
    } else if (c == kCapitalIWithDot) {
      AppendUtf8('i', out);
      AppendUtf8(kCombiningDotAbove, out);
    } else {
      AppendCodePoint(utf8proc_tolower(c), out);
    }
    Skip(i);
  }

 private:
  const std::vector<int32_t>& code_points_;
  std::vector<bool> cased_follows_;  // at or after i, ignorable ones skipped
  bool after_cased_ = false;
};

}  // namespace

bool IsCased(int32_t code_point) {
  for (const auto& [first, last] : kOtherCased) {
    if (code_point >= first && code_point <= last) return true;
  }
  const utf8proc_category_t category = utf8proc_category(code_point);
  return category == UTF8PROC_CATEGORY_LU || category == UTF8PROC_CATEGORY_LL ||
         category == UTF8PROC_CATEGORY_LT;
}

std::string ToUpper(absl::string_view text) {
  std::string out;
  for (const int32_t code_point : CodePoints(text)) {
    AppendUpper(code_point, &out);
  }
  return out;
}

std::string ToLower(absl::string_view text) {
  const std::vector<int32_t> code_points = CodePoints(text);
  LowerCaser lower(code_points);
  std::string out;
  for (size_t i = 0; i < code_points.size(); ++i) lower.Append(i, &out);
  return out;
}

std::string Capitalize(absl::string_view text) {
  const std::vector<int32_t> code_points = CodePoints(text);
  LowerCaser lower(code_points);
  std::string out;
  for (size_t i = 0; i < code_points.size(); ++i) {
    if (i == 0) {
      AppendTitle(code_points[i], &out);
      lower.Skip(i);
    } else {
      lower.Append(i, &out);
    }
  }
  return out;
}

std::string ToTitle(absl::string_view text) {
  const std::vector<int32_t> code_points = CodePoints(text);
  LowerCaser lower(code_points);
  std::string out;
  bool after_cased = false;
  for (size_t i = 0; i < code_points.size(); ++i) {
    if (after_cased) {
      lower.Append(i, &out);
    } else {
      AppendTitle(code_points[i], &out);
      lower.Skip(i);
    }
    after_cased = IsCased(code_points[i]);
  }
  return out;
}

}  // namespace headwise::jinja
