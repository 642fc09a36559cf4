#include "tests/cluster/message_mutator.h"

#include <algorithm>
#include <limits>
#include <vector>

namespace headwise {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

constexpr uint32_t kMaxCopies = 2000;  // of an element of a list
constexpr size_t kLongText = 1 << 17;  // bytes

}  // namespace

void MessageMutator::Mutate(Message& message) {
  const uint32_t num_changes = 1 + Below(4);
  for (uint32_t i = 0; i < num_changes; ++i) MutateOne(message);
}

void MessageMutator::MutateOne(Message& message) {
  const google::protobuf::Descriptor& type = *message.GetDescriptor();
  if (type.field_count() == 0) return;
  const FieldDescriptor& field =
      *type.field(static_cast<int>(Below(type.field_count())));
  const Reflection& fields = *message.GetReflection();
  if (field.cpp_type() != FieldDescriptor::CPPTYPE_MESSAGE || Below(8) == 0) {
    return MutateField(message, field);
  }
  // Into it, mostly.
  if (!field.is_repeated()) {
    return MutateOne(*fields.MutableMessage(&message, &field));
  }
  const int size = fields.FieldSize(message, &field);
  if (size == 0) return Set(message, field);
  MutateOne(*fields.MutableRepeatedMessage(&message, &field,
                                           static_cast<int>(Below(size))));
}

void MessageMutator::MutateField(Message& message,
                                 const FieldDescriptor& field) {
  const Reflection& fields = *message.GetReflection();
  if (Below(6) == 0) return fields.ClearField(&message, &field);
  if (field.is_repeated()) return MutateList(message, field);
  Set(message, field);
}

void MessageMutator::MutateList(Message& message,
                                const FieldDescriptor& field) {
  const Reflection& fields = *message.GetReflection();
  const int size = fields.FieldSize(message, &field);
  switch (Below(4)) {
    case 0:
      if (size > 0) fields.RemoveLast(&message, &field);
      return;
    case 1:
      if (size > 1) {
        fields.SwapElements(&message, &field, static_cast<int>(Below(size)),
                            static_cast<int>(Below(size)));
      }
      return;
    case 2: {
      // Sometimes very many.
      const uint32_t copies = Below(10) == 0 ? kMaxCopies : 1 + Below(8);
      for (uint32_t i = 0; i < copies; ++i) Set(message, field);
      return;
    }
    default:
      return Set(message, field);
  }
}

void MessageMutator::Set(Message& message, const FieldDescriptor& field) {
  const Reflection& fields = *message.GetReflection();
  const bool adds = field.is_repeated();
  switch (field.cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32: {
      const auto value = static_cast<int32_t>(Integer());
      return adds ? fields.AddInt32(&message, &field, value)
                  : fields.SetInt32(&message, &field, value);
    }
    case FieldDescriptor::CPPTYPE_INT64: {
      const auto value = static_cast<int64_t>(Integer());
      return adds ? fields.AddInt64(&message, &field, value)
                  : fields.SetInt64(&message, &field, value);
    }
    case FieldDescriptor::CPPTYPE_UINT32: {
      const auto value = static_cast<uint32_t>(Integer());
      return adds ? fields.AddUInt32(&message, &field, value)
                  : fields.SetUInt32(&message, &field, value);
    }
    case FieldDescriptor::CPPTYPE_UINT64:
      return adds ? fields.AddUInt64(&message, &field, Integer())
                  : fields.SetUInt64(&message, &field, Integer());
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return adds ? fields.AddDouble(&message, &field, Float())
                  : fields.SetDouble(&message, &field, Float());
    case FieldDescriptor::CPPTYPE_FLOAT: {
      const auto value = static_cast<float>(Float());
      return adds ? fields.AddFloat(&message, &field, value)
                  : fields.SetFloat(&message, &field, value);
    }
    case FieldDescriptor::CPPTYPE_BOOL:
      return adds ? fields.AddBool(&message, &field, Below(2) == 0)
                  : fields.SetBool(&message, &field, Below(2) == 0);
    case FieldDescriptor::CPPTYPE_ENUM: {
      const auto value = static_cast<int>(Integer());
      return adds ? fields.AddEnumValue(&message, &field, value)
                  : fields.SetEnumValue(&message, &field, value);
    }
    case FieldDescriptor::CPPTYPE_STRING: {
      if (adds) return fields.AddString(&message, &field, Text(field, "a"));
      const std::string now = fields.GetString(message, &field);
      return fields.SetString(&message, &field, Text(field, now));
    }
    case FieldDescriptor::CPPTYPE_MESSAGE:
      return MutateOne(adds ? *fields.AddMessage(&message, &field)
                            : *fields.MutableMessage(&message, &field));
  }
}

std::string MessageMutator::Text(const FieldDescriptor& field,
                                 const std::string& now) {
  if (field.type() == FieldDescriptor::TYPE_BYTES && Below(2) == 0) {
    return MutateBytes(now);
  }
  switch (Below(8)) {
    case 0:
      return "";
    case 1:
      return std::string(kLongText, 'x');
    case 2:
      return "../../../../etc/passwd";
    case 3:
      return std::string("\0{%s}\n\"'\\", 9);
    case 4:
      return "\xf0\x9f\x98\x80\xc2\xa0\xe2\x80\xae";  // emoji, odd spaces
    case 5:
      return now + now;
    case 6:
      return std::string(Below(300), 'a');
    default:
      return std::to_string(Integer());
  }
}

std::string MessageMutator::MutateBytes(std::string bytes) {
  const uint32_t num_changes = 1 + Below(4);
  for (uint32_t i = 0; i < num_changes; ++i) {
    const auto size = static_cast<uint32_t>(bytes.size());
    const uint32_t at = size == 0 ? 0 : Below(size);
    switch (Below(5)) {
      case 0:
        bytes.resize(at);
        break;
      case 1:
        bytes.insert(at, 1 + Below(16), static_cast<char>(Below(256)));
        break;
      case 2:
        bytes.insert(at, bytes.substr(at / 2, 256));
        break;
      default:
        if (size > 0) bytes[at] = static_cast<char>(Below(256));
    }
  }
  return bytes;
}

uint64_t MessageMutator::Integer() {
  switch (Below(6)) {
    case 0:
      return uint64_t{1} << Below(64);
    case 1:
      return (uint64_t{1} << Below(64)) - 1;
    case 2:
      return -(uint64_t{1} << Below(64));
    case 3:
      return Below(300);
    case 4:
      return static_cast<uint64_t>(std::numeric_limits<int64_t>::max()) -
             Below(2);
    default:
      return (uint64_t{random_()} << 32) | random_();
  }
}

double MessageMutator::Float() {
  switch (Below(8)) {
    case 0:
      return std::numeric_limits<double>::quiet_NaN();
    case 1:
      return std::numeric_limits<double>::infinity();
    case 2:
      return -std::numeric_limits<double>::infinity();
    case 3:
      return std::numeric_limits<double>::denorm_min();
    case 4:
      return -0.0;
    case 5:
      return std::numeric_limits<float>::max();
    case 6:
      return static_cast<double>(static_cast<int64_t>(Integer()));
    default:
      return Below(1000) / 500.0;
  }
}

}  // namespace headwise
