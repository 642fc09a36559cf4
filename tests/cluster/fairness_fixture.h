// What a request costs others: times beside it and without it, taken in turn in
// one run, and waits that are counted in steps.

#ifndef HEADWISE_TESTS_CLUSTER_FAIRNESS_FIXTURE_H_
#define HEADWISE_TESTS_CLUSTER_FAIRNESS_FIXTURE_H_

#include <algorithm>
#include <cstdint>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "gtest/gtest.h"
#include "model/files/test_model_writer.h"
#include "model/head_plan/head_plan.h"
#include "model/model.h"
#include "tests/cluster/served_cluster.h"

namespace headwise {

class FairnessFixture : public ServedCluster {
 protected:
  static constexpr int64_t kStepRows = 512;  // --max-step-tokens

  static double Median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values.at(values.size() / 2);
  }
  // Of at most a hundred values: the greatest.
  static double Percentile99(const std::vector<double>& values) {
    return *std::max_element(values.begin(), values.end());
  }

  // A model whose rows take time, so that what is measured is steps and not
  // messages; a step of 512 takes some 10 ms.
  void UseModelOfWeight() {
    TinyModelOptions options;
    options.num_layers = 3;
    options.num_kv_heads = 1;
    options.head_dim = 32;
    options.model_dim = 256;
    options.ffn_dim = 768;
    options.max_context_len = 1 << 20;
    model_path_ = folder_.Path("model.gguf");
    ASSERT_TRUE(WriteFile(model_path_, WriteTinyGguf(options)).ok());
  }
  void Serve(const std::vector<std::string>& flags) {
    std::vector<std::string> all = {"--kv-bytes", "1073741824",
                                    "--max-step-tokens",
                                    absl::StrCat(kStepRows)};
    all.insert(all.end(), flags.begin(), flags.end());
    StartServing(1, all);
  }

  // Of that model.
  HeadPlan FullPlan() const {
    const auto model = Model::Open(model_path_);
    EXPECT_TRUE(model.ok()) << model.status();
    if (!model.ok()) return {};
    return DefaultHeadPlan((*model)->hyperparameters(), (*model)->Sha256());
  }

  v1::Usage Ask(const v1::GenerateRequest& request) {
    const auto context = Context(kReady);
    const auto reader = inference_->Generate(context.get(), request);
    v1::GenerateResponse response;
    while (reader->Read(&response)) {
    }
    const grpc::Status status = reader->Finish();
    EXPECT_TRUE(status.ok()) << status.error_message() << Logs();
    return response.finished().usage();
  }

  // So many callers at once, each of whom asks so often; the 99th percentile of
  // what `seconds_of` says of their answers.
  double Crowd(int num_callers, int num_each,
               const v1::GenerateRequest& request,
               const std::function<double(const v1::Usage&)>& seconds_of) {
    std::vector<std::vector<double>> seconds(num_callers);
    std::vector<std::thread> callers;
    for (std::vector<double>& of_caller : seconds) {
      callers.emplace_back([&] {
        for (int i = 0; i < num_each; ++i) {
          of_caller.push_back(seconds_of(Ask(request)));
        }
      });
    }
    std::vector<double> all;
    for (int i = 0; i < num_callers; ++i) {
      callers[i].join();
      all.insert(all.end(), seconds[i].begin(), seconds[i].end());
    }
    return Percentile99(all);
  }
  // The times to the first token, by the server, of fifty short chats that come
  // at once: ten full steps of rows.
  double FiftyChats() {
    return Crowd(50, 1, PromptOf(100, 1), [](const v1::Usage& usage) {
      return usage.queue_seconds() + usage.prefill_seconds();
    });
  }

  // Both sides in turn. What is unfair is slow in each round; what a machine
  // does beside is slow in some, of either side. So the medians of three rounds
  // decide, and of up to twelve where they say no.
  void ExpectAtMost(double bound, const std::function<double()>& alone,
                    const std::function<double()>& beside) {
    std::vector<double> alone_seconds, beside_seconds;
    double ratio = 0.0;
    for (int round = 1; round <= 12; ++round) {
      alone_seconds.push_back(alone());
      beside_seconds.push_back(beside());
      if (HasFailure()) return;
      ratio = Median(beside_seconds) / Median(alone_seconds);
      if (round >= 3 && ratio <= bound) break;
    }
    const std::string told =
        absl::StrCat("alone ", absl::StrJoin(alone_seconds, ", "), "; beside ",
                     absl::StrJoin(beside_seconds, ", "));
    RecordProperty("ratio", absl::StrCat(ratio));
    RecordProperty("seconds", told);
    EXPECT_LE(ratio, bound) << told;
  }

  // Of all requests, in the time that an answer of so many tokens takes. There
  // is no fairer way to write it than a token in each of them; the quarter more
  // is for steps of others before it has come and after it has gone.
  void ExpectATokenInEachStep(int num_tokens) {
    const double before = Metric("headwise_steps_total");
    Ask(PromptOf(16, num_tokens));
    EXPECT_LE(Metric("headwise_steps_total") - before, 1.25 * num_tokens);
  }
};

}  // namespace headwise

#endif  // HEADWISE_TESTS_CLUSTER_FAIRNESS_FIXTURE_H_
