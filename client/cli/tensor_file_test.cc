#include "client/cli/tensor_file.h"

#include <string>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

// What numpy.save writes for numpy.zeros((2, 3), "float16").
std::string HalfFile() {
  std::string header =
      "{'descr': '<f2', 'fortran_order': False, 'shape': (2, 3), }";
  header.append(118 - header.size() - 1, ' ');
  header += '\n';
  return std::string("\x93NUMPY\x01\x00\x76\x00", 10) + header +
         std::string(12, '\0');
}

TEST(TensorFileTest, WhatNumpyWritesIsRead) {
  const auto tensor = ParseNpy(HalfFile());
  ASSERT_TRUE(tensor.ok()) << tensor.status();
  EXPECT_EQ(tensor->dtype, "f2");
  EXPECT_THAT(tensor->shape, ElementsAre(2, 3));
  EXPECT_EQ(tensor->bytes, std::string(12, '\0'));
}

TEST(TensorFileTest, WhatIsWrittenComesBack) {
  for (const std::vector<int64_t>& shape :
       {std::vector<int64_t>{4, 2, 1}, std::vector<int64_t>{8}}) {
    const std::string header = NpyHeader(shape);
    EXPECT_EQ(header.size() % 64, 0u);
    const auto tensor = ParseNpy(header + std::string(32, 'x'));
    ASSERT_TRUE(tensor.ok()) << tensor.status();
    EXPECT_EQ(tensor->dtype, "f4");
    EXPECT_EQ(tensor->shape, shape);
    EXPECT_EQ(tensor->bytes, std::string(32, 'x'));
  }
}

TEST(TensorFileTest, FilesThatAreNoneAreRefused) {
  const auto message = [](std::string file) {
    const auto tensor = ParseNpy(file);
    EXPECT_EQ(tensor.status().code(), StatusCode::kInvalidArgument);
    return std::string(tensor.status().message());
  };
  EXPECT_THAT(message(""), HasSubstr("does not begin as one"));
  EXPECT_THAT(message("\x93NUMPY\x01"), HasSubstr("does not begin as one"));
  std::string file = HalfFile();
  file[6] = 9;
  EXPECT_THAT(message(file), HasSubstr("version 9"));
  file = HalfFile();
  file[9] = '\x7f';
  EXPECT_THAT(message(file), HasSubstr("a header of 32630 bytes"));
  EXPECT_THAT(message(HalfFile() + "?"),
              HasSubstr("13 bytes of data, its shape has 12"));
  file = HalfFile();
  file.replace(file.find("<f2"), 3, "<f8");
  EXPECT_THAT(message(file), HasSubstr("float32 or float16 in C order"));
  file = HalfFile();
  file.replace(file.find("(2, 3)"), 6, "(9999)");
  EXPECT_THAT(message(file), HasSubstr("its shape has 19998"));
  EXPECT_EQ(ReadTensorFile("/nowhere/x.npy").status().code(),
            StatusCode::kNotFound);
}

}  // namespace
}  // namespace headwise
