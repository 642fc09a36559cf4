#include "server/selection/json_record.h"

#include <optional>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using Type = JsonField::Type;

std::optional<JsonRecord> Parse(const std::string& line) {
  return ParseJsonRecord(line, InputOptions());
}

void ExpectField(const JsonField& field, Type type, const std::string& text) {
  EXPECT_EQ(field.type, type);
  EXPECT_EQ(field.text, text);
  EXPECT_FALSE(field.is_invalid_utf8);
}

TEST(JsonRecordTest, ReadsTheNamedFields) {
  const auto record =
      Parse(R"({"text": "hello", "x": 1, "id": "a", "domain": "web"})");
  ASSERT_TRUE(record.has_value());
  ExpectField(record->id, Type::kString, "a");
  ExpectField(record->text, Type::kString, "hello");
  ExpectField(record->domain, Type::kString, "web");
}

TEST(JsonRecordTest, NamesAreTheJobsAndMayCoincide) {
  InputOptions names;
  names.id_field = "url";
  names.text_field = "body \xC3\xBC";
  names.domain_field = "url";
  const auto record = ParseJsonRecord(
      R"({"id": 1, "url": "u", "body \u00fc": "t", "text": "x"})", names);
  ASSERT_TRUE(record.has_value());
  ExpectField(record->id, Type::kString, "u");
  ExpectField(record->domain, Type::kString, "u");
  ExpectField(record->text, Type::kString, "t");
}

TEST(JsonRecordTest, TypesOfIds) {
  const auto expect = [](const std::string& value, Type type,
                         const std::string& text) {
    SCOPED_TRACE(value);
    const auto record = Parse("{\"id\":" + value + ",\"text\":\"t\"}");
    ASSERT_TRUE(record.has_value());
    ExpectField(record->id, type, text);
    ExpectField(record->text, Type::kString, "t");
  };
  expect("0", Type::kInteger, "0");
  expect("-17", Type::kInteger, "-17");
  expect("18446744073709551615", Type::kInteger, "18446744073709551615");
  expect("123456789012345678901234567890", Type::kInteger,
         "123456789012345678901234567890");
  expect("-9223372036854775809", Type::kInteger, "-9223372036854775809");
  expect("1.0", Type::kOther, "");
  expect("1e3", Type::kOther, "");
  expect("true", Type::kOther, "");
  expect("[\"a\"]", Type::kOther, "");
  expect("{\"id\":\"a\"}", Type::kOther, "");
  expect("null", Type::kMissing, "");
  expect("\"\"", Type::kString, "");
  expect("\"a\\u0000b\"", Type::kString, std::string("a\0b", 3));
}

TEST(JsonRecordTest, OnlyTheOutermostObjectCounts) {
  const auto record = Parse(
      R"({"meta": {"id": "x", "text": ["y", {"text": "z"}]}, "list": ["id"]})");
  ASSERT_TRUE(record.has_value());
  ExpectField(record->id, Type::kMissing, "");
  ExpectField(record->text, Type::kMissing, "");
}

TEST(JsonRecordTest, TheLastOfEqualKeysCounts) {
  const auto record = Parse(
      R"({"id": "a", "text": "x", "id": 7, "text": {"text": "y"}, "a": "b"})");
  ASSERT_TRUE(record.has_value());
  ExpectField(record->id, Type::kInteger, "7");
  ExpectField(record->text, Type::kOther, "");
}

TEST(JsonRecordTest, EscapesBecomeCharacters) {
  const auto record =
      Parse(R"({"text": "\"\\\/\n\u00e9\ud83d\ude42 \\ud800"})");
  ASSERT_TRUE(record.has_value());
  ExpectField(record->text, Type::kString,
              "\"\\/\n\xC3\xA9\xF0\x9F\x99\x82 \\ud800");
}

TEST(JsonRecordTest, WhatIsNoObjectIsNoRecord) {
  for (const char* line : {"",
                           "x",
                           "null",
                           "1",
                           "\"text\"",
                           "[]",
                           "[{\"text\":\"a\"}]",
                           "{",
                           "{\"text\":\"a\"",
                           "{\"text\":\"a",
                           "{\"text\":\"a\"}}",
                           "{\"text\":\"a\"} x",
                           "{\"text\":\"a\"}{}",
                           "{'text':'a'}",
                           "{\"text\":NaN}",
                           "{\"text\":\"a\",}",
                           "{\"text\":\"\\x\"}",
                           "{\"text\":\"\\u12\"}",
                           "{\"text\":\"a\tb\"}",
                           "\xff"}) {
    EXPECT_FALSE(Parse(line).has_value()) << line;
  }
}

// The parser would take it for the end.
TEST(JsonRecordTest, ANulByteIsNoJson) {
  EXPECT_FALSE(Parse(std::string("{\"text\":\"a\"}\0", 13)).has_value());
  EXPECT_FALSE(Parse(std::string("{\"text\":\"a\0b\"}", 14)).has_value());
  EXPECT_FALSE(Parse(std::string(1000, '\0')).has_value());
}

TEST(JsonRecordTest, DeepNestingCostsNoStack) {
  const size_t depth = 3'000'000;
  const std::string open(depth, '[');
  const std::string close(depth, ']');
  const auto record = Parse("{\"a\":" + open + close + ",\"text\":\"t\"}");
  ASSERT_TRUE(record.has_value());
  ExpectField(record->text, Type::kString, "t");
  EXPECT_FALSE(Parse("{\"a\":" + open).has_value());
}

TEST(JsonRecordTest, BadCharactersAreToldOfTheirFieldAlone) {
  const struct {
    const char* bad;     // within a string
    const char* mended;  // with U+FFFD for "?"
  } cases[] = {
      {"a\xff", "a?"},
      {"\xE2\x82z", "?z"},
      {"\\ud800", "?"},
      {"\\uDC00x", "?x"},
      {"\\ud83d\\ud83d\\ude42", "?\xF0\x9F\x99\x82"},
      {"\\ud83dx\\ude42", "?x?"},
      {"\\ude42\\ude42", "??"},
      {"\\ud83d\\n", "?\n"},
      {"\\\\\\udfff", "\\?"},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(c.bad);
    std::string mended;
    for (const char* at = c.mended; *at != '\0'; ++at) {
      mended += *at == '?' ? std::string("\xEF\xBF\xBD") : std::string(1, *at);
    }
    const auto in_text =
        Parse("{\"id\":\"i\",\"text\":\"" + std::string(c.bad) + "\"}");
    ASSERT_TRUE(in_text.has_value());
    EXPECT_TRUE(in_text->text.is_invalid_utf8);
    EXPECT_EQ(in_text->text.text, mended);
    ExpectField(in_text->id, Type::kString, "i");

    const auto in_id =
        Parse("{\"id\":\"" + std::string(c.bad) + "\",\"text\":\"t\"}");
    ASSERT_TRUE(in_id.has_value());
    EXPECT_TRUE(in_id->id.is_invalid_utf8);
    EXPECT_EQ(in_id->id.text, mended);
    EXPECT_FALSE(in_id->text.is_invalid_utf8);

    const auto elsewhere = Parse("{\"url\":\"" + std::string(c.bad) +
                                 "\",\"text\":\"t?\xEF\xBF\xBD\"}");
    ASSERT_TRUE(elsewhere.has_value());
    ExpectField(elsewhere->text, Type::kString, "t?\xEF\xBF\xBD");
  }
}

}  // namespace
}  // namespace headwise
