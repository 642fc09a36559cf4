#include "worker/memory_parts/memory_bytes.h"

#include "gtest/gtest.h"
#include "worker/backends/cpu/isa.h"
#include "worker/memory_parts/memory_fixture.h"

namespace headwise {
namespace {

TEST(MemoryBytesTest, StateIsWeightsAndMomentum) {
  MemorySpec spec;
  spec.head_dim = 64;
  spec.hidden_dim = 128;
  EXPECT_EQ(MemoryStateBytes(spec), 131'072);
  spec.norm = MemoryNorm::kLayer;
  EXPECT_EQ(MemoryStateBytes(spec), 131'584);
}

TEST(MemoryBytesTest, NeitherAHeadNorItsSavedBytesNeedMore) {
  const MemorySpec spec = TestMemorySpec();
  const MemoryKernels& kernels = MemoryKernelsFor(IsasOfThisMachine().back());
  const MemoryShare share = {spec, 0, 1};
  MemoryHead head = TestMemoryHead(spec, 0);
  MemoryScratch scratch;
  for (int64_t token = 0; token < 2 * spec.chunk_len; ++token) {
    SCOPED_TRACE(token);
    EXPECT_GE(head.state_bytes(), MemoryStateBytes(spec));
    EXPECT_LE(2 * head.state_bytes(), MemoryReservedBytes(spec));
    EXPECT_LE(static_cast<int64_t>(SaveMemoryHead(head).size()),
              MaxSavedMemoryBytes(spec));
    const WriteMemoryRequest row = TestMemoryWrite("", share, token, 1);
    MemoryRows rows;
    rows.num_rows = 1;
    rows.keys = row.keys.data();
    rows.values = row.values.data();
    rows.row_stride = spec.head_dim;
    rows.theta = row.theta.data();
    rows.eta = row.eta.data();
    rows.alpha = row.alpha.data();
    ASSERT_TRUE(head.Write(rows, kernels, scratch).ok());
  }
  EXPECT_EQ(head.state_bytes(), MemoryStateBytes(spec));
}

}  // namespace
}  // namespace headwise
