// Early return on errors across module borders.

#ifndef HEADWISE_BASE_STATUS_MACROS_H_
#define HEADWISE_BASE_STATUS_MACROS_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"

#define HEADWISE_CONCAT_INNER(a, b) a##b
#define HEADWISE_CONCAT(a, b) HEADWISE_CONCAT_INNER(a, b)

// Returns from the enclosing function if `expr` is not OK.
#define HEADWISE_RETURN_IF_ERROR(expr)                                  \
  do {                                                                  \
    if (absl::Status headwise_status = (expr); !headwise_status.ok()) { \
      return headwise_status;                                           \
    }                                                                   \
  } while (false)

// Evaluates a StatusOr; on success moves its value into `lhs`, which may
// declare a variable, else returns the status.
#define HEADWISE_ASSIGN_OR_RETURN(lhs, expr)                                   \
  HEADWISE_ASSIGN_OR_RETURN_IMPL(HEADWISE_CONCAT(headwise_or_, __LINE__), lhs, \
                                 expr)
#define HEADWISE_ASSIGN_OR_RETURN_IMPL(result, lhs, expr) \
  auto result = (expr);                                   \
  if (!result.ok()) return result.status();               \
  lhs = *std::move(result)

#endif  // HEADWISE_BASE_STATUS_MACROS_H_
