#include "server/frontends/attention_wire.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

v1::OpenSessionRequest Request() {
  v1::OpenSessionRequest request;
  request.set_num_heads(4);
  request.set_num_kv_heads(2);
  request.set_head_dim(16);
  request.set_max_positions(1000);
  return request;
}

TEST(AttentionWireTest, PoliciesComeBackAsTheyWereAskedFor) {
  v1::OpenSessionRequest request = Request();
  v1::AttentionPolicy& razor = *request.add_policies();
  razor.set_kind("razor");
  razor.set_num_sinks(4);
  razor.set_window(100);
  razor.set_count_weight(false);
  v1::AttentionPolicy& quest = *request.add_policies();
  quest.set_kind("quest");
  quest.set_num_chunks(4);
  quest.set_per_query_head(true);
  const auto config = ParseOpenSession(request);
  ASSERT_TRUE(config.ok()) << config.status();
  ASSERT_EQ(config->policies.size(), 2u);
  EXPECT_EQ(config->policies[0], (UnitPolicy{.kind = PolicyKind::kRazor,
                                             .num_sinks = 4,
                                             .window = 100,
                                             .count_weight = false,
                                             .full_prompt = false}));
  v1::OpenSessionRequest out;
  WriteConfig(*config, &out);
  ASSERT_EQ(out.policies_size(), 2);
  EXPECT_EQ(out.policies(0).SerializeAsString(), razor.SerializeAsString());
  quest.set_chunk_len(64);  // filled in
  EXPECT_EQ(out.policies(1).SerializeAsString(), quest.SerializeAsString());
}

TEST(AttentionWireTest, OnePolicyIsForAllHeads) {
  v1::OpenSessionRequest request = Request();
  EXPECT_EQ(ParseOpenSession(request)->policies,
            std::vector<UnitPolicy>(2, UnitPolicy()));
  v1::AttentionPolicy& policy = *request.add_policies();
  policy.set_kind("landmark-oracle");
  policy.set_chunk_len(128);
  policy.set_num_chunks(3);
  const auto config = ParseOpenSession(request);
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_EQ(config->policies[0].kind, PolicyKind::kLandmarkOracle);
  EXPECT_EQ(config->policies[1], config->policies[0]);
}

TEST(AttentionWireTest, BadPoliciesAreNamedWithTheirFields) {
  const auto message = [](const char* kind, int64_t chunk_len, int64_t window) {
    v1::OpenSessionRequest request = Request();
    v1::AttentionPolicy& policy = *request.add_policies();
    policy.set_kind(kind);
    policy.set_num_chunks(4);
    policy.set_chunk_len(chunk_len);
    policy.set_window(window);
    return std::string(ParseOpenSession(request).status().message());
  };
  EXPECT_THAT(message("quest", 128, 0), HasSubstr("policies[0]: chunk_len"));
  EXPECT_THAT(message("landmark-oracle", 0, 0), HasSubstr("chunk_len: 0"));
  EXPECT_THAT(message("quest", 64, 5), HasSubstr("policies[0]: window"));
  EXPECT_THAT(message("razor", 64, 5), HasSubstr("policies[0]: chunk_len"));
  EXPECT_THAT(
      message("longheads", 64, 0),
      HasSubstr("policies[0]: policy longheads renumbers positions, but "
                "a session's keys come as the caller has rotated"));
  EXPECT_THAT(message("best", 64, 0), HasSubstr("no policy is called"));
}

}  // namespace
}  // namespace headwise
