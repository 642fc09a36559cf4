// Messages that are almost what they should be.

#ifndef HEADWISE_TESTS_CLUSTER_MESSAGE_MUTATOR_H_
#define HEADWISE_TESTS_CLUSTER_MESSAGE_MUTATOR_H_

#include <cstdint>
#include <random>
#include <string>

#include "google/protobuf/message.h"

namespace headwise {

// A pure function of its seed and of what it was asked before. Not thread-safe.
class MessageMutator {
 public:
  explicit MessageMutator(uint32_t seed) : random_(seed) {}

  // Changes one to four fields, at any depth: to values at and beyond the
  // limits of their type, to texts and lists that are empty, long or strange;
  // or sets what was not set, or the reverse. It can be serialized as before.
  void Mutate(google::protobuf::Message& message);

  // Some bytes of it changed, cut off, doubled or moved: perhaps no message.
  std::string MutateBytes(std::string bytes);

  // Uniform below `bound`, which is at least 1.
  uint32_t Below(uint32_t bound) {
    return static_cast<uint32_t>(random_() % bound);
  }

 private:
  void MutateOne(google::protobuf::Message& message);
  void MutateField(google::protobuf::Message& message,
                   const google::protobuf::FieldDescriptor& field);
  void MutateList(google::protobuf::Message& message,
                  const google::protobuf::FieldDescriptor& field);
  // Sets the field, or adds to the list that it is.
  void Set(google::protobuf::Message& message,
           const google::protobuf::FieldDescriptor& field);
  std::string Text(const google::protobuf::FieldDescriptor& field,
                   const std::string& now);
  uint64_t Integer();
  double Float();

  std::mt19937 random_;
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_MESSAGE_MUTATOR_H_
