// A Titans model as the folder that the service loads: config.json,
// model.safetensors and tokenizer.json of docs/titans-models.md.

#ifndef HEADWISE_LAB_TITANS_TITANS_FOLDER_H_
#define HEADWISE_LAB_TITANS_TITANS_FOLDER_H_

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lab/titans/titans_weights.h"
#include "nlohmann/json.hpp"

namespace headwise {

// Bytes are the tokens of their number, keys <k0> .. <k63>, values <v0> ..
// <v63> and <end> follow (titans_task.h); nothing is merged.
nlohmann::ordered_json TitansTokenizerJson();

// Makes the folder if it is not there. Internal, naming the path, if a file
// can't be written.
absl::Status WriteTitansFolder(const std::string& folder,
                               const TitansWeights& weights);

// What WriteTitansFolder wrote, as the product opens it. Its errors, and
// InvalidArgument or Unimplemented for a model of another kind.
absl::StatusOr<std::unique_ptr<TitansWeights>> ReadTitansFolder(
    const std::string& folder);

// Files of a run; errors name the path.
absl::Status WriteTextFile(const std::string& path, const std::string& text);
absl::StatusOr<std::string> ReadTextFile(const std::string& path);

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_TITANS_FOLDER_H_
