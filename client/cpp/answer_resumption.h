// How a stream of an answer goes on after it broke off.

#ifndef HEADWISE_CLIENT_CPP_ANSWER_RESUMPTION_H_
#define HEADWISE_CLIENT_CPP_ANSWER_RESUMPTION_H_

#include <utility>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "client/cpp/client_call.h"
#include "grpcpp/client_context.h"
#include "headwise/v1/inference.pb.h"

namespace headwise {

// What a caller has of an answer, so that he hears nothing of it twice.
// `rest` is the request that the next attempt sends.
template <typename Request>
class AnswerSoFar {
 public:
  explicit AnswerSoFar(Request* rest) : rest_(*rest) {}

  // True if the caller is to hear of it.
  bool Take(const v1::GenerateResponse& event) {
    if (!event.has_generated()) return true;
    const v1::GeneratedText& generated = event.generated();
    for (const v1::TokenLogprob& token : generated.tokens()) {
      rest_.mutable_received()->add_ids(token.token());
    }
    if (event.numerics() != 0) rest_.set_numerics(event.numerics());
    if (generated.tokens_size() > 0) return true;
    // What the server held back until the answer's end.
    return !std::exchange(has_rest_, true);
  }
  int num_tokens() const { return rest_.received().ids_size(); }

 private:
  Request& rest_;
  bool has_rest_ = false;
};

// Calls `on_event` for each message; false from it cancels the call. `method`
// starts a stream with the request that it is given.
template <typename Request, typename Method>
absl::Status CallUntilWhole(
    const ClientOptions& options, const Request& request, Method method,
    absl::FunctionRef<bool(const v1::GenerateResponse&)> on_event) {
  Request rest = request;
  AnswerSoFar answer(&rest);
  return CallWithRetry(
      options.retry, options.timeout, [&](absl::Duration remaining) {
        grpc::ClientContext context;
        PrepareCall(options, remaining, &context);
        const int had = answer.num_tokens();
        // gRPC has sent the request when this returns.
        const auto reader = method(&context, rest);
        v1::GenerateResponse event;
        bool is_wanted = true;
        while (is_wanted && reader->Read(&event)) {
          is_wanted = !answer.Take(event) || on_event(event);
        }
        if (!is_wanted) context.TryCancel();
        Attempt attempt = ToAttempt(reader->Finish());
        // Not by us: a server that ends cuts off what it can't send in time.
        if (is_wanted && absl::IsCancelled(attempt.status)) {
          attempt.status = absl::UnavailableError(
              absl::StrCat("the server broke off: ", attempt.status.message()));
        }
        attempt.may_repeat = is_wanted;
        attempt.has_progressed = answer.num_tokens() > had;
        return attempt;
      });
}

}  // namespace headwise

#endif  // HEADWISE_CLIENT_CPP_ANSWER_RESUMPTION_H_
