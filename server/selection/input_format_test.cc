#include "server/selection/input_format.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(InputFormatTest, TheEndingsDecide) {
  using C = Compression;
  const struct {
    const char* name;
    InputFormat format;
  } cases[] = {
      {"a.jsonl", {true, C::kNone}},      {"a.ndjson", {true, C::kNone}},
      {"a.json", {true, C::kNone}},       {"A.JSONL", {true, C::kNone}},
      {"x/a.jsonl.gz", {true, C::kGzip}}, {"a.json.zst", {true, C::kZstd}},
      {"a.txt", {false, C::kNone}},       {"README", {false, C::kNone}},
      {"a.md.gz", {false, C::kGzip}},     {"a.zst", {false, C::kZstd}},
      {"jsonl", {false, C::kNone}},       {"a.jsonl.bak", {false, C::kNone}},
      {"a.jsonl/b", {false, C::kNone}},
  };
  for (const auto& c : cases) {
    const auto format = FormatOfName(c.name);
    ASSERT_TRUE(format.ok()) << format.status();
    EXPECT_EQ(*format, c.format) << c.name;
    EXPECT_EQ(format->is_one_piece(),
              !c.format.is_lines || c.format.compression != C::kNone);
  }
}

TEST(InputFormatTest, FormatsThatAreNoTextAreRefusedByName) {
  for (const char* name : {"web/a.parquet", "a.PARQUET", "a.tar.gz", "a.tgz",
                           "a.jsonl.xz", "a.jsonl.bz2", "a.zip"}) {
    const absl::Status status = FormatOfName(name).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << name;
    EXPECT_THAT(std::string(status.message()), testing::HasSubstr(name));
  }
}

}  // namespace
}  // namespace headwise
