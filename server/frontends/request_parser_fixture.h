// What the tests of the request parser share.

#ifndef HEADWISE_SERVER_FRONTENDS_REQUEST_PARSER_FIXTURE_H_
#define HEADWISE_SERVER_FRONTENDS_REQUEST_PARSER_FIXTURE_H_

#include <cstdint>
#include <memory>

#include "gtest/gtest.h"
#include "server/frontends/frontend_fakes.h"
#include "server/frontends/request_parser.h"

namespace headwise {

inline constexpr int64_t kServedLen = 24;

// One worker that holds all units, with room for sequences of `served_len`
// tokens; 0: no group stands.
inline std::shared_ptr<const HeadMap> MapOf(int64_t served_len,
                                            int64_t capacity_bytes = 1 << 20) {
  auto map = std::make_shared<HeadMap>();
  if (served_len == 0) return map;
  map->world_size = 1;
  map->max_context_len = served_len;
  HeadMap::Worker worker;
  worker.kv_capacity_bytes = capacity_bytes;
  map->workers.push_back(worker);
  map->units.resize(4);
  return map;
}

class RequestParserTest : public testing::Test {
 protected:
  RequestTerms Terms(int64_t served_len = kServedLen) const {
    return {served_, plans_, MapOf(served_len)};
  }

  FakeServed fakes_;
  const ServedModel served_ = fakes_.Served();
  PlanStore plans_{fakes_.model.hyperparameters(), KvType::kFp16};
};

}  // namespace headwise

#endif  // HEADWISE_SERVER_FRONTENDS_REQUEST_PARSER_FIXTURE_H_
