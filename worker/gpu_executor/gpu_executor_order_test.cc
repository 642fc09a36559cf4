// No kernel of a step may hang on the order in which threads and blocks run: on
// a GPU there is none.

#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "worker/backends/cuda/host_device.h"
#include "worker/executor/executor_plan_fixture.h"
#include "worker/gpu_executor/gpu_executor.h"

namespace headwise {
namespace {

TEST(GpuExecutorOrderTest, TheLastThreadFirstGivesTheSameBits) {
  TinyModelOptions model_options = ModelOptions();
  model_options.num_heads = 9;  // three a KV head
  model_options.head_dim = 32;
  model_options.dtype = DType::kQ4_1;
  model_options.embedding_dtype = DType::kQ8_0;
  const TinyModel model(model_options);
  const std::vector<int32_t> tokens = SomeTokens(600);
  for (const KvType kv_type : {KvType::kFp16, KvType::kInt8}) {
    const ExecutorOptions options = Options(1, Isa::kAvx2, kv_type);
    Cluster cpu(*model, 1, options);
    cuda::HostDevice device(int64_t{1} << 30);
    device.RunBackwards();
    Cluster backwards(*model, 1, options, {},
                      [&device](const Model& of, int, Shard shard,
                                const ExecutorOptions& its_options) {
                        return CreateGpuExecutor(of, std::move(shard),
                                                 its_options, device, nullptr);
                      });
    EXPECT_EQ(ScoreIn(backwards, tokens, 130, 3), ScoreIn(cpu, tokens, 600, 0));
  }
}

}  // namespace
}  // namespace headwise
