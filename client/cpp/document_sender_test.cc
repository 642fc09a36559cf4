// Selection.ScoreDocuments against a server that follows a script.

#include "client/cpp/document_sender.h"

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/cpp/selection_client.h"
#include "gmock/gmock.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// Row by row, each with the id of its document.
class FakeSelection final : public v1::Selection::Service {
 public:
  using Stream = grpc::ServerReaderWriter<v1::ScoreDocumentsResponse,
                                          v1::ScoreDocumentsRequest>;
  grpc::Status ScoreDocuments(grpc::ServerContext*, Stream* stream) override {
    ++num_streams;
    int num_rows = 0;
    v1::ScoreDocumentsRequest request;
    while (stream->Read(&request)) {
      for (const v1::SelectionDocument& document : request.documents()) {
        const grpc::Status status = on_document(num_streams, num_rows);
        if (!status.ok()) return status;
        v1::ScoreDocumentsResponse response;
        response.add_rows()->set_doc_id(document.id());
        stream->Write(response);
        ++num_rows;
      }
    }
    return grpc::Status::OK;
  }

  int num_streams = 0;
  std::function<grpc::Status(int stream, int row)> on_document = [](int, int) {
    return grpc::Status::OK;
  };
};

const grpc::Status kLost(grpc::StatusCode::UNAVAILABLE, "the group is lost");

class DocumentSenderTest : public testing::Test {
 protected:
  DocumentSenderTest() {
    grpc::ServerBuilder builder;
    builder.RegisterService(&service_);
    server_ = builder.BuildAndStart();
    ClientOptions options;
    options.retry.sleep = [](absl::Duration) {};
    client_ = std::make_unique<SelectionClient>(
        server_->InProcessChannel(grpc::ChannelArguments()), options);
  }

  // Sends `count` documents and keeps the ids of the rows.
  absl::Status Send(int count) {
    int next = 0;
    return client_->ScoreDocuments(
        {},
        [&](v1::SelectionDocument* document) -> absl::StatusOr<bool> {
          if (next == count) return false;
          if (next == fail_at_) return absl::DataLossError("unreadable");
          document->set_id(absl::StrCat(next++));
          return true;
        },
        [&](const v1::SelectionRow& row) -> absl::Status {
          if (row.doc_id() == full_at_) {
            return absl::ResourceExhaustedError("no room");
          }
          ids_.push_back(row.doc_id());
          return absl::OkStatus();
        });
  }
  static std::vector<std::string> Numbers(int count) {
    std::vector<std::string> ids;
    for (int i = 0; i < count; ++i) ids.push_back(absl::StrCat(i));
    return ids;
  }

  FakeSelection service_;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<SelectionClient> client_;
  int fail_at_ = -1;
  std::string full_at_;
  std::vector<std::string> ids_;
};

TEST_F(DocumentSenderTest, RowsComeInOrder) {
  ASSERT_TRUE(Send(0).ok());
  ASSERT_TRUE(Send(10000).ok());
  EXPECT_EQ(ids_, Numbers(10000));
}

// Each stream breaks after seven rows.
TEST_F(DocumentSenderTest, WhatHasNoRowIsSentAgain) {
  service_.on_document = [](int, int row) {
    return row == 7 ? kLost : grpc::Status::OK;
  };
  const absl::Status status = Send(100);
  ASSERT_TRUE(status.ok()) << status;
  EXPECT_EQ(ids_, Numbers(100));
  EXPECT_EQ(service_.num_streams, 15);
}

TEST_F(DocumentSenderTest, GivesUpWhereNoRowComesAnyMore) {
  service_.on_document = [](int stream, int row) {
    return stream > 1 || row == 3 ? kLost : grpc::Status::OK;
  };
  const absl::Status status = Send(10);
  EXPECT_TRUE(absl::IsUnavailable(status)) << status;
  EXPECT_EQ(ids_, Numbers(3));
  EXPECT_EQ(service_.num_streams, 1 + RetryOptions().max_attempts);
}

TEST_F(DocumentSenderTest, OtherErrorsAreNotRepeated) {
  service_.on_document = [](int, int row) {
    return row == 2 ? grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "bad")
                    : grpc::Status::OK;
  };
  EXPECT_TRUE(absl::IsInvalidArgument(Send(10)));
  EXPECT_EQ(ids_, Numbers(2));
  EXPECT_EQ(service_.num_streams, 1);
}

TEST_F(DocumentSenderTest, ErrorsOfFunctionsEndIt) {
  fail_at_ = 5;
  EXPECT_TRUE(absl::IsDataLoss(Send(10)));
  fail_at_ = -1;
  ids_.clear();
  full_at_ = "4";
  EXPECT_TRUE(absl::IsResourceExhausted(Send(100)));
  EXPECT_EQ(ids_, Numbers(4));
}

}  // namespace
}  // namespace headwise
