// Registrar and StaticWorkers against RegistryService and WorkerServer.

#include <algorithm>
#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "gtest/gtest.h"
#include "server/dispatch/registry_service.h"
#include "server/dispatch/static_workers.h"
#include "tests/support/child_process.h"
#include "tests/support/loopback_server.h"
#include "worker/service/registrar.h"
#include "worker/service/worker_server.h"
#include "worker/step_wire/message_checksum.h"

namespace headwise {
namespace {

using testing::HasSubstr;

constexpr absl::Duration kTimeout = absl::Seconds(30);

class RegistrationTest : public testing::Test {
 protected:
  RegistrationTest() {
    membership_.SetListener([this] {
      const size_t size = membership_.view()->members.size();
      absl::MutexLock lock(&mutex_);
      num_members_ = size;
    });
    StartServer(0);
  }
  ~RegistrationTest() override { StopServer(); }

  void StartServer(int port) {
    options_.log = [this](const std::string& line) {
      absl::MutexLock lock(&mutex_);
      log_.push_back(line);
    };
    service_ = std::make_unique<RegistryService>(options_, membership_);
    grpc::ServerBuilder builder;
    builder.AddListeningPort("127.0.0.1:" + std::to_string(port),
                             grpc::InsecureServerCredentials(), &port_);
    builder.RegisterService(service_.get());
    server_ = builder.BuildAndStart();
    ASSERT_NE(server_, nullptr);
  }
  void StopServer() {
    if (server_ != nullptr) {
      server_->Shutdown(absl::ToChronoTime(absl::Now()));
      server_->Wait();
    }
    server_ = nullptr;
  }

  bool WaitForMembers(size_t number) {
    absl::MutexLock lock(&mutex_);
    const auto reached = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return num_members_ == number;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&reached), kTimeout);
  }

  worker::v1::WorkerInfo Info(const std::string& name) {
    worker::v1::WorkerInfo info;
    info.set_name(name);
    info.set_address("127.0.0.1:1");
    info.set_speed(1.0);
    WriteOwnBuild(&info);
    return info;
  }

  std::unique_ptr<Registrar> Register(const worker::v1::WorkerInfo& info) {
    RegistrarOptions options;
    options.coordinators = {"127.0.0.1:" + std::to_string(port_)};
    options.info = info;
    options.heartbeat_interval = absl::Milliseconds(20);
    options.max_backoff = absl::Milliseconds(200);
    options.answer_timeout = answer_timeout_;
    options.is_well = [this] {
      ++num_asked_;
      return is_well_ ? absl::OkStatus() : absl::UnavailableError("stuck");
    };
    options.on_change = [this](const std::string&, const absl::Status& status) {
      absl::MutexLock lock(&mutex_);
      changes_.push_back(status);
    };
    return std::make_unique<Registrar>(options);
  }

  bool WaitForChange(absl::StatusCode code, const std::string& text) {
    absl::MutexLock lock(&mutex_);
    const auto heard = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      for (const absl::Status& status : changes_) {
        if (status.code() == code &&
            status.message().find(text) != std::string::npos) {
          return true;
        }
      }
      return false;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&heard), kTimeout);
  }

  bool WaitForLog(const std::string& text, int times = 1) {
    absl::MutexLock lock(&mutex_);
    const auto heard = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return CountLocked(text) >= times;
    };
    return mutex_.AwaitWithTimeout(absl::Condition(&heard), kTimeout);
  }
  int CountLog(const std::string& text) {
    absl::MutexLock lock(&mutex_);
    return CountLocked(text);
  }
  int CountLocked(const std::string& text)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return static_cast<int>(
        std::count_if(log_.begin(), log_.end(), [&](const std::string& line) {
          return line.find(text) != std::string::npos;
        }));
  }

  std::unique_ptr<worker::v1::Registry::Stub> Stub() {
    return worker::v1::Registry::NewStub(
        grpc::CreateChannel("127.0.0.1:" + std::to_string(port_),
                            grpc::InsecureChannelCredentials()));
  }

  RegistryServiceOptions options_;
  absl::Duration answer_timeout_ = absl::Seconds(5);
  std::atomic<bool> is_well_ = true;
  std::atomic<int> num_asked_ = 0;
  Membership membership_{{}, Clock::Monotonic()};
  absl::Mutex mutex_;
  size_t num_members_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<absl::Status> changes_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> log_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<RegistryService> service_;
  std::unique_ptr<grpc::Server> server_;
  int port_ = 0;
};

// A worker that can't serve must not look as if it could.
TEST_F(RegistrationTest, AWorkerThatIsUnwellKeepsSilent) {
  is_well_ = false;
  const auto registrar = Register(Info("w"));
  ASSERT_TRUE(WaitUntil([this] { return num_asked_ > 3; }, kTimeout));
  EXPECT_TRUE(membership_.view()->members.empty());
  is_well_ = true;
  ASSERT_TRUE(WaitForMembers(1));
  is_well_ = false;
  EXPECT_TRUE(WaitUntil([this] { return membership_.RemoveDead().size() == 1; },
                        kTimeout));
  is_well_ = true;
  EXPECT_TRUE(WaitForMembers(1)) << "it comes back by itself";
}

TEST_F(RegistrationTest, WorkerComesAndItsEndRemovesIt) {
  auto registrar = Register(Info("a"));
  ASSERT_TRUE(WaitForMembers(1));
  EXPECT_EQ(membership_.view()->members[0].info.name, "a");
  EXPECT_TRUE(WaitForLog("worker a has come from 127.0.0.1:1, speed 1, " +
                         TextOf(OwnBuild())));
  registrar.reset();
  EXPECT_TRUE(WaitForMembers(0));
  EXPECT_TRUE(WaitForLog("worker a has left"));
}

TEST_F(RegistrationTest, OtherNumericsAreRefusedWithBoth) {
  worker::v1::WorkerInfo info = Info("a");
  info.set_version("0.0.1+other");  // is no matter
  info.set_numerics(4711);
  auto registrar = Register(info);
  const std::string why =
      "worker a of build 0.0.1+other has numerics 4711, the coordinator of "
      "build " +
      OwnBuild().version + " has " + std::to_string(OwnBuild().numerics);
  EXPECT_TRUE(WaitForChange(absl::StatusCode::kFailedPrecondition, why));
  EXPECT_TRUE(WaitForLog(why));
  EXPECT_EQ(membership_.view()->members.size(), 0u);
}

TEST_F(RegistrationTest, SameRefusalIsLoggedOnceUntilSomebodyIsTaken) {
  const auto refuse = [this] {
    const auto stub = Stub();
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + kTimeout));
    const auto stream = stub->Register(&context);
    worker::v1::RegisterRequest request;
    *request.mutable_info() = Info("a");
    request.mutable_info()->set_name("evil\nname");
    WriteChecksum(request.mutable_info());
    stream->Write(request);
    worker::v1::RegisterResponse answer;
    while (stream->Read(&answer)) {
    }
    EXPECT_EQ(stream->Finish().error_code(),
              grpc::StatusCode::INVALID_ARGUMENT);
  };
  refuse();
  refuse();
  EXPECT_EQ(CountLog("refused a worker"), 1);
  EXPECT_EQ(CountLog("has byte 10"), 1) << "no line of its own";
  auto good = Register(Info("b"));
  ASSERT_TRUE(WaitForLog("worker b has come"));
  refuse();
  EXPECT_EQ(CountLog("refused a worker"), 2);
}

TEST_F(RegistrationTest, StreamsAreBounded) {
  StopServer();
  options_.max_streams = 1;
  StartServer(0);
  auto registrar = Register(Info("a"));
  ASSERT_TRUE(WaitForMembers(1));
  const auto stub = Stub();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kTimeout));
  const grpc::Status status = stub->Register(&context)->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_THAT(status.error_message(), HasSubstr("limit 1"));
  EXPECT_EQ(membership_.view()->members.size(), 1u);
}

TEST_F(RegistrationTest, SilentStreamsMakeWayAndWorkersStay) {
  StopServer();
  options_.first_message_timeout = absl::ZeroDuration();
  StartServer(0);
  auto first = Register(Info("a"));
  ASSERT_TRUE(WaitForMembers(1));
  const auto stub = Stub();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kTimeout));
  const auto silent = stub->Register(&context);
  const absl::Time deadline = absl::Now() + kTimeout;
  while (service_->num_streams() < 2 && absl::Now() < deadline) {
    std::this_thread::yield();
  }
  const uint64_t id = membership_.view()->members[0].registration_id;
  auto second = Register(Info("b"));
  EXPECT_EQ(silent->Finish().error_code(), grpc::StatusCode::CANCELLED);
  ASSERT_TRUE(WaitForMembers(2));
  EXPECT_EQ(membership_.view()->members[0].registration_id, id);
}

TEST_F(RegistrationTest, OlderWorkerOfTheNameIsToldToLeave) {
  auto older = Register(Info("a"));
  ASSERT_TRUE(WaitForMembers(1));
  const uint64_t id = membership_.view()->members[0].registration_id;
  auto newer = Register(Info("a"));
  EXPECT_TRUE(
      WaitForChange(absl::StatusCode::kAborted, "names must be unique"));
  ASSERT_TRUE(WaitForMembers(1));
  EXPECT_NE(membership_.view()->members[0].registration_id, id);
}

TEST_F(RegistrationTest, ExcludedWorkerRegistersAgain) {
  auto registrar = Register(Info("a"));
  ASSERT_TRUE(WaitForMembers(1));
  const uint64_t id = membership_.view()->members[0].registration_id;
  ASSERT_TRUE(membership_.Remove(id));
  ASSERT_TRUE(WaitForMembers(1));
  EXPECT_NE(membership_.view()->members[0].registration_id, id);
}

TEST_F(RegistrationTest, WorkerReturnsAfterTheCoordinatorRestarts) {
  auto registrar = Register(Info("a"));
  ASSERT_TRUE(WaitForMembers(1));
  StopServer();
  ASSERT_TRUE(WaitForMembers(0));
  StartServer(port_);
  EXPECT_TRUE(WaitForMembers(1));
}

TEST_F(RegistrationTest, CloseEndsTheStreamsAndTakesNoMore) {
  auto registrar = Register(Info("a"));
  ASSERT_TRUE(WaitForMembers(1));
  service_->Close();
  EXPECT_TRUE(WaitForMembers(0));
  EXPECT_TRUE(WaitForChange(absl::StatusCode::kUnavailable, "shutting down"));
}

TEST_F(RegistrationTest, FirstMessageMustBeInfo) {
  const auto stub = Stub();
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + kTimeout));
  const auto stream = stub->Register(&context);
  worker::v1::RegisterRequest beat;
  beat.set_heartbeat(1);
  ASSERT_TRUE(stream->Write(beat));
  worker::v1::RegisterResponse answer;
  ASSERT_TRUE(stream->Read(&answer));
  EXPECT_FALSE(answer.accepted());
  EXPECT_THAT(answer.reason(), HasSubstr("info"));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RegistrationTest, StaticWorkersAreFoundAndFoundAgain) {
  WorkerNode node({});
  WorkerServerOptions options;
  options.info.set_name("s");
  options.info.set_speed(1.0);
  options.info.set_process_id(1);
  auto server = WorkerServer::Start(options, node).value();
  const std::string address = server->info().address();
  StaticWorkersOptions workers;
  workers.addresses = {address};
  workers.interval = absl::Milliseconds(20);
  StaticWorkers poller(workers, membership_);
  ASSERT_TRUE(WaitForMembers(1));
  EXPECT_EQ(membership_.view()->members[0].info.address, address);
  const uint64_t id = membership_.view()->members[0].registration_id;
  ASSERT_TRUE(membership_.Remove(id));  // excluded while it was frozen, say
  EXPECT_TRUE(WaitForMembers(1));
  EXPECT_NE(membership_.view()->members[0].registration_id, id);
}

// One worker, given by its address, that also announces itself.
TEST_F(RegistrationTest, StaticWorkerThatRegistersItselfIsOneMember) {
  WorkerNode node({});
  WorkerServerOptions options;
  options.info = Info("s");
  options.info.set_host_id("host");
  options.info.set_process_id(1);
  options.info.set_gpu_id("gpu");
  options.info.set_nccl_version(22809);
  auto server = WorkerServer::Start(options, node).value();
  auto registrar = Register(server->info());
  ASSERT_TRUE(WaitForMembers(1));
  EXPECT_EQ(membership_.view()->members[0].info.gpu_id, "gpu");
  EXPECT_EQ(membership_.view()->members[0].info.nccl_version, 22809u);
  const uint64_t id = membership_.view()->members[0].registration_id;
  StaticWorkersOptions workers;
  workers.addresses = {server->info().address()};
  workers.interval = absl::Milliseconds(20);
  workers.log = [this](const std::string& line) {
    absl::MutexLock lock(&mutex_);
    log_.push_back(line);
  };
  StaticWorkers poller(workers, membership_);
  ASSERT_TRUE(WaitForLog("worker s is found at"));
  EXPECT_EQ(membership_.view()->members[0].registration_id, id);
  // Its own registration ends: the poller keeps it in the book.
  registrar.reset();
  ASSERT_TRUE(WaitForLog("worker s has left"));
  EXPECT_TRUE(WaitForMembers(1));
  // And announced again, it takes its own name, not another's.
  registrar = Register(server->info());
  ASSERT_TRUE(WaitForLog("worker s is found at", 3));
  EXPECT_EQ(CountLog("names must be unique"), 0);
}

// Accepts connections, and pings are answered by the kernel's and gRPC's side
// alone: the service itself never says a word.
class MuteRegistry final : public worker::v1::Registry::Service {
 public:
  grpc::Status Register(
      grpc::ServerContext* context,
      grpc::ServerReaderWriter<worker::v1::RegisterResponse,
                               worker::v1::RegisterRequest>*) override {
    while (!context->IsCancelled()) absl::SleepFor(absl::Milliseconds(1));
    ++num_given_up;
    return grpc::Status::CANCELLED;
  }
  std::atomic<int> num_given_up = 0;
};

TEST_F(RegistrationTest, MuteCoordinatorIsGivenUpAndTriedAgain) {
  StopServer();
  answer_timeout_ = absl::Milliseconds(300);
  MuteRegistry mute;
  server_ = StartOnLoopback(&mute, &port_);
  auto registrar = Register(Info("a"));
  EXPECT_TRUE(WaitForChange(absl::StatusCode::kDeadlineExceeded,
                            "did not answer within 300ms"));
  EXPECT_TRUE(WaitUntil([&] { return mute.num_given_up >= 2; }, kTimeout));
}

TEST(ParseAddressesTest, EachMustBeHostAndPort) {
  EXPECT_EQ(ParseAddresses("a:1,b:65535").value().size(), 2u);
  for (const char* text : {"", "a", "a:", ":1", "a:0", "a:65536", "a:1,"}) {
    EXPECT_FALSE(ParseAddresses(text).ok()) << text;
  }
}

}  // namespace
}  // namespace headwise
