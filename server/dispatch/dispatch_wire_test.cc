#include "server/dispatch/dispatch_wire.h"

#include <cstdint>
#include <limits>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

worker::v1::PrepareResponse::Prepared Prepared() {
  worker::v1::PrepareResponse::Prepared prepared;
  prepared.set_endpoint("at=host:1");
  prepared.set_weight_bytes(1000);
  prepared.set_kv_capacity_blocks(std::numeric_limits<int32_t>::max());
  return prepared;
}

TEST(ParsePreparedTest, LargestValuesAreTaken) {
  auto prepared = Prepared();
  EXPECT_TRUE(ParsePrepared(prepared).ok());
  prepared.set_endpoint(std::string(65536, '~'));
  EXPECT_TRUE(ParsePrepared(prepared).ok());
}

TEST(ParsePreparedTest, EndpointMustBePrintableAndOfOneTo65536Bytes) {
  for (const std::string& endpoint :
       {std::string(), std::string(65537, 'x'), std::string("a\0b", 3),
        std::string("a\n"), std::string("\x7f"), std::string("\xff")}) {
    auto prepared = Prepared();
    prepared.set_endpoint(endpoint);
    const absl::Status status = ParsePrepared(prepared).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument)
        << endpoint.size();
    EXPECT_THAT(status.message(), HasSubstr("endpoint"));
  }
}

// 64 positions of 1024 bytes in each block must not overflow 64 bits.
TEST(ParsePreparedTest, SizesOutOfRangeAreRefused) {
  for (const int64_t blocks : {int64_t{-1}, int64_t{1} << 31}) {
    auto prepared = Prepared();
    prepared.set_kv_capacity_blocks(blocks);
    EXPECT_THAT(ParsePrepared(prepared).status().message(),
                HasSubstr("kv_capacity_blocks"));
  }
  auto prepared = Prepared();
  prepared.set_weight_bytes(-1);
  EXPECT_THAT(ParsePrepared(prepared).status().message(),
              HasSubstr("weight_bytes"));
}

TEST(ParseStepResponseTest, ImpossibleAnswersAreErrors) {
  worker::v1::StepResponse response;
  response.set_status_code(17);
  EXPECT_FALSE(ParseStepResponse(&response).ok());
  response.set_status_code(-1);
  EXPECT_FALSE(ParseStepResponse(&response).ok());
  response.set_status_code(0);
  EXPECT_TRUE(ParseStepResponse(&response).ok());
  response.add_results()->set_logits_digests("short");
  EXPECT_FALSE(ParseStepResponse(&response).ok());
}

TEST(ParseStepResponseTest, MeasurementsAreClampedForTheMetrics) {
  worker::v1::StepResponse response;
  response.set_compute_seconds(std::numeric_limits<double>::quiet_NaN());
  response.set_collective_seconds(-1.0);
  response.set_collective_bytes(-5);
  const auto result = ParseStepResponse(&response);
  ASSERT_TRUE(result.ok());
  EXPECT_EQ(result->compute_seconds, 0.0);
  EXPECT_EQ(result->collective_seconds, 0.0);
  EXPECT_EQ(result->collective_bytes, 0);
}

}  // namespace
}  // namespace headwise
