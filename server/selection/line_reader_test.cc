#include "server/selection/line_reader.h"

#include <string>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/selection/input_fixture.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

// "<offset> <text>", "!" for a line that is too long, "." after the last one if
// it has no end.
std::vector<std::string> LinesOf(const std::string& text, size_t step,
                                 int64_t max_line_bytes = 1000) {
  StringReader source(text, step);
  LineReader reader(&source, max_line_bytes);
  std::vector<std::string> lines;
  while (true) {
    const auto line = reader.Next();
    EXPECT_TRUE(line.ok()) << line.status();
    if (!line.ok() || !line->has_value()) break;
    lines.push_back(
        std::to_string((*line)->offset) + " " + std::string((*line)->text) +
        ((*line)->is_too_long ? "!" : "") + ((*line)->is_last ? "." : ""));
  }
  EXPECT_EQ(reader.offset(), static_cast<int64_t>(text.size()));
  return lines;
}

TEST(LineReaderTest, CutsAtNewlinesHoweverTheBytesCome) {
  for (const size_t step : {1, 2, 3, 100}) {
    SCOPED_TRACE(step);
    EXPECT_THAT(LinesOf("", step), IsEmpty());
    EXPECT_THAT(LinesOf("\n", step), ElementsAre("0 "));
    EXPECT_THAT(LinesOf("ab\n\ncd\r\ne", step),
                ElementsAre("0 ab", "3 ", "4 cd\r", "8 e."));
    EXPECT_THAT(LinesOf("ab\ncd\n", step), ElementsAre("0 ab", "3 cd"));
  }
}

TEST(LineReaderTest, SkipsLongLinesToTheirEnd) {
  for (const size_t step : {1, 2, 3, 100}) {
    SCOPED_TRACE(step);
    EXPECT_THAT(LinesOf("abc\nabcd\nabcdefgh\na\n", step, 3),
                ElementsAre("0 abc", "4 !", "9 !", "18 a"));
    EXPECT_THAT(LinesOf("a\nabcdefgh", step, 3), ElementsAre("0 a", "2 !."));
  }
}

// Longer than the reader's buffer, so that they span several.
TEST(LineReaderTest, JoinsLinesThatSpanManyReads) {
  const std::string a(700'000, 'a');
  const std::string b(700'000, 'b');
  StringReader source(a + "\n" + b + "\nc", 1 << 20);
  LineReader reader(&source, 1 << 20);
  EXPECT_EQ((*reader.Next())->text, a);
  EXPECT_EQ((*reader.Next())->text, b);
  EXPECT_EQ((*reader.Next())->text, "c");
  EXPECT_FALSE(reader.Next()->has_value());
  EXPECT_FALSE(reader.Next()->has_value());
}

class FailingReader final : public ByteReader {
 public:
  absl::StatusOr<size_t> Read(absl::Span<char> into) override {
    if (++num_calls_ > 1) return absl::DataLossError("gone");
    into[0] = 'x';
    return size_t{1};
  }

 private:
  int num_calls_ = 0;
};

TEST(LineReaderTest, GivesTheErrorOfItsSource) {
  FailingReader source;
  LineReader reader(&source, 10);
  EXPECT_EQ(reader.Next().status(), absl::DataLossError("gone"));
}

}  // namespace
}  // namespace headwise
