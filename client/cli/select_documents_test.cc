#include "client/cli/select_documents.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

SelectLine Read(const std::string& line) {
  SelectFieldFlags fields;
  fields.default_domain = "web";
  return ReadSelectLine(line, "stdin:3", fields);
}

TEST(SelectDocumentsTest, ALineIsADocument) {
  const SelectLine line = Read(R"({"text":"a b","id":7,"domain":"code"})");
  EXPECT_TRUE(line.is_sent);
  EXPECT_EQ(line.document.id(), "7");
  EXPECT_EQ(line.document.domain(), "code");
  EXPECT_EQ(line.document.text(), "a b");
  EXPECT_THAT(line.flags, IsEmpty());
  EXPECT_EQ(Read(R"({"text":"a","id":"x"})").document.domain(), "web");
}

TEST(SelectDocumentsTest, FieldsHaveTheNamesOfTheFlags) {
  SelectFieldFlags fields;
  fields.id = "url";
  fields.text = "content";
  fields.domain = "source";
  const SelectLine line = ReadSelectLine(
      R"({"id":"no","url":"u","text":"no","content":"c","source":"s"})", "p",
      fields);
  EXPECT_EQ(line.document.id(), "u");
  EXPECT_EQ(line.document.text(), "c");
  EXPECT_EQ(line.document.domain(), "s");
}

TEST(SelectDocumentsTest, WhatCannotBeSentHasARowOfItsOwn) {
  const auto row = [](const std::string& text) {
    const SelectLine line = Read(text);
    EXPECT_FALSE(line.is_sent) << text;
    return UnsentRow(line);
  };
  EXPECT_THAT(row("{").flags(), ElementsAre("broken_record", "made_up_id"));
  EXPECT_EQ(row("{").doc_id(), "stdin:3");
  EXPECT_THAT(row("[1]").flags(), ElementsAre("broken_record", "made_up_id"));
  EXPECT_THAT(row(R"({"id":"a"})").flags(), ElementsAre("missing_text"));
  EXPECT_THAT(row(R"({"id":"a","text":5})").flags(),
              ElementsAre("missing_text"));
  EXPECT_THAT(row(R"({"id":"a","text":""})").flags(),
              ElementsAre("empty_text"));
  EXPECT_THAT(row("{\"id\":\"a\",\"text\":\"\xff\"}").flags(),
              ElementsAre("invalid_utf8"));
  EXPECT_FALSE(row(R"({"id":"a"})").has_score());
}

TEST(SelectDocumentsTest, AFilesNameNeedNotBeUtf8) {
  EXPECT_EQ(ReadSelectLine("{", "caf\xe9:1", {}).document.id(),
            "caf\xEF\xBF\xBD:1");
}

TEST(SelectDocumentsTest, FlagsOfTheLineJoinThoseOfTheServer) {
  const SelectLine line = Read(R"({"text":"a b"})");
  ASSERT_TRUE(line.is_sent);
  EXPECT_EQ(line.document.id(), "stdin:3");
  v1::SelectionRow row;
  row.add_flags("truncated");
  row.add_flags("too_short");
  AddLineFlags(line, &row);
  EXPECT_THAT(row.flags(), ElementsAre("too_short", "truncated", "made_up_id"));
  EXPECT_THAT(Read(R"({"id":[],"text":"a"})").flags,
              ElementsAre("invalid_id_type"));
}

}  // namespace
}  // namespace headwise
