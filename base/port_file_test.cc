#include "base/port_file.h"

#include <unistd.h>

#include <fstream>
#include <iterator>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

TEST(PortFileTest, HoldsAPortALineAndLeavesNothingElse) {
  const std::string path =
      testing::TempDir() + "ports" + std::to_string(getpid());
  ASSERT_TRUE(WritePortFile(path, {7600, 7601}).ok());
  std::ifstream file(path);
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(file), {}),
            "7600\n7601\n");
  EXPECT_NE(access((path + ".tmp").c_str(), F_OK), 0);
  unlink(path.c_str());
}

TEST(PortFileTest, AnErrorNamesThePath) {
  const absl::Status status = WritePortFile("/nowhere/ports", {1});
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(std::string(status.message()),
              testing::HasSubstr("/nowhere/ports: No such file"));
}

}  // namespace
}  // namespace headwise
