#include "proto/head_plan_codec.h"

#include <functional>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/head_plan/test_head_plans.h"

namespace headwise {
namespace {

TEST(HeadPlanCodecTest, EveryFieldComesBack) {
  for (const HeadPlan& plan : {EveryFieldPlan(), LandmarkPlan(),
                               FullPlan(1, 1, 1), FullPlan(30, 9, 3)}) {
    const absl::StatusOr<HeadPlan> read = DecodeHeadPlan(EncodeHeadPlan(plan));
    ASSERT_TRUE(read.ok()) << read.status();
    EXPECT_EQ(*read, plan);
  }
}

// Four bytes for a unit that is full, two for a head as trained.
TEST(HeadPlanCodecTest, DefaultsCostNothing) {
  EXPECT_EQ(EncodeHeadPlan(FullPlan(30, 9, 3)).size(),
            2 + 66 + 2 + 2 + 2 + 4 * 90 + 2 * 270u);
}

// "{" could not begin it, so the text form can be told apart.
TEST(HeadPlanCodecTest, BeginsWithTheVersion) {
  EXPECT_EQ(EncodeHeadPlan(EveryFieldPlan()).substr(0, 2), "\x08\x01");
}

void AddUnknownField(google::protobuf::Message* message, int number) {
  message->GetReflection()->MutableUnknownFields(message)->AddVarint(number, 1);
}

struct BadMessage {
  std::function<void(v1::HeadPlan&)> edit;
  std::string message;
};

TEST(HeadPlanCodecTest, WhatIsNotKnownIsRefusedByName) {
  using Plan = v1::HeadPlan;
  const std::vector<BadMessage> bad_messages = {
      {[](Plan& p) { p.set_version(0); }, "version: 0; this program reads 1"},
      {[](Plan& p) { p.set_version(2); }, "version: 2; this program reads 1"},
      {[](Plan& p) { p.mutable_units(3)->clear_kind(); },
       "units[3] kind: 0 is not known to version 1"},
      {[](Plan& p) {
         p.mutable_units(3)->set_kind(static_cast<v1::PolicyKind>(8));
       },
       "units[3] kind: 8 is not known to version 1"},
      {[](Plan& p) {
         p.mutable_units(3)->set_kind(static_cast<v1::PolicyKind>(-1));
       },
       "units[3] kind: -1 is not known to version 1"},
      {[](Plan& p) {
         p.mutable_units(3)->set_kv_type(static_cast<v1::PlanKvType>(5));
       },
       "units[3] kv_type: 5 is not known to version 1"},
      {[](Plan& p) {
         p.mutable_heads(4)->set_mask(static_cast<v1::HeadMask>(3));
       },
       "heads[4] mask: 3 is not known to version 1"},
      {[](Plan& p) { AddUnknownField(&p, 10); },
       "field 10 is not known to version 1"},
      {[](Plan& p) { AddUnknownField(p.mutable_units(0), 12); },
       "units[0] field 12 is not known to version 1"},
      {[](Plan& p) { AddUnknownField(p.mutable_heads(1), 5); },
       "heads[1] field 5 is not known to version 1"},
      {[](Plan& p) { p.mutable_units()->RemoveLast(); },
       "units: 11 entries; 4 layers of 3 kv heads are 12"},
      {[](Plan& p) { p.set_num_layers(int64_t{1} << 40); },
       "num_layers: 1099511627776 is outside [1, 1024]"},
      {[](Plan& p) { p.set_landmark_token(0); },
       "landmark_token: is set, but no unit has policy landmark"},
      {[](Plan& p) { p.mutable_units(0)->set_window(0); },
       "units[0] (layer 0, kv_head 0) window: 0 is outside [1, 1048576]"}};
  for (const BadMessage& bad : bad_messages) {
    Plan message;
    WriteHeadPlan(EveryFieldPlan(), &message);
    bad.edit(message);
    // Once over the wire, so that what is unknown is found there too.
    const absl::Status status =
        DecodeHeadPlan(message.SerializeAsString()).status();
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << bad.message;
    EXPECT_EQ(status.message(), bad.message);
  }
}

TEST(HeadPlanCodecTest, BytesThatAreNoMessageAreRefused) {
  const std::string bytes = EncodeHeadPlan(EveryFieldPlan());
  // A cut before the origin, the last field, leaves a plan without one.
  const size_t whole = bytes.size() - EveryFieldPlan().origin.size() - 2;
  for (size_t size = 0; size < bytes.size(); ++size) {
    EXPECT_EQ(DecodeHeadPlan(bytes.substr(0, size)).ok(), size == whole)
        << size;
  }
  EXPECT_EQ(DecodeHeadPlan("GGUF").status().message(),
            "not a head plan: neither JSON nor a headwise.v1.HeadPlan message");
  EXPECT_EQ(DecodeHeadPlan(std::string(kMaxHeadPlanBytes + 1, 'x'))
                .status()
                .message(),
            "the head plan has 4194305 bytes; the limit is 4194304");
}

// A message may be reused by its caller.
TEST(HeadPlanCodecTest, WritingReplacesWhatWasThere) {
  v1::HeadPlan message;
  WriteHeadPlan(EveryFieldPlan(), &message);
  WriteHeadPlan(FullPlan(1, 1, 1), &message);
  EXPECT_EQ(*ReadHeadPlan(message), FullPlan(1, 1, 1));
}

}  // namespace
}  // namespace headwise
