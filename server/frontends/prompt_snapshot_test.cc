#include "server/frontends/prompt_snapshot.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/frontends/test_plans.h"

namespace headwise {
namespace {

using testing::AllOf;
using testing::HasSubstr;

// Hexadecimal, as a hash is.
const std::string kModel(64, 'a');
const std::string kOtherModel(64, 'b');
constexpr int64_t kVocabSize = 1000;

class PromptSnapshotTest : public testing::Test {
 protected:
  PromptSnapshotTest() {
    hyper_.max_context_len = 1 << 20;
    plans_ = std::make_unique<PlanStore>(hyper_, KvType::kFp16);
  }

  PromptSnapshot SnapshotOf(int64_t num_tokens) const {
    PromptSnapshot snapshot = {
        .model_sha256 = kModel, .plan = *plans_->Find(kFullPlan), .tokens = {}};
    for (int64_t i = 0; i < num_tokens; ++i) {
      snapshot.tokens.push_back(static_cast<int32_t>(i % kVocabSize));
    }
    return snapshot;
  }
  static std::vector<v1::PromptSnapshotPart> PartsOf(PromptSnapshot snapshot) {
    PromptSnapshotWriter writer(std::move(snapshot));
    std::vector<v1::PromptSnapshotPart> parts;
    while (auto part = writer.Next()) parts.push_back(*std::move(part));
    return parts;
  }
  absl::StatusOr<PromptSnapshot> Read(
      const std::vector<v1::PromptSnapshotPart>& parts,
      const std::string& model = kModel) const {
    PromptSnapshotReader reader({model, kVocabSize, *plans_});
    for (const v1::PromptSnapshotPart& part : parts) {
      const absl::Status added = reader.Add(part);
      if (!added.ok()) return added;
    }
    return reader.Finish();
  }

  Hyperparameters hyper_ = TinyHyperparameters(2, 4, 2);
  std::unique_ptr<PlanStore> plans_;
};

TEST_F(PromptSnapshotTest, ComesBackAsItWas) {
  for (const int64_t num_tokens : {1, 65'536, 65'537, 200'000}) {
    const PromptSnapshot snapshot = SnapshotOf(num_tokens);
    const auto read = Read(PartsOf(snapshot));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(read->tokens, snapshot.tokens);
    EXPECT_EQ(read->plan.hash, kFullPlan);
  }
}

TEST_F(PromptSnapshotTest, AnyBitThatChangesIsFound) {
  const auto parts = PartsOf(SnapshotOf(300));
  for (size_t index = 0; index < parts.size(); ++index) {
    const std::string bytes = parts[index].SerializeAsString();
    for (size_t i = 0; i < bytes.size(); ++i) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ 1 << i % 8);
      auto lie = parts;
      if (!lie[index].ParseFromString(changed)) continue;
      const auto read = Read(lie);
      EXPECT_FALSE(read.ok()) << "byte " << i << " of part " << index;
    }
  }
}

TEST_F(PromptSnapshotTest, AFlippedTokenIsDataLossAndNamesItsRun) {
  auto parts = PartsOf(SnapshotOf(70'000));
  parts[2].mutable_tokens()->set_ids(5, 1);
  const absl::Status status = Read(parts).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("tokens 65536 to 70000"));
}

TEST_F(PromptSnapshotTest, MissingAndDoubledRunsAreDataLoss) {
  const auto parts = PartsOf(SnapshotOf(200'000));
  auto cut = parts;
  cut.pop_back();
  EXPECT_THAT(std::string(Read(cut).status().message()),
              HasSubstr("ends after 196608 of 200000"));
  auto gap = parts;
  gap.erase(gap.begin() + 2);
  EXPECT_EQ(Read(gap).status().code(), absl::StatusCode::kDataLoss);
  auto twice = parts;
  twice.insert(twice.begin() + 2, parts[1]);
  EXPECT_EQ(Read(twice).status().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(Read({}).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Read({parts[1]}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

TEST_F(PromptSnapshotTest, OfAnotherModelOrFormatIsRefusedWithBoth) {
  const auto parts = PartsOf(SnapshotOf(3));
  const absl::Status status = Read(parts, kOtherModel).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(status.message()),
              AllOf(HasSubstr(kModel), HasSubstr(kOtherModel)));
  auto newer = parts;
  newer[0].mutable_header()->set_format(2);
  EXPECT_EQ(Read(newer).status().code(), absl::StatusCode::kFailedPrecondition);
}

// Nothing is allocated for what has not come.
TEST_F(PromptSnapshotTest, LengthsThatLieAreRefused) {
  for (const int64_t lie :
       {int64_t{0}, int64_t{-1}, int64_t{1} << 62, int64_t{1} << 40}) {
    auto parts = PartsOf(SnapshotOf(3));
    parts[0].mutable_header()->set_num_tokens(lie);
    EXPECT_EQ(Read(parts).status().code(), absl::StatusCode::kOutOfRange)
        << lie;
  }
}

}  // namespace
}  // namespace headwise
