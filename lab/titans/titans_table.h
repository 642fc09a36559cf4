// Runs side by side: the ablation table, and their losses as curves.

#ifndef HEADWISE_LAB_TITANS_TITANS_TABLE_H_
#define HEADWISE_LAB_TITANS_TITANS_TABLE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"

namespace headwise {

// Reads lab.json and loss.csv of each run's folder and writes PREFIX.csv, the
// same table as PREFIX.svg, and the losses, PREFIX-loss.csv with the mean of so
// many steps a line and PREFIX-loss.svg. A run is called by its
// folder's name; a cell that a run has no number for is empty. Errors name the
// file that is missing or no output of a run.
absl::Status WriteTitansTable(const std::vector<std::string>& folders,
                              const std::string& prefix);

}  // namespace headwise

#endif  // HEADWISE_LAB_TITANS_TITANS_TABLE_H_
