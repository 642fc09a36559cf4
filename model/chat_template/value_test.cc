#include "model/chat_template/value.h"

#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/chat_template/limits.h"
#include "model/chat_template/text_search.h"
#include "model/chat_template/unicode.h"
#include "model/chat_template/value_sort.h"
#include "model/chat_template/value_text.h"

namespace headwise::jinja {
namespace {

constexpr int64_t kMin = std::numeric_limits<int64_t>::min();
constexpr int64_t kMax = std::numeric_limits<int64_t>::max();

TEST(FloatTextTest, IsTheShortestThatReadsBack) {
  EXPECT_EQ(FloatText(0.0), "0.0");
  EXPECT_EQ(FloatText(-0.0), "-0.0");
  EXPECT_EQ(FloatText(0.1), "0.1");
  EXPECT_EQ(FloatText(100.0), "100.0");
  EXPECT_EQ(FloatText(1.0 / 3), "0.3333333333333333");
  EXPECT_EQ(FloatText(5e-324), "5e-324");
  EXPECT_EQ(FloatText(-1.7976931348623157e308), "-1.7976931348623157e+308");
}

// Python writes exponents below -4 and from 16 on.
TEST(FloatTextTest, ChangesToExponentsWherePythonDoes) {
  EXPECT_EQ(FloatText(0.0001), "0.0001");
  EXPECT_EQ(FloatText(0.00012), "0.00012");
  EXPECT_EQ(FloatText(0.00001), "1e-05");
  EXPECT_EQ(FloatText(1e15), "1000000000000000.0");
  EXPECT_EQ(FloatText(1234567890123456.7), "1234567890123456.8");
  EXPECT_EQ(FloatText(1e16), "1e+16");
  EXPECT_EQ(FloatText(1.5e100), "1.5e+100");
}

TEST(ValueTest, NumbersCompareExactly) {
  Budget budget;
  const auto equal = [&](const Value& a, const Value& b) {
    return *Equals(a, b, budget);
  };
  EXPECT_TRUE(equal(Value::Int(1), Value::Float(1.0)));
  EXPECT_TRUE(equal(Value::Bool(true), Value::Int(1)));
  // 2^53 + 1 has no double; 2^63 is a double and no int64.
  EXPECT_FALSE(equal(Value::Int((int64_t{1} << 53) + 1), Value::Float(0x1p53)));
  EXPECT_FALSE(equal(Value::Int(kMax), Value::Float(0x1p63)));
  EXPECT_TRUE(*Less(Value::Int(kMax), Value::Float(0x1p63), budget));
  EXPECT_TRUE(equal(Value::Int(kMin), Value::Float(-0x1p63)));
  EXPECT_FALSE(equal(Value::Float(NAN), Value::Float(NAN)));
  EXPECT_FALSE(equal(Value::String("1"), Value::Int(1)));
}

TEST(DictTest, EqualNumbersAreOneKey) {
  Budget budget;
  Dict dict;
  ASSERT_TRUE(dict.Set(Value::Int(1), Value::String("a"), budget).ok());
  ASSERT_TRUE(dict.Set(Value::Float(1.0), Value::String("b"), budget).ok());
  ASSERT_TRUE(dict.Set(Value::Bool(true), Value::String("c"), budget).ok());
  ASSERT_TRUE(dict.Set(Value::String("1"), Value::String("d"), budget).ok());
  ASSERT_TRUE(dict.Set(Value::Float(1.5), Value::String("e"), budget).ok());
  ASSERT_EQ(dict.entries().size(), 3u);
  EXPECT_TRUE(
      dict.entries()[0].first.Is(Value::Kind::kInt));  // the first stays
  EXPECT_EQ((*dict.Find(Value::Int(1), budget))->string(), "c");
  EXPECT_EQ(dict.FindString("1")->string(), "d");
  EXPECT_EQ(dict.FindString("i1"), nullptr);
}

TEST(DictTest, TuplesAreKeysByTheirParts) {
  Budget budget;
  const auto tuple = [&](std::vector<Value> items) {
    return *MakeSequence(SequenceType::kTuple, std::move(items), budget);
  };
  Dict dict;
  const Value a = Value::String("a");
  const Value ab = Value::String("ab");
  ASSERT_TRUE(dict.Set(tuple({a, ab}), Value::Int(1), budget).ok());
  ASSERT_TRUE(dict.Set(tuple({ab, a}), Value::Int(2), budget).ok());
  ASSERT_TRUE(dict.Set(tuple({tuple({a}), ab}), Value::Int(3), budget).ok());
  EXPECT_EQ(dict.entries().size(), 3u);
  EXPECT_EQ((*dict.Find(tuple({ab, a}), budget))->integer(), 2);
  // Spelled out without lengths these would look like parts of another key.
  ASSERT_TRUE(
      dict.Set(tuple({Value::String("asab")}), Value::Int(4), budget).ok());
  ASSERT_TRUE(dict.Set(tuple({Value::Int(1), Value::Int(2)}), a, budget).ok());
  ASSERT_TRUE(dict.Set(tuple({Value::Int(12)}), a, budget).ok());
  EXPECT_EQ(dict.entries().size(), 6u);
  const Value list = *MakeSequence(SequenceType::kList, {}, budget);
  EXPECT_FALSE(dict.Set(list, a, budget).ok());
  EXPECT_FALSE(dict.Find(tuple({list}), budget).ok());
}

TEST(ValueTest, DepthIsCountedAndBounded) {
  Budget budget;
  Value value = Value::Int(1);
  for (int i = 1; i <= kMaxValueDepth; ++i) {
    const auto deeper = MakeSequence(SequenceType::kList, {value}, budget);
    ASSERT_TRUE(deeper.ok()) << deeper.status();
    value = *deeper;
    EXPECT_EQ(DepthOf(value), i);
  }
  EXPECT_EQ(MakeSequence(SequenceType::kList, {value}, budget).status().code(),
            absl::StatusCode::kResourceExhausted);
  Dict dict;
  dict.SetString("a", value);
  EXPECT_EQ(MakeDict(std::move(dict), budget).status().code(),
            absl::StatusCode::kResourceExhausted);
}

TEST(ValueSortTest, IsStableForEveryLength) {
  Budget budget;
  for (size_t num_keys = 0; num_keys <= 40; ++num_keys) {
    std::vector<Value> keys;
    for (size_t i = 0; i < num_keys; ++i) {
      keys.push_back(Value::Int(static_cast<int64_t>((i * 7) % 5)));
    }
    const auto order = SortedOrder(keys, budget);
    ASSERT_TRUE(order.ok());
    ASSERT_EQ(order->size(), num_keys);
    for (size_t i = 1; i < num_keys; ++i) {
      const int64_t before = keys[(*order)[i - 1]].integer();
      const int64_t after = keys[(*order)[i]].integer();
      EXPECT_TRUE(before < after ||
                  (before == after && (*order)[i - 1] < (*order)[i]));
    }
  }
}

TEST(BudgetTest, StopsAtItsBound) {
  Budget budget;
  EXPECT_TRUE(budget.Spend(kMaxSteps).ok());
  EXPECT_EQ(budget.Spend(1).code(), absl::StatusCode::kResourceExhausted);
}

TEST(BoundedTextTest, TakesAllOrNothing) {
  BoundedText text;
  text.AppendRepeated("ab", kMaxTextBytes / 2);
  EXPECT_TRUE(text.Check().ok());
  EXPECT_EQ(static_cast<int64_t>(text.text().size()), kMaxTextBytes);
  text.Append("");
  EXPECT_FALSE(text.full());
  text.Append("a");
  EXPECT_TRUE(text.full());
  EXPECT_EQ(static_cast<int64_t>(text.text().size()), kMaxTextBytes);
  EXPECT_FALSE(text.Check().ok());
}

TEST(TextSearchTest, FindsFirstAndLast) {
  EXPECT_EQ(FindFirst("abcabc", "bc"), 1u);
  EXPECT_EQ(FindLast("abcabc", "bc"), 4u);
  EXPECT_EQ(FindLast("aaa", "aa"), 1u);
  EXPECT_EQ(FindFirst("abc", ""), 0u);
  EXPECT_EQ(FindLast("abc", ""), 3u);
  EXPECT_EQ(FindFirst("", "a"), absl::string_view::npos);
  EXPECT_EQ(FindLast("ab", "abc"), absl::string_view::npos);
}

// The product of both lengths would be 10^13 comparisons.
TEST(TextSearchTest, TakesLinearTime) {
  const std::string text(10'000'000, 'a');
  const std::string wanted = std::string(1'000'000, 'a') + "b";
  EXPECT_EQ(FindFirst(text, wanted), absl::string_view::npos);
  EXPECT_EQ(FindLast(text, "b" + std::string(1'000'000, 'a')),
            absl::string_view::npos);
}

TEST(UnicodeTest, StrayBytesStandAloneAndStay) {
  const std::string stray = "a\xff\xe4\xbd";
  EXPECT_EQ(CountCodePoints(stray), 4);
  EXPECT_EQ(FindInvalidUtf8(stray), std::optional<size_t>(1));
  EXPECT_EQ(FindInvalidUtf8("añ🙂"), std::nullopt);
  EXPECT_EQ(ToUpper(stray), "A\xff\xe4\xbd");
  EXPECT_EQ(StripRight(stray + " ", std::nullopt), stray);
}

TEST(UnicodeTest, StripTakesWholeCodePoints) {
  // é is C3 A9 and ã is C3 A3: a byte in common is no code point in common.
  EXPECT_EQ(StripLeft("éa", "ã"), "éa");
  EXPECT_EQ(StripRight("aé", "ã"), "aé");
  EXPECT_EQ(StripRight("aéã", "ãé"), "a");
  EXPECT_EQ(StripLeft(" \t\u2003x", std::nullopt), "x");
  EXPECT_EQ(StripRight("", std::nullopt), "");
}

TEST(UnicodeTest, SigmaIsFinalAtTheEndOfAWordOnly) {
  EXPECT_EQ(ToLower("ΟΔΟΣ ΣΑΣ"), "οδος σας");
  EXPECT_EQ(ToLower("Σ"), "σ");
  EXPECT_EQ(ToLower("ΑΣ'Α"), "ασ'α");
  EXPECT_EQ(Capitalize("ΣΑΣ"), "Σας");
}

}  // namespace
}  // namespace headwise::jinja
