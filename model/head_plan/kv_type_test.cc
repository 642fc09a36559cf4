#include "model/head_plan/kv_type.h"

#include "gtest/gtest.h"
#include "model/head_plan/head_plan.h"

namespace headwise {
namespace {

TEST(KvTypeTest, NamesAreReadBack) {
  for (const KvType type :
       {KvType::kFp32, KvType::kFp16, KvType::kBf16, KvType::kInt8}) {
    EXPECT_EQ(ParseKvType(KvTypeName(type)).value(), type);
  }
  EXPECT_EQ(ParseKvType("fp7").status().message(),
            "kv_type 'fp7': expected fp32, fp16, bf16 or int8");
}

TEST(KvTypeTest, KeysAndValuesOfOnePosition) {
  EXPECT_EQ(KvBytesPerPosition(KvType::kFp32, 64), 512);
  EXPECT_EQ(KvBytesPerPosition(KvType::kFp16, 64), 256);
  EXPECT_EQ(KvBytesPerPosition(KvType::kBf16, 64), 256);
  EXPECT_EQ(KvBytesPerPosition(KvType::kInt8, 64), 136);
}

TEST(KvTypeTest, APlanMayLeaveTheTypeToTheServer) {
  EXPECT_EQ(ResolveKvType(PlanKvType::kDefault, KvType::kBf16), KvType::kBf16);
  EXPECT_EQ(ResolveKvType(PlanKvType::kInt8, KvType::kBf16), KvType::kInt8);
}

}  // namespace
}  // namespace headwise
