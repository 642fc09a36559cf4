// The names of DocumentFlag, as rows, totals and clients spell them.

#ifndef HEADWISE_SERVER_SELECTION_FLAG_NAMES_H_
#define HEADWISE_SERVER_SELECTION_FLAG_NAMES_H_

#include <optional>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "server/selection/document.h"

namespace headwise {

// Every flag, by rising bit: the order of a row's names.
absl::Span<const DocumentFlag> AllDocumentFlags();

// "duplicate_id" of kDuplicateId. Requires one of AllDocumentFlags().
absl::string_view FlagName(DocumentFlag flag);

std::optional<DocumentFlag> FlagOfName(absl::string_view name);

}  // namespace headwise

#endif  // HEADWISE_SERVER_SELECTION_FLAG_NAMES_H_
