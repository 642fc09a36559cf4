#include "server/selection/row_codec.h"

#include <bit>
#include <cmath>
#include <limits>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"
#include "server/selection/flag_names.h"

namespace headwise {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

ScoreRow Scored() {
  ScoreRow row{.doc_id = "web/17", .domain = "web"};
  row.loss = {
      .base = 200.0, .masked = 225.5, .num_tokens = 100, .repetition = 0.25};
  return row;
}

constexpr char kScoredLine[] =
    R"({"doc_id":"web/17","domain":"web","n_tokens":100,"loss_base":2,)"
    R"("loss_masked":2.255,"score":0.1275,"flags":[],"nll_base":200,)"
    R"("nll_masked":225.5,"repetition":0.25})";

void ExpectSame(const ScoreRow& a, const ScoreRow& b) {
  EXPECT_EQ(a.doc_id, b.doc_id);
  EXPECT_EQ(a.domain, b.domain);
  EXPECT_EQ(a.loss.num_tokens, b.loss.num_tokens);
  EXPECT_EQ(a.loss.base, b.loss.base);
  EXPECT_EQ(a.loss.masked, b.loss.masked);
  EXPECT_EQ(a.loss.repetition, b.loss.repetition);
  EXPECT_EQ(a.loss.is_truncated, b.loss.is_truncated);
  EXPECT_EQ(a.flags, b.flags);
}

// The row as it is read back; also that its line is written again.
ScoreRow ReadBack(const ScoreRow& row) {
  const std::string line = RowToJson(row);
  const absl::StatusOr<ScoreRow> read = ParseRow(line);
  EXPECT_TRUE(read.ok()) << read.status() << " " << line;
  if (!read.ok()) return ScoreRow();
  EXPECT_EQ(RowToJson(*read), line);
  EXPECT_TRUE(nlohmann::json::accept(line)) << line;
  return *read;
}

std::string ErrorOf(const std::string& line) {
  const absl::Status status = ParseRow(line).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << line;
  return std::string(status.message());
}

std::string Replace(std::string text, const std::string& from,
                    const std::string& to) {
  const size_t at = text.find(from);
  EXPECT_NE(at, std::string::npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(RowCodecTest, WritesTheColumnsInOrder) {
  EXPECT_EQ(RowToJson(Scored()), kScoredLine);
  ExpectSame(ReadBack(Scored()), Scored());
}

TEST(RowCodecTest, ARowWithoutScoreHasNulls) {
  ScoreRow row{.doc_id = "a:0", .flags = kBrokenRecord | kMadeUpId};
  EXPECT_EQ(RowToJson(row),
            R"({"doc_id":"a:0","domain":"","n_tokens":0,"loss_base":null,)"
            R"("loss_masked":null,"score":null,)"
            R"("flags":["broken_record","made_up_id"],"nll_base":null,)"
            R"("nll_masked":null,"repetition":null})");
  ExpectSame(ReadBack(row), row);
}

TEST(RowCodecTest, ALossOfZeroHasNoScore) {
  ScoreRow row = Scored();
  row.loss.base = 0.0;
  row.flags = kLowLoss;
  EXPECT_THAT(RowToJson(row), HasSubstr(R"("score":null,)"));
  ExpectSame(ReadBack(row), row);
}

TEST(RowCodecTest, EveryFlagAndTruncationAreReadBack) {
  ScoreRow row = Scored();
  for (const DocumentFlag flag : AllDocumentFlags()) {
    row.flags |= flag;
    row.loss.is_truncated = (row.flags & kTruncated) != 0;
    ExpectSame(ReadBack(row), row);
  }
}

TEST(RowCodecTest, EscapesWhatJsonWantsEscaped) {
  ScoreRow row = Scored();
  row.doc_id =
      std::string("\0\x01\x1f\x7f\b\f\n\r\t\"\\/", 12) + "\u00fc\u2028";
  EXPECT_THAT(RowToJson(row),
              HasSubstr("\"\\u0000\\u0001\\u001f\x7f\\b\\f\\n\\r\\t\\\"\\\\/"
                        "\u00fc\u2028\""));
  ExpectSame(ReadBack(row), row);
  const auto json = nlohmann::json::parse(RowToJson(row));
  EXPECT_EQ(json["doc_id"].get<std::string>(), row.doc_id);
}

TEST(RowCodecTest, BytesThatAreNoUtf8AreReplaced) {
  ScoreRow row = Scored();
  row.doc_id = "a\xff\"b\xc3";
  row.domain = "\xed\xa0\x80";  // a surrogate: three bad bytes
  const ScoreRow read = ReadBack(row);
  EXPECT_EQ(read.doc_id, "a\ufffd\"b\ufffd");
  EXPECT_EQ(read.domain, "\ufffd\ufffd\ufffd");
}

// Random bits of finite doubles, and those at the ends of the range.
TEST(RowCodecTest, NumbersAreReadBackToTheBit) {
  constexpr uint64_t kSeed = 20261126;
  std::mt19937_64 random(kSeed);
  using Limits = std::numeric_limits<double>;
  std::vector<double> values = {Limits::min(),
                                Limits::denorm_min(),
                                Limits::max(),
                                Limits::lowest(),
                                Limits::epsilon(),
                                1e21,
                                1e22,
                                1e23,
                                0.1,
                                -0.0,
                                123456789012345680.0};
  while (values.size() < 5'000) {
    const auto value = std::bit_cast<double>(random());
    if (std::isfinite(value)) values.push_back(value);
  }
  ScoreRow row = Scored();
  for (size_t i = 1; i < values.size(); ++i) {
    row.loss.base = values[i - 1];
    row.loss.masked = values[i];
    row.loss.num_tokens = static_cast<int64_t>(random() >> (1 + i % 60));
    if (!row.is_scored()) row.loss = {};
    SCOPED_TRACE(testing::Message() << "i=" << i << " seed=" << kSeed);
    ExpectSame(ReadBack(row), row);
  }
}

TEST(RowCodecTest, EveryLineThatIsCutShortIsRefused) {
  const std::string line = kScoredLine;
  for (size_t size = 0; size < line.size(); ++size) {
    ErrorOf(line.substr(0, size));
  }
}

// No byte may be another: the line would not be what is written. Digits aside,
// which make another number, letters of the two names, and the repetition.
TEST(RowCodecTest, AChangedByteIsRefusedOrMeansAnotherRow) {
  const std::string line = kScoredLine;
  for (size_t i = 0; i < line.size(); ++i) {
    for (const char byte : {'\0', ' ', '"', '\\', '{', '0', 'e', '\x80'}) {
      std::string changed = line;
      changed[i] = byte;
      if (changed == line) continue;
      const absl::StatusOr<ScoreRow> row = ParseRow(changed);
      if (!row.ok()) continue;
      // Nothing else tells of it.
      if (row->loss.repetition != Scored().loss.repetition) continue;
      EXPECT_TRUE(row->doc_id != "web/17" || row->domain != "web") << changed;
      EXPECT_EQ(RowToJson(*row), changed);
    }
  }
}

TEST(RowCodecTest, ErrorsNameTheByteAndWhatStandsThere) {
  EXPECT_EQ(ErrorOf(""),
            "byte 0: expected {\"doc_id\":, found the end of the line");
  EXPECT_EQ(ErrorOf(Replace(kScoredLine, "domain", "domian")),
            "byte 18: expected ,\"domain\":, found ,\\\"domian\\\":\\\"web\\\","
            "\\\"n_token");
  EXPECT_THAT(ErrorOf(absl::StrCat(kScoredLine, " ")),
              HasSubstr("expected the end of the line, found  "));
  EXPECT_THAT(ErrorOf(Replace(kScoredLine, "100", "-100")),
              HasSubstr("byte 45: expected an integer from 0 to 2^63 - 1"));
  EXPECT_THAT(ErrorOf(Replace(kScoredLine, "100", "9223372036854775808")),
              HasSubstr("expected an integer from 0 to 2^63 - 1"));
}

TEST(RowCodecTest, RefusesStringsThatAreSpelledOtherwise) {
  // An escape that is not needed, upper case, a control character with a letter
  // of its own, one above those, half an escape, no escape, bad UTF-8.
  for (const char* id : {"\\/", "\\u001F", "\\u000a", "\\u0020", "\\u00", "\\",
                         "\\x", "\n", "\xff", "\xc3"}) {
    const std::string error = ErrorOf(Replace(kScoredLine, "web/17", id));
    EXPECT_THAT(error, StartsWith("byte 1")) << id;
  }
}

TEST(RowCodecTest, RefusesNumbersThatAreNone) {
  for (const char* number : {"nan", "inf", "-inf", "1e999", "1e-999", "",
                             "+200", "\"200\"", "0x10", "true"}) {
    const std::string line = Replace(kScoredLine, "\"nll_base\":200",
                                     absl::StrCat("\"nll_base\":", number));
    EXPECT_THAT(ErrorOf(line), HasSubstr("byte 1")) << number;
  }
}

TEST(RowCodecTest, RefusesARepetitionThatIsNoPart) {
  for (const char* part : {"-0.1", "1.1", "null", ""}) {
    const std::string line =
        Replace(kScoredLine, ":0.25}", absl::StrCat(":", part, "}"));
    EXPECT_THAT(ErrorOf(line), HasSubstr("expected")) << part;
  }
  EXPECT_EQ(ParseRow(Replace(kScoredLine, "0.25", "1"))->loss.repetition, 1.0);
}

TEST(RowCodecTest, RefusesFlagsThatAreUnknownTwiceOrOutOfOrder) {
  for (const char* flags :
       {R"(["new_flag"])", R"(["truncated","truncated"])",
        R"(["made_up_id","truncated"])", R"(["truncated",])", R"([,])",
        R"(["truncated" ])", "[", "null"}) {
    const std::string line = Replace(kScoredLine, "[]", flags);
    ErrorOf(line);
  }
}

TEST(RowCodecTest, RefusesColumnsThatContradictTheSums) {
  for (const auto& [from, to] :
       std::vector<std::pair<std::string, std::string>>{
           {"\"loss_base\":2", "\"loss_base\":2.5"},
           {"2.255", "2.2550000000000003"},
           {"0.1275", "0.1276"},
           {"0.1275", "null"},
           {"\"loss_base\":2", "\"loss_base\":null"},
           {"\"nll_base\":200", "\"nll_base\":null"},
           {"225.5", "null"},
           {"225.5", "225.6"},
           {"100", "0"},
           {"100", "101"}}) {
    EXPECT_THAT(ErrorOf(Replace(kScoredLine, from, to)), HasSubstr("nll_"))
        << from << " -> " << to;
  }
}

TEST(RowCodecTest, ARowThatIsUsedAgainKeepsNothing) {
  ScoreRow row = Scored();
  row.flags = kTruncated | kTooShort;
  row.loss.is_truncated = true;
  const ScoreRow plain{.doc_id = "", .flags = kEmptyText};
  ASSERT_TRUE(ParseRowInto(RowToJson(plain), row).ok());
  ExpectSame(row, plain);
}

TEST(RowCodecTest, AppendsToWhatIsThere) {
  std::string out = "before ";
  AppendRowJson(Scored(), out);
  EXPECT_EQ(out, absl::StrCat("before ", kScoredLine));
}

}  // namespace
}  // namespace headwise
