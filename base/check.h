// HEADWISE_CHECK: a programmer's error ends the process, in release too.

#ifndef HEADWISE_BASE_CHECK_H_
#define HEADWISE_BASE_CHECK_H_

namespace headwise {

// Prints the place and the condition to stderr and aborts.
[[noreturn]] void CheckFailed(const char* file, int line,
                              const char* condition);

}  // namespace headwise

#define HEADWISE_CHECK(condition)                              \
  do {                                                         \
    if (!(condition)) [[unlikely]] {                           \
      ::headwise::CheckFailed(__FILE__, __LINE__, #condition); \
    }                                                          \
  } while (false)

#endif  // HEADWISE_BASE_CHECK_H_
