// Where the messages of one answer go.

#ifndef HEADWISE_SERVER_FRONTENDS_ANSWER_WRITER_H_
#define HEADWISE_SERVER_FRONTENDS_ANSWER_WRITER_H_

#include "absl/status/status.h"
#include "headwise/v1/inference.pb.h"

namespace headwise {

// Thread-safe; must not block.
class AnswerWriter {
 public:
  virtual ~AnswerWriter() = default;
  // False if nobody will read it.
  virtual bool Write(v1::GenerateResponse message) = 0;
  // The end, after all that was written. Returns what the call ends with. To be
  // called once.
  virtual absl::Status Close(absl::Status status) = 0;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_ANSWER_WRITER_H_
