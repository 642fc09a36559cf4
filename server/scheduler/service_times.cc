#include "server/scheduler/service_times.h"

#include <algorithm>
#include <cmath>

namespace headwise {
namespace {

// A step of so much cost shows what cost is; a smaller one, what a step is.
constexpr double kFullCost = 64;
// How much longer the shortest step is taken to be with each step that is
// longer: 1.4 times after 35.
constexpr double kLeastStepGrows = 1.01;
// What steps took that were answered longer ago says nothing of the next ones.
constexpr absl::Duration kBelieved = absl::Minutes(1);
// Of the speed at which a queue gets shorter, in time in which there is one.
constexpr double kQueueMemorySeconds = 30;
// Requests that must have ended before that speed is believed.
constexpr int64_t kMinEnds = 4;

}  // namespace

void RecentRatio::Add(double sum, double count) {
  sum_ = sum_ * kept_ + sum;
  count_ = count_ * kept_ + count;
}

std::optional<double> RecentRatio::mean() const {
  if (count_ <= 0) return std::nullopt;
  return sum_ / count_;
}

void ServiceTimes::OnStep(double cost, absl::Duration took, absl::Time now) {
  if (cost <= 0) return;
  if (cost >= kFullCost) {
    cost_seconds_.Add(absl::ToDoubleSeconds(took), cost);
    last_full_ = now;
  }
  const bool is_known = now - last_step_ <= kBelieved;
  least_step_ = is_known && least_step_.has_value()
                    ? std::min(took, *least_step_ * kLeastStepGrows)
                    : took;
  last_step_ = now;
}

void ServiceTimes::Advance(absl::Time now) {
  if (stands_ && now > last_) {
    const double seconds = absl::ToDoubleSeconds(now - last_);
    const double kept = std::exp(-seconds / kQueueMemorySeconds);
    standing_seconds_ = standing_seconds_ * kept + seconds;
    standing_ends_ *= kept;
  }
  last_ = std::max(last_, now);
}

void ServiceTimes::OnQueue(bool stands, absl::Time now) {
  Advance(now);
  stands_ = stands;
}

void ServiceTimes::OnEnd(const Service& service, absl::Time now) {
  Advance(now);
  if (stands_) {
    standing_ends_ += 1;
    ++num_standing_ends_;
  }
  if (service.prompt_cost > 0) {
    prompt_seconds_.Add(absl::ToDoubleSeconds(service.prefill_time),
                        service.prompt_cost);
  }
  // The first token comes with the prompt.
  if (service.generated_tokens > 1) {
    token_seconds_.Add(absl::ToDoubleSeconds(service.decode_time),
                       static_cast<double>(service.generated_tokens - 1));
  }
  if (service.is_whole && service.max_new_tokens > 0) {
    text_tokens_.Add(static_cast<double>(service.generated_tokens),
                     static_cast<double>(service.max_new_tokens));
  }
}

absl::Duration ServiceTimes::QueueTime(int64_t num_before) const {
  if (num_standing_ends_ < kMinEnds || standing_ends_ <= 0) {
    return absl::ZeroDuration();
  }
  return absl::Seconds(standing_seconds_ / standing_ends_ *
                       static_cast<double>(num_before));
}

absl::Duration ServiceTimes::LeastTime(const RequestWork& work,
                                       absl::Time now) const {
  absl::Duration least;
  if (now - last_step_ <= kBelieved) {
    least = least_step_.value_or(absl::ZeroDuration());
  }
  if (now - last_full_ <= kBelieved) {
    least = std::max(least, absl::Seconds(work.prompt_cost *
                                          cost_seconds_.mean().value_or(0)));
  }
  return least;
}

absl::Duration ServiceTimes::LikelyTime(const RequestWork& work) const {
  const double tokens = static_cast<double>(work.max_new_tokens) *
                        text_tokens_.mean().value_or(0);
  return absl::Seconds(work.prompt_cost * prompt_seconds_.mean().value_or(0) +
                       std::max(tokens - 1, 0.0) *
                           token_seconds_.mean().value_or(0));
}

}  // namespace headwise
