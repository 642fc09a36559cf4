#include "model/chat_template/globals.h"

#include <string>

#include "gtest/gtest.h"

namespace headwise::jinja {
namespace {

std::string Strftime(std::string format, absl::CivilSecond civil) {
  Budget budget;
  const auto text =
      StrftimeNow({.positional = {Value::String(std::move(format))}},
                  absl::FromCivil(civil, absl::UTCTimeZone()), budget);
  return text.ok() ? text->string() : std::string(text.status().message());
}

TEST(StrftimeNowTest, WritesDatesInEnglish) {
  const absl::CivilSecond july(2024, 7, 26, 12, 4, 5);  // a Friday
  EXPECT_EQ(Strftime("%d %b %Y", july), "26 Jul 2024");
  EXPECT_EQ(Strftime("%A, %B %d", july), "Friday, July 26");
  EXPECT_EQ(Strftime("%F %T %p", july), "2024-07-26 12:04:05 PM");
  const absl::CivilSecond january(2025, 1, 5, 0, 0, 0);  // a Sunday
  EXPECT_EQ(Strftime("%a %-d.%-m.%y %I %j", january), "Sun 5.1.25 12 005");
}

TEST(StrftimeNowTest, KeepsWhatIsNoConversion) {
  const absl::CivilSecond t(2024, 7, 26);
  EXPECT_EQ(Strftime("100%% é %", t), "100% é %");
  EXPECT_EQ(Strftime("", t), "");
}

int64_t RangeLength(std::vector<Value> bounds) {
  Budget budget;
  const auto range = Range({.positional = std::move(bounds)}, budget);
  return range.ok() ? static_cast<int64_t>(range->sequence().items.size()) : -1;
}

TEST(RangeTest, CountsAtTheEdges) {
  const Value max = Value::Int(std::numeric_limits<int64_t>::max());
  const Value min = Value::Int(std::numeric_limits<int64_t>::min());
  EXPECT_EQ(RangeLength({Value::Int(100'000)}), 100'000);
  EXPECT_EQ(RangeLength({Value::Int(100'001)}), -1);
  EXPECT_EQ(RangeLength({Value::Int(-5)}), 0);
  EXPECT_EQ(RangeLength({min, max, max}), 3);
  EXPECT_EQ(RangeLength({max, min, min}), 2);
  EXPECT_EQ(RangeLength({min, max}), -1);
  EXPECT_EQ(RangeLength({Value::Int(0), Value::Int(7), Value::Int(3)}), 3);
}

}  // namespace
}  // namespace headwise::jinja
