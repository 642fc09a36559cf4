#include "base/mapped_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::HasSubstr;

class MappedFileTest : public testing::Test {
 protected:
  MappedFileTest() {
    std::string path = testing::TempDir() + "mapped_file_XXXXXX";
    EXPECT_NE(mkdtemp(path.data()), nullptr);
    folder_ = path;
  }
  ~MappedFileTest() override {
    unlink(path("file").c_str());
    rmdir(folder_.c_str());
  }
  std::string path(const std::string& name) const {
    return folder_ + "/" + name;
  }
  std::string Write(const std::string& text) const {
    std::ofstream(path("file"), std::ios::binary) << text;
    return path("file");
  }
  static void ExpectError(const std::string& path, absl::StatusCode code) {
    const absl::Status status = MappedFile::Open(path).status();
    EXPECT_EQ(status.code(), code) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(path));
  }

  std::string folder_;
};

TEST_F(MappedFileTest, MapsTheBytesAlsoAfterTheirPagesWereDropped) {
  const std::string text(10'000, 'x');
  const auto file = MappedFile::Open(Write(text));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ((*file)->path(), path("file"));
  for (int i = 0; i < 2; ++i) {
    const absl::Span<const uint8_t> bytes = (*file)->bytes();
    EXPECT_EQ(std::string(bytes.begin(), bytes.end()), text);
    (*file)->DropPages();
  }
}

TEST_F(MappedFileTest, AnEmptyFileIsAnEmptySpan) {
  const auto file = MappedFile::Open(Write(""));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_TRUE((*file)->bytes().empty());
  (*file)->DropPages();
}

TEST_F(MappedFileTest, WhatIsNoRegularFileIsAnInvalidArgument) {
  ExpectError(folder_, absl::StatusCode::kInvalidArgument);
  ExpectError("/dev/null", absl::StatusCode::kInvalidArgument);
}

// Nobody writes to it: without O_NONBLOCK this does not return.
TEST_F(MappedFileTest, AFifoIsRefusedAtOnce) {
  ASSERT_EQ(mkfifo(path("file").c_str(), 0600), 0);
  ExpectError(path("file"), absl::StatusCode::kInvalidArgument);
}

TEST_F(MappedFileTest, OtherErrorsAreThoseOfTheSystem) {
  ExpectError(path("none"), absl::StatusCode::kNotFound);
  ExpectError(Write("x") + "/below", absl::StatusCode::kFailedPrecondition);
}

}  // namespace
}  // namespace headwise
