// Plain structs to the messages of headwise.v1.

#ifndef HEADWISE_SERVER_FRONTENDS_RESPONSE_WRITER_H_
#define HEADWISE_SERVER_FRONTENDS_RESPONSE_WRITER_H_

#include "headwise/v1/admin.pb.h"
#include "headwise/v1/inference.pb.h"
#include "server/frontends/head_map.h"
#include "server/frontends/score_sink.h"
#include "server/frontends/served_model.h"
#include "server/scheduler/engine.h"
#include "server/scheduler/size_answer.h"

namespace headwise {

void WriteSizeAnswer(const SizeAnswer& answer, v1::CheckCapacityResponse* out);

void WriteUsage(const RequestUsage& usage, v1::Usage* out);
void WriteScore(const ScoreResult& result, const RequestUsage& usage,
                v1::ScoreResponse* out);
void WriteHeadMap(const HeadMap& map, v1::HeadMap* out);
// All but sha256.
void WriteModel(const ServedModel& model, int64_t served_context_len,
                v1::Model* out);

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_RESPONSE_WRITER_H_
