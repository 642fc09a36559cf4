#include "server/selection/flag_names.h"

#include "base/check.h"

namespace headwise {
namespace {

constexpr DocumentFlag kAll[] = {
    kEmptyText,     kInvalidUtf8, kBrokenRecord, kMissingText,  kTooLarge,
    kUnknownDomain, kNotFinite,   kDuplicateId,  kTooShort,     kLowLoss,
    kRepetitive,    kTruncated,   kMadeUpId,     kInvalidIdType};

}  // namespace

absl::Span<const DocumentFlag> AllDocumentFlags() { return kAll; }

absl::string_view FlagName(DocumentFlag flag) {
  switch (flag) {
    case kEmptyText:
      return "empty_text";
    case kInvalidUtf8:
      return "invalid_utf8";
    case kBrokenRecord:
      return "broken_record";
    case kMissingText:
      return "missing_text";
    case kTooLarge:
      return "too_large";
    case kUnknownDomain:
      return "unknown_domain";
    case kNotFinite:
      return "not_finite";
    case kDuplicateId:
      return "duplicate_id";
    case kTooShort:
      return "too_short";
    case kLowLoss:
      return "low_loss";
    case kRepetitive:
      return "repetitive";
    case kTruncated:
      return "truncated";
    case kMadeUpId:
      return "made_up_id";
    case kInvalidIdType:
      return "invalid_id_type";
  }
  HEADWISE_CHECK(false && "not one flag");
}

std::optional<DocumentFlag> FlagOfName(absl::string_view name) {
  for (const DocumentFlag flag : kAll) {
    if (FlagName(flag) == name) return flag;
  }
  return std::nullopt;
}

}  // namespace headwise
