// Any bytes as a head plan: an error, or a plan that both forms give back.

#include <cstdint>

#include "base/check.h"
#include "model/head_plan/head_plan_check.h"
#include "model/head_plan/head_plan_text.h"
#include "model/head_plan/kv_forecast.h"
#include "proto/head_plan_codec.h"
#include "proto/head_plan_file.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const auto plan = headwise::ParseHeadPlan(
      absl::string_view(reinterpret_cast<const char*>(data), size));
  if (!plan.ok()) return 0;
  HEADWISE_CHECK(headwise::CheckHeadPlan(*plan).ok());
  const auto text =
      headwise::ParseHeadPlanText(headwise::HeadPlanToText(*plan));
  HEADWISE_CHECK(text.ok() && *text == *plan);
  const auto binary = headwise::DecodeHeadPlan(headwise::EncodeHeadPlan(*plan));
  HEADWISE_CHECK(binary.ok() && *binary == *plan);
  const headwise::KvBytes total =
      headwise::ForecastKv(
          *plan,
          {.head_dim = 64, .context_len = 1'000'000, .prompt_len = 999'999})
          .total;
  HEADWISE_CHECK(total.held > 0 && total.reserved >= total.held);
  return 0;
}
