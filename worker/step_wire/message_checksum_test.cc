#include "worker/step_wire/message_checksum.h"

#include <string>

#include "gtest/gtest.h"
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
  EXPECT_TRUE(CheckChecksum(Request()).ok());
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

// Each bit of the bytes on the wire: unreadable, or found, or of no meaning.
TEST(MessageChecksumTest, NoFlippedBitPassesForAnotherStep) {
  const worker::v1::StepRequest sent = Request();
  const std::string bytes = sent.SerializeAsString();
  int num_found = 0;
  for (size_t bit = 0; bit < 8 * bytes.size(); ++bit) {
    std::string flipped = bytes;
    flipped[bit / 8] = static_cast<char>(flipped[bit / 8] ^ (1 << (bit % 8)));
    worker::v1::StepRequest request;
    if (!request.ParseFromString(flipped)) continue;
    if (!CheckChecksum(request).ok()) {
      ++num_found;
      continue;
    }
    EXPECT_EQ(request.SerializeAsString(), bytes) << "bit " << bit;
  }
  EXPECT_GT(num_found, static_cast<int>(bytes.size()));
}

}  // namespace
}  // namespace headwise
