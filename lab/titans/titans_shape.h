// The shape of a Titans model: Hyperparameters of the product, and the
// config.json that the product reads them from.

#ifndef HEADWISE_LAB_TITANS_TITANS_SHAPE_H_
#define HEADWISE_LAB_TITANS_TITANS_SHAPE_H_

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "model/hyperparameters.h"
#include "nlohmann/json.hpp"

namespace headwise {

// One layer of memory alone, of two heads of 32 channels: the lab's smallest.
Hyperparameters SmallestTitans();

const char* TitansVariantName(TitansVariant variant);  // "mac"
// InvalidArgument for another name.
absl::StatusOr<TitansVariant> ParseTitansVariant(absl::string_view name);

// Embedding and output are never tied. Requires hyper.titans.
nlohmann::ordered_json TitansConfigJson(const Hyperparameters& hyper);

// What the product says of that config.json.
absl::Status CheckTitansShape(const Hyperparameters& hyper);

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_TITANS_SHAPE_H_
