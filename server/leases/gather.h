// Several calls at once, and their answers.

#ifndef HEADWISE_SERVER_LEASES_GATHER_H_
#define HEADWISE_SERVER_LEASES_GATHER_H_

#include <vector>

#include "absl/status/statusor.h"
#include "absl/synchronization/blocking_counter.h"
#include "server/leases/done.h"

namespace headwise {

// Gather<T> answers(n); start n calls with answers.Slot(i); answers.Wait().
template <typename T>
class Gather {
 public:
  explicit Gather(size_t count)
      : answers_(count, absl::InternalError("no answer")),
        left_(static_cast<int>(count)) {}

  Done<T> Slot(size_t index) {
    return [this, index](absl::StatusOr<T> answer) {
      answers_[index] = std::move(answer);
      left_.DecrementCount();
    };
  }

  // To be called once; every slot must have been given to a call.
  std::vector<absl::StatusOr<T>>& Wait() {
    left_.Wait();
    return answers_;
  }

 private:
  std::vector<absl::StatusOr<T>> answers_;
  absl::BlockingCounter left_;
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_LEASES_GATHER_H_
