// Builds that differ read each other's messages: what a field or an enum's
// value has been in a release, and so in tests/golden/wire_fields.txt, it
// stays.

#include <algorithm>
#include <fstream>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "google/protobuf/descriptor.h"
#include "gtest/gtest.h"
#include "headwise/v1/admin.pb.h"
#include "headwise/v1/attention.pb.h"
#include "headwise/v1/calibration.pb.h"
#include "headwise/v1/inference.pb.h"
#include "headwise/v1/neural_memory.pb.h"
#include "headwise/v1/plans.pb.h"
#include "headwise/v1/selection.pb.h"
#include "headwise/v1/sessions.pb.h"
#include "headwise/worker/v1/attention_worker.pb.h"
#include "headwise/worker/v1/memory_worker.pb.h"
#include "headwise/worker/v1/worker.pb.h"

namespace headwise {
namespace {

namespace pb = google::protobuf;

// "field MESSAGE NUMBER NAME LABEL TYPE", "value ENUM NUMBER NAME".
std::string LineOf(const pb::FieldDescriptor& field) {
  std::string type = field.type_name();
  if (field.message_type() != nullptr) type = field.message_type()->full_name();
  if (field.enum_type() != nullptr) type = field.enum_type()->full_name();
  return absl::StrCat("field ", field.containing_type()->full_name(), " ",
                      field.number(), " ", field.name(),
                      field.is_repeated() ? " repeated " : " one ", type);
}

class WireFieldsTest : public testing::Test {
 protected:
  WireFieldsTest() {
    for (const pb::Descriptor* one :
         {v1::HeadMap::descriptor(), v1::OpenSessionRequest::descriptor(),
          v1::CalibrateRequest::descriptor(), v1::Model::descriptor(),
          v1::MemorySpec::descriptor(), v1::HeadPlan::descriptor(),
          v1::PlanInfo::descriptor(), v1::SelectionJob::descriptor(),
          v1::PromptSession::descriptor(),
          worker::v1::OpenPartRequest::descriptor(),
          worker::v1::MemorySpec::descriptor(),
          worker::v1::StepRequest::descriptor()}) {
      const pb::FileDescriptor& file = *one->file();
      for (int i = 0; i < file.message_type_count(); ++i) {
        Add(*file.message_type(i));
      }
      for (int i = 0; i < file.enum_type_count(); ++i) Add(*file.enum_type(i));
    }
    std::ifstream golden(std::string(HEADWISE_SOURCE_DIR) +
                         "/tests/golden/wire_fields.txt");
    for (std::string line; std::getline(golden, line);) golden_.insert(line);
  }

  void Add(const pb::Descriptor& message) {
    messages_.push_back(&message);
    for (int i = 0; i < message.field_count(); ++i) {
      lines_.insert(LineOf(*message.field(i)));
    }
    for (int i = 0; i < message.nested_type_count(); ++i) {
      Add(*message.nested_type(i));
    }
    for (int i = 0; i < message.enum_type_count(); ++i) {
      Add(*message.enum_type(i));
    }
  }
  void Add(const pb::EnumDescriptor& type) {
    for (int i = 0; i < type.value_count(); ++i) {
      lines_.insert(absl::StrCat("value ", type.full_name(), " ",
                                 type.value(i)->number(), " ",
                                 type.value(i)->name()));
    }
  }

  std::vector<const pb::Descriptor*> messages_;
  std::set<std::string> lines_;
  std::set<std::string> golden_;
};

TEST_F(WireFieldsTest, WhatWasReleasedStays) {
  ASSERT_GT(golden_.size(), 500u);
  for (const std::string& line : golden_) {
    EXPECT_EQ(lines_.count(line), 1u)
        << line << "\nAnother build still sends and reads it: leave it, and "
        << "add what is to replace it";
  }
}

// Else they would lie elsewhere in the bytes that crc32c is of (worker.proto).
TEST_F(WireFieldsTest, NewFieldsOfWorkersComeAfterAllOthers) {
  for (const pb::Descriptor* message : messages_) {
    if (message->file()->package() != "headwise.worker.v1") continue;
    int last_released = 0;
    int first_new = pb::FieldDescriptor::kMaxNumber;
    for (int i = 0; i < message->field_count(); ++i) {
      const pb::FieldDescriptor& field = *message->field(i);
      if (field.name() == "crc32c") continue;
      if (golden_.count(LineOf(field)) > 0) {
        last_released = std::max(last_released, field.number());
      } else {
        first_new = std::min(first_new, field.number());
      }
    }
    EXPECT_LT(last_released, first_new) << message->full_name();
  }
}

}  // namespace
}  // namespace headwise
