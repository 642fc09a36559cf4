#include "server/neural_memory/memory_rows.h"

#include <cmath>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/neural_memory/memory_cluster_fixture.h"

namespace headwise {
namespace {

using absl::StatusCode;
using testing::HasSubstr;

// What is wrong with a write, in the order in which it is looked at.
absl::Status Check(const MemoryConfig& config, const WriteOf& rows) {
  const auto num_tokens = TokensOf(config, rows.write());
  if (!num_tokens.ok()) return num_tokens.status();
  const absl::Status hash = CheckHash(rows.write());
  if (!hash.ok()) return hash;
  return ReadTensors(config, rows.write(), *num_tokens).status();
}

class MemoryRowsTest : public testing::Test {
 protected:
  std::string Refused(const WriteOf& rows,
                      StatusCode code = StatusCode::kInvalidArgument) const {
    const absl::Status status = Check(config_, rows);
    EXPECT_EQ(status.code(), code) << status;
    return std::string(status.message());
  }

  const MemoryConfig config_ = TestMemoryConfig(2);
  WriteOf rows_{config_, 40, 10};
};

TEST_F(MemoryRowsTest, TensorsOfAnotherLengthAreRefused) {
  ASSERT_TRUE(Check(config_, rows_).ok());
  WriteOf rows = rows_;
  rows.keys.pop_back();
  EXPECT_THAT(Refused(rows), HasSubstr("keys: 1279 bytes; must have 128 for "
                                       "each of 1 to 8192"));
  rows = rows_;
  rows.values.clear();
  EXPECT_THAT(Refused(rows), HasSubstr("values: 0 bytes; must have 1280"));
  rows = rows_;
  rows.queries.pop_back();
  EXPECT_THAT(Refused(rows), HasSubstr("queries: 1279 bytes"));
  rows = rows_;
  rows.eta.pop_back();
  EXPECT_THAT(Refused(rows),
              HasSubstr("eta: 79 bytes; 10 tokens need 40, or 80 for 2 heads"));
  rows = rows_;
  rows.alpha.clear();
  EXPECT_THAT(Refused(rows), HasSubstr("the memory has no default gates"));
}

TEST_F(MemoryRowsTest, NumbersOutOfRangeAreRefusedByHeadAndToken) {
  // [token 3][head 1][dimension 5], [token 3][head 1].
  const int64_t at = (3 * 2 + 1) * 16 + 5;
  WriteOf rows = rows_;
  rows.Set(rows.keys, at, NAN);
  EXPECT_THAT(Refused(rows),
              HasSubstr("head 1, tokens from 40 on: keys[3][5] = nan"));
  rows = rows_;
  rows.Set(rows.values, at, -INFINITY);
  EXPECT_THAT(Refused(rows), HasSubstr("values[3][5] = -inf"));
  rows = rows_;
  rows.Set(rows.queries, at, INFINITY);
  EXPECT_THAT(Refused(rows), HasSubstr("queries[3][5] = inf"));
  rows = rows_;
  rows.Set(rows.theta, 7, -0.5f);
  EXPECT_THAT(Refused(rows), HasSubstr("theta[3] = -0.5"));
  rows = rows_;
  rows.Set(rows.eta, 7, 1.5f);
  EXPECT_THAT(Refused(rows), HasSubstr("eta[3] = 1.5: must be 0 to 1"));
  rows = rows_;
  rows.Set(rows.alpha, 7, NAN);
  EXPECT_THAT(Refused(rows), HasSubstr("alpha[3] = nan: must be 0 to 1"));
}

TEST_F(MemoryRowsTest, AWrongHashIsDataLoss) {
  WriteOf rows = rows_;
  rows.alpha[2] ^= 1;
  EXPECT_THAT(Refused(rows, StatusCode::kDataLoss),
              HasSubstr("sha256 of the write at offset 40"));
  rows.sha256.pop_back();
  EXPECT_THAT(Refused(rows), HasSubstr("sha256: 31 bytes; must have 32"));
}

TEST_F(MemoryRowsTest, GatesMayBeOfTokensOrTheDefault) {
  MemoryConfig config = config_;
  config.default_gates = {{0.5f, 0.25f, 0.125f}};
  WriteOf rows = rows_;
  rows.theta = BytesOfFloats({0, 1, 2, 3, 4, 5, 6, 7, 8, 9});
  rows.eta.clear();
  rows.alpha.clear();
  rows.Hash();
  const auto tensors = ReadTensors(config, rows.write(), 10);
  ASSERT_TRUE(tensors.ok()) << tensors.status();
  for (int64_t token = 0; token < 10; ++token) {
    for (int64_t head = 0; head < 2; ++head) {
      EXPECT_EQ(tensors->theta[token * 2 + head], static_cast<float>(token));
      EXPECT_EQ(tensors->eta[token * 2 + head], 0.25f);
      EXPECT_EQ(tensors->alpha[token * 2 + head], 0.125f);
    }
  }
}

TEST_F(MemoryRowsTest, QueriesThatDoNotFitIntoAnAnswerAreRefused) {
  MemoryConfig config = TestMemoryConfig(128);
  config.input_type = FloatType::kFp16;
  const std::string queries(8192 * 128 * 16 * 2, '\0');
  const auto refused = QueriesOf(config, queries);
  EXPECT_EQ(refused.status().code(), StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()),
              HasSubstr("67108864 bytes, an answer at most 15728640: 1920 "
                        "queries fit"));
  EXPECT_EQ(QueriesOf(config, queries.substr(0, 1920 * 4096)).value(), 1920);
}

TEST_F(MemoryRowsTest, HeadsAreTakenAndPutBack) {
  std::vector<float> tensor;
  for (int i = 0; i < 2 * 3 * 4; ++i) tensor.push_back(static_cast<float>(i));
  const std::vector<float> heads = HeadsOf(tensor, 3, 4, 1, 2);
  EXPECT_THAT(heads, testing::ElementsAre(4, 5, 6, 7, 8, 9, 10, 11, 16, 17, 18,
                                          19, 20, 21, 22, 23));
  std::vector<float> back(tensor.size());
  PutHeads(HeadsOf(tensor, 3, 4, 0, 1), 3, 4, 0, 1, back);
  PutHeads(heads, 3, 4, 1, 2, back);
  EXPECT_EQ(back, tensor);
}

}  // namespace
}  // namespace headwise
