#include "client/cli/bench_memory_model.h"

#include <unistd.h>

#include <filesystem>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "base/sha256.h"
#include "client/cli/embedded_cluster.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "model/files/test_titans.h"

namespace headwise {
namespace {

constexpr RecallTask kTask = {
    .text = {0, 256}, .keys = {256, 288}, .values = {288, 320}};
constexpr char kHaystack[] = "A text that is read again and again. ";

class OneToken final : public RequestSink {
 public:
  bool OnToken(const SliceResult& outcome) override {
    token = outcome.token;
    return true;
  }
  void OnFinished(const absl::Status&, const RequestUsage&) override {
    done.Notify();
  }
  int32_t token = -1;
  absl::Notification done;
};

// A tiny model in a folder of its own, on workers in this process.
class BenchMemoryModelTest : public testing::Test {
 protected:
  BenchMemoryModelTest()
      : folder_(absl::StrCat(testing::TempDir(), "/memory_model_", getpid())) {
    std::filesystem::create_directories(folder_);
    EXPECT_TRUE(WriteTinyFolder({}, /*num_shards=*/1, folder_).ok());
    Open(/*num_workers=*/1);
  }
  ~BenchMemoryModelTest() override { std::filesystem::remove_all(folder_); }

  void Open(int num_workers) {
    EmbeddedClusterOptions options;
    options.model_path = folder_;
    options.num_workers = num_workers;
    options.threads = 1;
    options.kv_capacity_bytes = 16 << 20;
    cluster_ = EmbeddedCluster::Create(options).value();
  }

  static MemoryModelOptions Options() {
    return {.haystack = kHaystack,
            .context_lens = {200, 64},
            .num_needles = 3,
            .spread = 32};
  }

  std::vector<MemoryBenchRow> Run(const MemoryModelOptions& options) {
    return RunMemoryModel(cluster_->engine(), kTask, options,
                          [this] {
                            int64_t bytes = 0;
                            for (const int64_t rank : cluster_->kv_bytes_used())
                              bytes += rank;
                            return bytes;
                          })
        .value();
  }

  int32_t Answer(std::vector<int32_t> prompt) {
    EngineRequest request;
    request.prompt = std::move(prompt);
    request.max_new_tokens = 1;
    const auto sink = std::make_shared<OneToken>();
    EXPECT_TRUE(cluster_->engine().Submit(std::move(request), sink).ok());
    sink->done.WaitForNotification();
    return sink->token;
  }

  bool HoldsNothing() const {
    const absl::Time end = absl::Now() + absl::Seconds(20);
    while (absl::Now() < end) {
      const EngineStats stats = cluster_->engine().stats();
      if (stats.held + stats.running + stats.waiting == 0) return true;
      absl::SleepFor(absl::Milliseconds(1));
    }
    return false;
  }

  const std::string folder_;
  std::unique_ptr<EmbeddedCluster> cluster_;
};

TEST_F(BenchMemoryModelTest, AnswersAreThoseOfWholePrompts) {
  MemoryModelOptions options = Options();
  options.depths = {0.5, 0};
  options.num_seeds = 2;
  const std::vector<MemoryBenchRow> rows = Run(options);
  ASSERT_EQ(rows.size(), 4u);
  for (size_t i = 0; i < rows.size(); ++i) {
    const MemoryBenchRow& row = rows[i];
    EXPECT_EQ(row.depth, i < 2 ? 0 : 0.5);
    EXPECT_EQ(row.context, i % 2 == 0 ? 64 : 200);
    EXPECT_EQ(row.num_tests, 6);
    EXPECT_GT(row.tokens_per_second, 0);
    // Of two layers and two units: 64 positions of keys and values in fp16.
    const int64_t num_blocks = (row.context + 32 + 63) / 64;
    EXPECT_EQ(row.state_bytes, num_blocks * 2 * 2 * 64 * 2 * 16 * 2);
    int64_t hits = 0;
    Sha256 outputs;
    for (const uint64_t seed : {1, 2}) {
      const RecallText text = MakeRecallText(kTask, kHaystack,
                                             {.num_needles = 3,
                                              .context_len = row.context,
                                              .depth = row.depth,
                                              .spread = 32,
                                              .seed = seed});
      for (const RecallPair& pair : text.pairs) {
        std::vector<int32_t> prompt = text.tokens;
        prompt.push_back(pair.key);
        const int32_t token = Answer(std::move(prompt));
        hits += token == pair.value ? 1 : 0;
        outputs.Update(
            {reinterpret_cast<const uint8_t*>(&token), sizeof(token)});
      }
    }
    EXPECT_EQ(row.num_hits, hits);
    EXPECT_EQ(row.outputs_sha256, Sha256Hex(outputs.Finish()));
  }
  EXPECT_TRUE(HoldsNothing());
}

TEST_F(BenchMemoryModelTest, BitsDoNotDependOnWorkersAndProgressRises) {
  std::vector<double> progress;
  MemoryModelOptions options = Options();
  options.on_progress = [&](double fraction) { progress.push_back(fraction); };
  const std::vector<MemoryBenchRow> one = Run(options);
  EXPECT_TRUE(std::is_sorted(progress.begin(), progress.end()));
  EXPECT_NEAR(progress.back(), 1.0, 1e-9);
  Open(/*num_workers=*/2);
  const std::vector<MemoryBenchRow> two = Run(Options());
  for (size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(one[i].outputs_sha256, two[i].outputs_sha256);
    EXPECT_EQ(one[i].state_bytes, two[i].state_bytes);
  }
}

TEST_F(BenchMemoryModelTest, StateOfATitansModelIsAsLargeAtAnyLength) {
  cluster_.reset();
  EXPECT_TRUE(WriteTinyFolder(TinyTitansOptions(TitansVariant::kLmm),
                              /*num_shards=*/1, folder_)
                  .ok());
  Open(/*num_workers=*/2);
  MemoryModelOptions options = Options();
  options.context_lens = {64, 128, 448};
  const std::vector<MemoryBenchRow> rows = Run(options);
  EXPECT_GT(rows[0].state_bytes, 0);
  EXPECT_EQ(rows[1].state_bytes, rows[0].state_bytes);
  EXPECT_EQ(rows[2].state_bytes, rows[0].state_bytes);
}

TEST_F(BenchMemoryModelTest, ErrorsAreNamedAndNothingStaysHeld) {
  MemoryModelOptions options = Options();
  options.num_needles = 17;
  const auto run = [&] {
    return RunMemoryModel(cluster_->engine(), kTask, options,
                          [] { return int64_t{0}; })
        .status();
  };
  EXPECT_THAT(std::string(run().message()),
              testing::StartsWith("needles: 17 is outside [1, 16]"));
  options = Options();
  options.context_lens = {64, 5000};  // the model has 512 positions
  EXPECT_EQ(run().code(), absl::StatusCode::kOutOfRange);
  EXPECT_TRUE(HoldsNothing());
}

}  // namespace
}  // namespace headwise
