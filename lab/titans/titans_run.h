// One run of the lab: what is trained, and the folder that comes of it.

#ifndef HEADWISE_LAB_TITANS_TITANS_RUN_H_
#define HEADWISE_LAB_TITANS_TITANS_RUN_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "lab/titans/titans_shape.h"
#include "lab/titans/titans_trainer.h"

namespace headwise {

struct TitansRun {
  Hyperparameters hyper = SmallestTitans();
  TitansTraining training;
};

// What "--preset" may name: "smallest", and "VARIANT-TASK" or
// "VARIANT-TASK-ABLATION" of the variants, the tasks recall and text, and the
// ablations linear (a matrix for memory, no momentum) and keep (no forgetting).
// InvalidArgument for another.
absl::StatusOr<TitansRun> TitansPreset(const std::string& name);

struct TitansRunFiles {
  std::string folder;  // of the model, made if it is not there
  std::string text;    // a folder or a file
  // Where the run is kept now and then; it goes on from there. Empty: nowhere.
  std::string state;
  // Contexts that recall is measured at when training is done, in tokens.
  std::vector<int64_t> contexts;
};

// Trains, and writes into the folder: the model's three files, loss.csv with a
// line per step, lab.json with what was measured and, of a model that recalls,
// task.json, which tells its symbols. Errors of Check*, of files, of steps.
absl::Status RunTitansTraining(const TitansRun& run,
                               const TitansRunFiles& files);

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_TITANS_RUN_H_
