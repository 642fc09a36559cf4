// A test with a session's tensors, and what its answers are compared by.

#ifndef HEADWISE_SERVER_ATTENTION_ATTENTION_SESSIONS_FIXTURE_H_
#define HEADWISE_SERVER_ATTENTION_ATTENTION_SESSIONS_FIXTURE_H_

#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "server/attention/attention_fixture.h"

namespace headwise {

inline constexpr int64_t kUnits = 3;
inline constexpr int64_t kGroup = 2;
inline constexpr int64_t kHeads = kUnits * kGroup;
inline constexpr int64_t kDim = 16;
inline constexpr int64_t kLength = 20'000;  // 16 short ranges and 2 long ones

class AttentionSessionsTest : public testing::Test {
 protected:
  static AttentionConfig Config() {
    return TestConfig(kUnits, kGroup, kDim, 30'000);
  }

  // One of each that attends by its policy.
  static std::vector<UnitPolicy> PoliciesThatChoose() {
    return {{.kind = PolicyKind::kRazor,
             .num_sinks = 70,
             .window = 500,
             .full_prompt = false},
            {.kind = PolicyKind::kQuest,
             .chunk_len = 64,
             .num_chunks = 5,
             .per_query_head = true},
            {.kind = PolicyKind::kLandmarkOracle,
             .chunk_len = 512,
             .num_chunks = 3}};
  }

  std::string Open(TestCluster& cluster, const AttentionConfig& config) {
    const auto info = cluster.sessions().Open(caller_, config);
    EXPECT_TRUE(info.ok()) << info.status();
    return info.ok() ? info->session_id : "";
  }
  void Fill(TestCluster& cluster, const std::string& id, int64_t end,
            int64_t chunk = 5000, int64_t begin = 0) {
    for (; begin < end; begin += chunk) {
      const ChunkOf part(keys_, values_, begin, std::min(begin + chunk, end));
      const auto stored = cluster.sessions().Append(caller_, id, part.chunk());
      ASSERT_TRUE(stored.ok()) << stored.status();
      EXPECT_EQ(stored->stored_positions, std::min(begin + chunk, end));
    }
  }
  AttendQuery QueryOf(std::vector<int64_t> visible_end) const {
    return {.query_len = static_cast<int64_t>(visible_end.size()),
            .queries = query_bytes_[visible_end.size()],
            .visible_end = std::move(visible_end)};
  }
  absl::StatusOr<AttendAnswer> Attend(TestCluster& cluster,
                                      const std::string& id,
                                      std::vector<int64_t> visible_end) {
    return cluster.sessions().Attend(caller_, id,
                                     QueryOf(std::move(visible_end)));
  }
  static std::string HashOf(const AttendAnswer& answer) {
    const std::string all =
        answer.output +
        BytesOf(answer.lse.data(), static_cast<int64_t>(answer.lse.size()));
    return Sha256Hex(
        Sha256Of({reinterpret_cast<const uint8_t*>(all.data()), all.size()}));
  }

  const Caller caller_;
  const RandomTensor keys_{kLength, kUnits, kDim, 1};
  const RandomTensor values_{kLength, kUnits, kDim, 2};
  const RandomTensor queries_{16, kHeads, kDim, 3};
  // The first n rows, by n.
  const std::vector<std::string> query_bytes_ = [this] {
    std::vector<std::string> bytes;
    for (int64_t n = 0; n <= 16; ++n) {
      bytes.push_back(BytesOf(queries_.data.data(), n * kHeads * kDim));
    }
    return bytes;
  }();
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_ATTENTION_ATTENTION_SESSIONS_FIXTURE_H_
