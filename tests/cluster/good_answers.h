// What a worker without a model says where a good one would have worked.

#ifndef HEADWISE_TESTS_CLUSTER_GOOD_ANSWERS_H_
#define HEADWISE_TESTS_CLUSTER_GOOD_ANSWERS_H_

#include "headwise/worker/v1/worker.pb.h"

namespace headwise {

// Of every slice that is to draw, token 1.
inline worker::v1::StepResponse GoodAnswer(
    const worker::v1::StepRequest& request) {
  worker::v1::StepResponse answer;
  answer.set_membership_epoch(request.membership_epoch());
  answer.set_step_id(request.step_id());
  for (const worker::v1::Slice& slice : request.slices()) {
    worker::v1::SliceResult& result = *answer.add_results();
    result.set_sequence_id(slice.sequence_id());
    result.set_has_token(slice.sample());
    result.set_token(slice.sample() ? 1 : 0);
  }
  return answer;
}

inline worker::v1::PrepareResponse GoodPrepared() {
  worker::v1::PrepareResponse response;
  response.set_progress(1.0);
  response.mutable_prepared()->set_endpoint("x");
  response.mutable_prepared()->set_weight_bytes(1000);
  response.mutable_prepared()->set_kv_capacity_blocks(1000);
  return response;
}

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_GOOD_ANSWERS_H_
