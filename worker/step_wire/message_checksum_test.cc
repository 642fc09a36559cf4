#include "worker/step_wire/message_checksum.h"

#include <string>
#include <vector>

#include "google/protobuf/message.h"
#include "google/protobuf/unknown_field_set.h"
#include "gtest/gtest.h"
#include "headwise/worker/v1/attention_worker.pb.h"
#include "headwise/worker/v1/memory_worker.pb.h"
#include "headwise/worker/v1/worker.pb.h"
#include "worker/step_wire/step_wire.h"

namespace headwise {
namespace {

worker::v1::StepRequest Request() {
  Step step;
  step.step_id = 7;
  step.slices.resize(2);
  step.slices[0].sequence_id = 3;
  step.slices[0].tokens = {1, 200, 30'000};
  step.slices[1].sequence_id = 4;
  step.slices[1].tokens = {5};
  step.slices[1].sample = true;
  step.slices[1].sampling.temperature = 0.5f;
  step.free_sequence_ids = {1, 2};
  worker::v1::StepRequest request;
  WriteStep(1'700'000'000'000, step, &request);
  return request;
}

TEST(MessageChecksumTest, WhatIsWrittenIsWhole) {
  worker::v1::StepRequest request = Request();
  EXPECT_TRUE(CheckChecksum(request).ok());
  worker::v1::StepResponse answer;
  WriteStepAnswer({.membership_epoch = 1, .step_id = 2, .result = StepResult()},
                  &answer);
  EXPECT_TRUE(CheckChecksum(answer).ok());
  WriteStepAnswer({.membership_epoch = 1,
                   .step_id = 2,
                   .result = absl::InternalError("why")},
                  &answer);
  EXPECT_TRUE(CheckChecksum(answer).ok());
}

TEST(MessageChecksumTest, WithoutAChecksumItIsRefused) {
  worker::v1::StepRequest request = Request();
  request.clear_crc32c();
  EXPECT_EQ(CheckChecksum(request).code(), absl::StatusCode::kInternal);
}

google::protobuf::UnknownFieldSet& UnknownOf(
    google::protobuf::Message* message) {
  return *message->GetReflection()->MutableUnknownFields(message);
}

// As from a writer of a later version, in its order of numbers: above ours, and
// on either side of crc32c.
TEST(MessageChecksumTest, FieldsThatAreNotKnownAreOfTheSum) {
  for (const int number : {14, 16, 3000}) {
    worker::v1::StepRequest sent = Request();
    sent.clear_crc32c();
    UnknownOf(sent.mutable_slices(0)).AddVarint(number, 5);
    UnknownOf(&sent).AddLengthDelimited(number, "later");
    const uint32_t sum = ChecksumOf(sent, sent.ByteSizeLong(), 0);
    std::string later;
    UnknownOf(&sent).SerializeToString(&later);
    UnknownOf(&sent).Clear();
    worker::v1::StepRequest crc;
    crc.set_crc32c(sum);
    const std::string bytes =
        number < 15
            ? sent.SerializeAsString() + later + crc.SerializeAsString()
            : sent.SerializeAsString() + crc.SerializeAsString() + later;
    worker::v1::StepRequest heard;
    ASSERT_TRUE(heard.ParseFromString(bytes));
    EXPECT_TRUE(CheckChecksum(heard).ok()) << number;
    const auto step = ParseStep(heard);
    ASSERT_TRUE(step.ok()) << step.status();
    EXPECT_EQ(step->slices[0].tokens, std::vector<int32_t>({1, 200, 30'000}));
    std::string flipped = bytes;
    flipped[flipped.find("later")] ^= 1;
    ASSERT_TRUE(heard.ParseFromString(flipped));
    EXPECT_FALSE(CheckChecksum(heard).ok()) << number;
  }
}

// Each bit of the bytes on the wire: unreadable, or found, or of no meaning.
template <typename Message>
void ExpectThatNoFlippedBitPasses(const Message& sent, uint32_t before) {
  const std::string bytes = sent.SerializeAsString();
  ASSERT_TRUE(CheckChecksum(sent, before).ok());
  int num_found = 0;
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    Message got;
    if (!got.ParseFromString(flipped)) continue;
    const absl::Status is_whole = CheckChecksum(got, before);
    if (!is_whole.ok()) {
      EXPECT_TRUE(IsChangedOnItsWay(is_whole)) << is_whole;
      ++num_found;
      continue;
    }
    EXPECT_EQ(got.SerializeAsString(), bytes) << "bit " << bit;
  }
  EXPECT_GT(num_found, static_cast<int>(bytes.size()));
}

TEST(MessageChecksumTest, NoFlippedBitPassesForAnotherStep) {
  ExpectThatNoFlippedBitPasses(Request(), 0);
}

worker::v1::AttendPartRequest Attend() {
  worker::v1::AttendPartRequest request;
  request.set_session_id("session");
  request.set_length(9);
  request.add_visible_end(9);
  worker::v1::UnitQueries& unit = *request.add_units();
  for (const float query : {0.5f, -1.0f, 0.0f}) unit.add_queries(query);
  WriteChecksum(&request);
  return request;
}

TEST(MessageChecksumTest, NoFlippedBitPassesForAnotherQueryOrItsAnswer) {
  const worker::v1::AttendPartRequest request = Attend();
  ExpectThatNoFlippedBitPasses(request, 0);
  worker::v1::AttendPartResponse answer;
  worker::v1::RangePartial& part = *answer.add_units()->add_parts();
  part.add_out(0.25f);
  part.add_lse(-3.0f);
  WriteChecksum(&answer, request.crc32c());
  ExpectThatNoFlippedBitPasses(answer, request.crc32c());
}

TEST(MessageChecksumTest, NoFlippedBitPassesForAnotherWriteToAMemory) {
  worker::v1::WriteMemoryRequest request;
  request.set_memory_id("memory");
  request.set_version(3);
  request.set_next_version(4);
  request.set_num_rows(1);
  for (const float key : {0.5f, -1.0f}) request.add_keys(key);
  for (const float value : {1.5f, 2.0f}) request.add_values(value);
  request.add_theta(0.1f);
  request.add_eta(0.9f);
  request.add_alpha(0.0f);
  WriteChecksum(&request);
  ExpectThatNoFlippedBitPasses(request, 0);
  worker::v1::WriteMemoryResponse answer;
  answer.add_surprise(0.75f);
  WriteChecksum(&answer, request.crc32c());
  ExpectThatNoFlippedBitPasses(answer, request.crc32c());
}

// A flipped header calls another method, whose message has the same bytes.
TEST(MessageChecksumTest, TheBytesOfAnotherTypeAreRefused) {
  worker::v1::ProbePartRequest probe;
  ASSERT_TRUE(probe.ParseFromString(Attend().SerializeAsString()));
  EXPECT_FALSE(CheckChecksum(probe).ok());
  worker::v1::RenewRequest renew;
  renew.add_session_ids("session");
  WriteChecksum(&renew);
  worker::v1::DeletePartRequest end;
  ASSERT_TRUE(end.ParseFromString(renew.SerializeAsString()));
  EXPECT_FALSE(CheckChecksum(end).ok());
}

// A flipped stream number brings one call's answer to another.
TEST(MessageChecksumTest, AnAnswerIsToItsOwnRequest) {
  worker::v1::PartBytes answer;
  answer.set_reserved_bytes(4096);
  WriteChecksum(&answer, /*before=*/5);
  EXPECT_TRUE(CheckChecksum(answer, 5).ok());
  EXPECT_FALSE(CheckChecksum(answer, 6).ok());
  EXPECT_FALSE(CheckChecksum(answer).ok());
}

// Longer than the pieces that it is summed up in.
TEST(MessageChecksumTest, OfMegabytesTheLastBitCountsToo) {
  worker::v1::StageRequest request;
  request.set_session_id("session");
  request.add_pieces()->set_values(std::string(3'000'001, 'v'));
  WriteChecksum(&request);
  EXPECT_TRUE(CheckChecksum(request).ok());
  request.mutable_pieces(0)->mutable_values()->back() = 'w';
  EXPECT_FALSE(CheckChecksum(request).ok());
}

}  // namespace
}  // namespace headwise
