// The shape of a step's results.

#ifndef HEADWISE_WORKER_EXECUTOR_STEP_RESULTS_H_
#define HEADWISE_WORKER_EXECUTOR_STEP_RESULTS_H_

#include <cstdint>
#include <vector>

#include "model/hyperparameters.h"
#include "worker/executor/sequences.h"
#include "worker/step/step.h"

namespace headwise {

// Results with room for what the slices ask for; `units` of the rank.
StepResult EmptyResult(const Step& step, const Hyperparameters& hyper,
                       const std::vector<SequencesOptions::UnitName>& units);

// Of what was drawn and scored, bit by bit, with the sequences that it belongs
// to: FNV-1a of 64 bits, which is to find faults, not forgers.
uint64_t DrawsDigest(const StepResult& result);

// What a rank other than 0 answers: probes of its own heads, or nothing.
void KeepProbesOnly(StepResult* result);

}  // namespace headwise

#endif  // HEADWISE_WORKER_EXECUTOR_STEP_RESULTS_H_
