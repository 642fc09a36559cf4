// A gRPC server of the test's own process.

#ifndef HEADWISE_TESTS_SUPPORT_LOOPBACK_SERVER_H_
#define HEADWISE_TESTS_SUPPORT_LOOPBACK_SERVER_H_

#include <memory>

#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"

namespace headwise {

// Serves `service`, which must outlive it, on a free port of 127.0.0.1.
inline std::unique_ptr<grpc::Server> StartOnLoopback(
    grpc::Service* service, int* port,
    const std::shared_ptr<grpc::ServerCredentials>& credentials =
        grpc::InsecureServerCredentials()) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", credentials, port);
  builder.RegisterService(service);
  std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
  EXPECT_NE(server, nullptr);
  return server;
}

}  // namespace headwise

#endif  // HEADWISE_TESTS_SUPPORT_LOOPBACK_SERVER_H_
