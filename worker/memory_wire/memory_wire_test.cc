#include "worker/memory_wire/memory_wire.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "worker/memory_parts/memory_fixture.h"

namespace headwise {
namespace {

TEST(MemoryWireTest, AShareComesBackAsItWas) {
  OpenMemoryRequest request = {"id", {TestMemorySpec(), 3, 2}};
  MemorySpec& spec = request.share.spec;
  spec.activation = MemoryActivation::kGelu;
  spec.norm = MemoryNorm::kRms;
  spec.residual = false;
  spec.rule = MemoryRule::kChunk;
  spec.loss_scale = 0.25f;
  spec.max_norm = 77.0f;
  worker::v1::OpenMemoryRequest wire;
  WriteOpenMemory(request, &wire);
  const auto parsed = ParseOpenMemory(wire);
  ASSERT_TRUE(parsed.ok()) << parsed.status();
  EXPECT_EQ(parsed->memory_id, "id");
  EXPECT_EQ(parsed->share.first_head, 3);
  EXPECT_EQ(parsed->share.num_heads, 2);
  const MemorySpec& got = parsed->share.spec;
  EXPECT_EQ(got.head_dim, spec.head_dim);
  EXPECT_EQ(got.num_layers, spec.num_layers);
  EXPECT_EQ(got.hidden_dim, spec.hidden_dim);
  EXPECT_EQ(got.activation, spec.activation);
  EXPECT_EQ(got.norm, spec.norm);
  EXPECT_EQ(got.residual, spec.residual);
  EXPECT_EQ(got.rule, spec.rule);
  EXPECT_EQ(got.chunk_len, spec.chunk_len);
  EXPECT_EQ(got.loss_scale, spec.loss_scale);
  EXPECT_EQ(got.max_norm, spec.max_norm);
}

TEST(MemoryWireTest, EnumsThatAreNoneAreRefusedByName) {
  worker::v1::OpenMemoryRequest wire;
  WriteOpenMemory({"id", {TestMemorySpec(), 0, 1}}, &wire);
  wire.mutable_spec()->set_norm(3);
  const auto parsed = ParseOpenMemory(wire);
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(parsed.status().message()),
              testing::HasSubstr("norm: 3, allowed 0 to 2"));
}

TEST(MemoryWireTest, RowsAndResultsComeBackAsTheyWere) {
  WriteMemoryRequest request =
      TestMemoryWrite("id", {TestMemorySpec(), 0, 2}, 0, 3);
  request.version = 5;
  request.next_version = 6;
  worker::v1::WriteMemoryRequest wire;
  WriteWriteMemory(request, &wire);
  const WriteMemoryRequest parsed = ParseWriteMemory(wire);
  EXPECT_EQ(parsed.memory_id, "id");
  EXPECT_EQ(parsed.version, 5);
  EXPECT_EQ(parsed.next_version, 6);
  EXPECT_EQ(parsed.num_rows, 3);
  EXPECT_EQ(parsed.keys, request.keys);
  EXPECT_EQ(parsed.values, request.values);
  EXPECT_EQ(parsed.queries, request.queries);
  EXPECT_EQ(parsed.theta, request.theta);
  EXPECT_EQ(parsed.eta, request.eta);
  EXPECT_EQ(parsed.alpha, request.alpha);

  worker::v1::WriteMemoryResponse response;
  WriteWriteResult({{1.0f, 2.0f}, {3.0f}}, &response);
  EXPECT_EQ(ParseWriteResult(response).outputs,
            (std::vector<float>{1.0f, 2.0f}));
  EXPECT_EQ(ParseWriteResult(response).surprise, std::vector<float>{3.0f});

  worker::v1::ReadMemoryRequest read;
  WriteReadMemory({"id", 7, 1, {4.0f}}, &read);
  EXPECT_EQ(ParseReadMemory(read).version, 7);
  EXPECT_EQ(ParseReadMemory(read).num_rows, 1);
  EXPECT_EQ(ParseReadMemory(read).queries, std::vector<float>{4.0f});
}

}  // namespace
}  // namespace headwise
