// NCCL itself, as far as a machine without a GPU has it.

#include "worker/collectives/nccl_communicator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>

namespace headwise {
namespace {

TEST(NcclOfferTest, AGpuThatIsNotThereHasNone) {
  const absl::Status status = OfferNccl(1 << 20).status();
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("PCI address of GPU 1048576"));
}

TEST(NcclCommunicatorTest, AGpuThatIsNotThereIsNamed) {
  const absl::Status status = OpenNcclCommunicator(1 << 20, 1024).status();
  const std::string message(status.message());
  if (absl::IsInvalidArgument(status)) {  // this machine has some
    EXPECT_THAT(message, testing::HasSubstr("GPU 1048576 is not there"));
  } else {
    EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
    EXPECT_THAT(message, testing::HasSubstr("looking for GPUs"));
  }
}

}  // namespace
}  // namespace headwise
