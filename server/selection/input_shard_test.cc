#include "server/selection/input_shard.h"

#include <set>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

void ExpectRefused(const InputOptions& options, const std::string& message) {
  const absl::Status status = CheckInputOptions(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(message));
}

TEST(InputOptionsTest, TheDefaultsAreAllowed) {
  EXPECT_TRUE(CheckInputOptions({}).ok());
  InputOptions options;
  options.paths = {".", "web", "code/", "math/a b.jsonl"};
  EXPECT_TRUE(CheckInputOptions(options).ok());
}

TEST(InputOptionsTest, ErrorsNameFieldValueAndLimit) {
  InputOptions options;
  options.shard_bytes = 0;
  ExpectRefused(options, "shard_bytes is 0, allowed: 1 to 1099511627776");
  options = {};
  options.max_document_bytes = (int64_t{1} << 30) + 1;
  ExpectRefused(options,
                "max_document_bytes is 1073741825, allowed: 1 to 1073741824");
  options = {};
  options.text_field = "";
  ExpectRefused(options, "text_field is empty");
  options = {};
  options.domain = "\xff";
  ExpectRefused(options, "domain is \"\\xff\", which is no UTF-8");
}

TEST(InputOptionsTest, PathsStayBelowTheRoot) {
  for (const char* path :
       {"", "/etc", "..", "a/../..", "a//b", "./a", "a\nb", "a\xff"}) {
    InputOptions options;
    options.paths = {"web", path};
    ExpectRefused(options, "path \"");
  }
}

TEST(InputShardTest, BytesAreThoseOfAllPieces) {
  EXPECT_EQ(InputShard().bytes(), 0);
  EXPECT_EQ((InputShard{0, {{"a", 10, 30, ""}, {"b", 0, 5, ""}}}).bytes(), 25);
}

TEST(InputShardTest, TheDigestDependsOnEveryFieldOfItsPiecesAndNothingElse) {
  const InputShard shard = {0, {{"a", 1, 2, "00"}, {"b", 3, 4, "11"}}};
  InputShard moved = shard;
  moved.index = 7;
  EXPECT_EQ(shard.Digest(), moved.Digest());
  EXPECT_EQ(shard.Digest().size(), 64u);

  std::set<std::string> digests = {shard.Digest(), InputShard().Digest()};
  const auto add = [&](auto change) {
    InputShard other = shard;
    change(other.pieces);
    digests.insert(other.Digest());
  };
  add([](auto& pieces) { pieces[1].file = "c"; });
  add([](auto& pieces) { pieces[1].begin = 2; });
  add([](auto& pieces) { pieces[1].end = 5; });
  add([](auto& pieces) { pieces[1].sha256 = "12"; });
  add([](auto& pieces) { std::swap(pieces[0], pieces[1]); });
  add([](auto& pieces) { pieces.pop_back(); });
  add([](auto& pieces) { pieces[0].file = "a 1 2"; });
  EXPECT_EQ(digests.size(), 9u);
}

}  // namespace
}  // namespace headwise
