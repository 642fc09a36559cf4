#include "model/files/bounded_json.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_bytes.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr JsonLimits kSmall = {
    .max_bytes = 1000, .max_values = 20, .max_depth = 4};

absl::StatusOr<nlohmann::json> Parse(const std::string& text) {
  const TestBytes bytes(text);
  return ParseBoundedJson("x.json", bytes.span(), kSmall);
}
void ExpectError(const std::string& text, const std::string& words) {
  const auto result = Parse(text);
  ASSERT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument) << text;
  EXPECT_THAT(std::string(result.status().message()), HasSubstr(words));
  EXPECT_THAT(std::string(result.status().message()), HasSubstr("x.json"));
}

TEST(BoundedJson, BuildsWhatNlohmannBuilds) {
  for (const char* text :
       {"null", "[]", "{}", "[1,-2,3.5,true,null,\"s\"]",
        R"({"a":{"b":[{"c":1},[2]]},"d":[[],[{}]],"e":"\u00e9"})"}) {
    const auto result = Parse(text);
    ASSERT_TRUE(result.ok()) << result.status();
    EXPECT_EQ(*result, nlohmann::json::parse(text));
  }
}

TEST(BoundedJson, RefusesWhatIsNoJson) {
  ExpectError("", "byte 1");
  ExpectError("{\"a\":1,}", "byte 8");
  ExpectError("[1] 2", "byte 5");
  ExpectError("\"\xff\"", "UTF-8");
  ExpectError("[1e999]", "number overflow");
  ExpectError("NaN", "byte 1");
}

TEST(BoundedJson, RefusesDuplicateKeysAtAnyDepth) {
  ExpectError(R"({"a":1,"a":1})", "key \"a\" occurs twice");
  ExpectError(R"([{"b":{},"c":1,"b":2}])", "key \"b\" occurs twice");
}

TEST(BoundedJson, LimitsDepth) {
  EXPECT_TRUE(Parse("[[[[1]]]]").ok());
  ExpectError("[[[[[1]]]]]", "nesting exceeds the limit 4");
  ExpectError(R"({"a":{"a":{"a":{"a":{}}}}})", "nesting exceeds the limit 4");
}

TEST(BoundedJson, DeepNestingNeedsNoStack) {
  JsonLimits limits;
  const TestBytes bytes(std::string(10'000'000, '['));
  const auto result = ParseBoundedJson("deep", bytes.span(), limits);
  EXPECT_THAT(std::string(result.status().message()),
              HasSubstr("nesting exceeds the limit 32"));
}

TEST(BoundedJson, LimitsValuesAndBytes) {
  EXPECT_TRUE(Parse("[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9]").ok());
  ExpectError("[1,2,3,4,5,6,7,8,9,0,1,2,3,4,5,6,7,8,9,0]",
              "more values than the limit 20");
  EXPECT_TRUE(Parse(std::string(999, ' ') + "1").ok());
  ExpectError(std::string(1000, ' ') + "1", "has 1001 bytes");
}

TEST(BoundedJson, TypedMembers) {
  const auto json = Parse(
      R"({"i":-3,"u":18446744073709551615,"r":0.5,"b":true,"t":"x","n":null})");
  ASSERT_TRUE(json.ok()) << json.status();
  EXPECT_EQ(**JsonInt(*json, "i"), -3);
  EXPECT_EQ(**JsonReal(*json, "r"), 0.5);
  EXPECT_EQ(**JsonReal(*json, "i"), -3.0);
  EXPECT_EQ(**JsonBool(*json, "b"), true);
  EXPECT_EQ(**JsonText(*json, "t"), "x");
  EXPECT_EQ(*JsonInt(*json, "n"), std::nullopt);
  EXPECT_EQ(*JsonText(*json, "absent"), std::nullopt);
  EXPECT_EQ(JsonMember(*json, "n"), nullptr);
  const auto message = [](const auto& result) {
    return std::string(result.status().message());
  };
  EXPECT_THAT(message(JsonInt(*json, "u")), HasSubstr("below 2^63"));
  EXPECT_THAT(message(JsonInt(*json, "r")),
              HasSubstr("\"r\" is of type number"));
  EXPECT_THAT(message(JsonReal(*json, "t")), HasSubstr("want a number"));
  EXPECT_THAT(message(JsonBool(*json, "i")), HasSubstr("want a boolean"));
  EXPECT_THAT(message(JsonText(*json, "b")), HasSubstr("want a string"));
}

}  // namespace
}  // namespace headwise
