#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "base/status_macros.h"
#include "worker/collectives/endpoint.h"
#include "worker/collectives/nccl_group.h"

namespace headwise {
namespace {

constexpr absl::string_view kNoId = "-";

// Of staging memory: a decode step's logits are some 100 KiB a rank; more than
// this gains no bandwidth.
constexpr int64_t kPieceBytes = int64_t{4} << 20;

// What a rank says of itself: "22809,<the id in hexadecimal digits, or ->".
struct Location {
  int version = 0;
  std::optional<NcclId> id;
};

std::string Encode(const Location& location) {
  if (!location.id.has_value()) return absl::StrCat(location.version, ",-");
  const absl::string_view bytes(
      reinterpret_cast<const char*>(location.id->data()), location.id->size());
  return absl::StrCat(location.version, ",", absl::BytesToHexString(bytes));
}

bool IsHex(absl::string_view text) {
  return text.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

absl::StatusOr<Location> Decode(absl::string_view text, int rank) {
  const std::vector<absl::string_view> parts = absl::StrSplit(text, ',');
  Location location;
  const bool has_id = parts.size() == 2 && parts[1] != kNoId;
  if (parts.size() != 2 || !absl::SimpleAtoi(parts[0], &location.version) ||
      has_id != (rank == 0) ||
      (has_id && (parts[1].size() != 2 * sizeof(NcclId) || !IsHex(parts[1])))) {
    return absl::InvalidArgumentError(absl::StrCat(
        "rank ", rank, " says of its NCCL \"", text.substr(0, 80),
        "\", which must be a version and ",
        rank == 0 ? "an id of 128 bytes in hexadecimal digits" : "-"));
  }
  if (has_id) {
    const std::string bytes = absl::HexStringToBytes(parts[1]);
    location.id.emplace();
    std::copy(bytes.begin(), bytes.end(), location.id->begin());
  }
  return location;
}

class PendingNcclGroup final : public PendingGroup {
 public:
  PendingNcclGroup(const GroupSpec& spec, const Location& mine,
                   std::unique_ptr<NcclCommunicator> communicator)
      : spec_(spec),
        version_(mine.version),
        endpoint_(EncodeEndpoint(spec, Encode(mine))),
        communicator_(std::move(communicator)) {}

  const std::string& endpoint() const override { return endpoint_; }

  absl::StatusOr<std::unique_ptr<Group>> Join(
      absl::Span<const std::string> endpoints) override {
    if (communicator_ == nullptr) {
      return absl::FailedPreconditionError("Join may be called once");
    }
    std::unique_ptr<NcclCommunicator> communicator = std::move(communicator_);
    HEADWISE_ASSIGN_OR_RETURN(const auto locations,
                              LocationsOf(endpoints, spec_));
    NcclId id;
    for (int rank = 0; rank < spec_.world_size; ++rank) {
      HEADWISE_ASSIGN_OR_RETURN(const Location location,
                                Decode(locations[rank], rank));
      if (location.version != version_) {
        return absl::FailedPreconditionError(absl::StrCat(
            "rank ", rank, " has version ", location.version, " of NCCL, rank ",
            spec_.rank, " has ", version_, "; they must be equal"));
      }
      if (location.id.has_value()) id = *location.id;
    }
    return NcclGroup::Join(spec_, std::move(communicator), id);
  }

 private:
  const GroupSpec spec_;
  const int version_;
  const std::string endpoint_;
  std::unique_ptr<NcclCommunicator> communicator_;  // null after Join
};

}  // namespace

absl::StatusOr<std::unique_ptr<PendingGroup>> PrepareNcclGroup(
    const GroupSpec& spec, const NcclOpener& open) {
  HEADWISE_ASSIGN_OR_RETURN(auto communicator,
                            open(kPieceBytes * (spec.world_size + 1)));
  Location mine;
  HEADWISE_ASSIGN_OR_RETURN(mine.version, communicator->Version());
  if (spec.rank == 0) {
    HEADWISE_ASSIGN_OR_RETURN(mine.id, communicator->CreateId());
  }
  return std::make_unique<PendingNcclGroup>(spec, mine,
                                            std::move(communicator));
}

}  // namespace headwise
