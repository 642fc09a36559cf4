#include "server/membership/membership.h"

#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/str_cat.h"
#include "base/fake_clock.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace headwise {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

MemberInfo Worker(const std::string& name) {
  MemberInfo info;
  info.name = name;
  info.address = "127.0.0.1:1";
  info.build = {.version = "v1", .protocols = {2, 3}, .numerics = 5};
  return info;
}

class MembershipTest : public testing::Test {
 protected:
  std::vector<std::string> Names() const {
    std::vector<std::string> names;
    for (const Member& m : book_.view()->members) names.push_back(m.info.name);
    return names;
  }
  uint64_t Epoch() const { return book_.view()->membership_epoch; }

  FakeClock clock_;
  Membership book_{
      {.build = {"v1", {2, 3}, 5}, .max_members = 3, .first_epoch = 100},
      clock_};
};

TEST_F(MembershipTest, EveryChangeRaisesTheEpochAndViewsStayAsTheyWere) {
  const auto empty = book_.view();
  EXPECT_EQ(empty->membership_epoch, 100u);
  const auto b = book_.Register(Worker("b"));
  const auto a = book_.Register(Worker("a"));
  ASSERT_TRUE(a.ok() && b.ok());
  EXPECT_NE(*a, *b);
  EXPECT_THAT(Names(), ElementsAre("a", "b"));
  EXPECT_EQ(Epoch(), 102u);
  EXPECT_TRUE(book_.Remove(*b));
  EXPECT_EQ(Epoch(), 103u);
  EXPECT_FALSE(book_.Remove(*b));
  EXPECT_EQ(Epoch(), 103u) << "nothing changed, so the epoch must not";
  EXPECT_THAT(empty->members, IsEmpty());
  EXPECT_EQ(book_.Bump(), 104u);
  EXPECT_THAT(Names(), ElementsAre("a"));
}

// As a coordinator does that another one leads, and then leads itself.
TEST_F(MembershipTest, AClosedBookHasNobodyAndOpensAboveAGivenEpoch) {
  const auto a = book_.Register(Worker("a"));
  ASSERT_TRUE(a.ok());
  book_.Close(absl::UnavailableError("standby of b:1"));
  EXPECT_THAT(Names(), IsEmpty());
  EXPECT_EQ(book_.Register(Worker("a")).status(),
            absl::UnavailableError("standby of b:1"));
  EXPECT_EQ(book_.FindOrRegister(Worker("a")).status(),
            absl::UnavailableError("standby of b:1"));
  EXPECT_TRUE(absl::IsNotFound(book_.Heartbeat(*a)));
  book_.Open(5000);
  EXPECT_EQ(Epoch(), 5000u);
  EXPECT_TRUE(book_.Register(Worker("a")).ok());
  book_.Close(absl::UnavailableError("standby"));
  const uint64_t closed = Epoch();
  book_.Open(10);
  EXPECT_GT(Epoch(), closed) << "it only grows";
}

TEST_F(MembershipTest, DeadAfterExactlyTheLimitPlusOne) {
  const auto a = book_.Register(Worker("a"));
  const auto b = book_.Register(Worker("b"));
  clock_.Advance(absl::Seconds(2));
  ASSERT_TRUE(book_.Heartbeat(*b).ok());
  clock_.Advance(absl::Seconds(1));
  EXPECT_THAT(book_.RemoveDead(), IsEmpty()) << "3 s is the limit itself";
  clock_.Advance(absl::Nanoseconds(1));
  EXPECT_THAT(book_.RemoveDead(), ElementsAre("a"));
  EXPECT_THAT(Names(), ElementsAre("b"));
  EXPECT_EQ(book_.Heartbeat(*a).code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(book_.Heartbeat(*b).ok());
}

TEST_F(MembershipTest, NewerRegistrationWinsAndTheOlderIsToldSo) {
  const auto older = book_.Register(Worker("a"));
  MemberInfo info = Worker("a");
  info.address = "127.0.0.1:2";
  const auto newer = book_.Register(info);
  ASSERT_TRUE(newer.ok());
  EXPECT_EQ(book_.view()->members.size(), 1u);
  EXPECT_EQ(book_.view()->members[0].info.address, "127.0.0.1:2");
  const absl::Status status = book_.Heartbeat(*older);
  EXPECT_EQ(status.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(status.message(), HasSubstr("registered as a"));
  EXPECT_FALSE(book_.Remove(*older)) << "the end of the older one's stream";
  EXPECT_TRUE(book_.Heartbeat(*newer).ok());
}

TEST_F(MembershipTest, SameProcessKeepsItsRegistration) {
  MemberInfo info = Worker("a");
  info.host_id = "host";
  info.process_id = 7;
  const auto own = book_.Register(info);
  const uint64_t epoch = Epoch();
  clock_.Advance(absl::Seconds(2));
  MemberInfo found = info;
  found.address = "10.0.0.1:1";
  EXPECT_EQ(book_.FindOrRegister(found).value(), own.value());
  EXPECT_EQ(Epoch(), epoch);
  EXPECT_EQ(book_.view()->members[0].info.address, info.address);
  clock_.Advance(absl::Seconds(2));
  EXPECT_THAT(book_.RemoveDead(), IsEmpty()) << "it was heard of";

  found.process_id = 8;
  const auto restarted = book_.FindOrRegister(found);
  EXPECT_NE(restarted.value(), own.value());
  found.host_id.clear();
  EXPECT_NE(book_.FindOrRegister(found).value(), restarted.value());
}

TEST_F(MembershipTest, BumpGoesAsFarAsItIsTold) {
  EXPECT_EQ(book_.Bump(), 101u);
  EXPECT_EQ(book_.Bump(1000), 1101u);
}

MemberInfo Worker(const std::string& name, ProtocolRange protocols) {
  MemberInfo info = Worker(name);
  info.build.protocols = protocols;
  return info;
}

TEST_F(MembershipTest, OtherNumericsAreRefusedWithBoth) {
  MemberInfo info = Worker("a");
  info.build = {"v2", {2, 3}, 6};
  const auto id = book_.Register(info);
  EXPECT_EQ(id.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(id.status().message()),
              HasSubstr("worker a of build v2 has numerics 6, the coordinator "
                        "of build v1 has 5"));
  EXPECT_EQ(Epoch(), 100u);
}

TEST_F(MembershipTest, AnotherVersionIsToldAndNotCompared) {
  MemberInfo info = Worker("a");
  info.build.version = "v2";
  ASSERT_TRUE(book_.Register(info).ok());
  EXPECT_EQ(book_.view()->members[0].info.build.version, "v2");
  for (const char* version : {"two\nlines", "\x1b[2J"}) {
    info.build.version = version;
    EXPECT_EQ(book_.Register(info).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(MembershipTest, WithoutACommonProtocolItIsRefusedWithBoth) {
  for (const ProtocolRange& range :
       std::vector<ProtocolRange>{{4, 9}, {1, 1}, {0, 0}, {3, 2}}) {
    const auto id = book_.Register(Worker("a", range));
    EXPECT_EQ(id.status().code(), absl::StatusCode::kFailedPrecondition)
        << TextOf(range);
    EXPECT_THAT(std::string(id.status().message()),
                HasSubstr(absl::StrCat("speaks ", TextOf(range),
                                       ", the coordinator of build v1 and its "
                                       "workers speak protocols 2 to 3")));
  }
}

// Any of the members may form a group, so a newcomer must get on with all.
TEST_F(MembershipTest, AllMembersKeepAProtocolInCommon) {
  ASSERT_TRUE(book_.Register(Worker("a", {1, 2})).ok());
  EXPECT_EQ(CommonProtocols({2, 3}, book_.view()->members).newest, 2u);
  const auto id = book_.Register(Worker("b", {3, 4}));
  EXPECT_EQ(id.status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(id.status().message()), HasSubstr("protocol 2"));
  // In the place of the one that it can't talk to.
  ASSERT_TRUE(book_.Register(Worker("a", {3, 4})).ok());
  ASSERT_TRUE(book_.Register(Worker("b", {2, 4})).ok());
  EXPECT_EQ(CommonProtocols({2, 3}, book_.view()->members).newest, 3u);
}

TEST_F(MembershipTest, FieldsOutOfRangeAreRefused) {
  const auto code = [&](const MemberInfo& info) {
    return book_.Register(info).status().code();
  };
  EXPECT_EQ(code(Worker("")), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Worker(std::string(129, 'x'))),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Worker("a\"b")), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(code(Worker(std::string("a\0b", 3))),
            absl::StatusCode::kInvalidArgument);
  for (const double speed :
       {0.0, -1.0, std::numeric_limits<double>::quiet_NaN(),
        std::numeric_limits<double>::infinity()}) {
    MemberInfo info = Worker("a");
    info.speed = speed;
    EXPECT_EQ(code(info), absl::StatusCode::kInvalidArgument) << speed;
  }
  MemberInfo info = Worker("a");
  info.memory_bytes = -1;
  EXPECT_EQ(code(info), absl::StatusCode::kInvalidArgument);
  info = Worker("a");
  info.host_id = std::string(257, 'h');
  EXPECT_EQ(code(info), absl::StatusCode::kInvalidArgument);
  info = Worker("a");
  info.gpu_id = std::string(257, 'g');
  EXPECT_EQ(code(info), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Epoch(), 100u);
}

TEST_F(MembershipTest, FullBookRefusesNewNamesButTakesReplacements) {
  for (const char* name : {"a", "b", "c"}) {
    ASSERT_TRUE(book_.Register(Worker(name)).ok());
  }
  EXPECT_EQ(book_.Register(Worker("d")).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(book_.Register(Worker("c")).ok());
}

TEST_F(MembershipTest, ListenerHearsEachChangeAndMayCallBack) {
  int calls = 0;
  size_t last_size = 99;
  book_.SetListener([&] {
    ++calls;
    last_size = book_.view()->members.size();  // deadlocks if a lock is held
  });
  const auto a = book_.Register(Worker("a"));
  EXPECT_EQ(calls, 1);
  EXPECT_EQ(last_size, 1u);
  EXPECT_TRUE(book_.Heartbeat(*a).ok());
  EXPECT_EQ(calls, 1);
  clock_.Advance(absl::Seconds(4));
  book_.RemoveDead();
  EXPECT_EQ(calls, 2);
  EXPECT_EQ(last_size, 0u);
}

TEST_F(MembershipTest, ManyReplacementsStayBounded) {
  const auto first = book_.Register(Worker("a"));
  for (int i = 0; i < 300; ++i) ASSERT_TRUE(book_.Register(Worker("a")).ok());
  EXPECT_EQ(book_.Heartbeat(*first).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Epoch(), 401u);
}

TEST_F(MembershipTest, ConcurrentUseKeepsEpochsExact) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 50; ++i) {
        const auto id = book_.Register(Worker(std::string(1, 'a' + t)));
        ASSERT_TRUE(id.ok());
        ASSERT_TRUE(book_.Heartbeat(*id).ok());
        ASSERT_TRUE(book_.Remove(*id));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(Epoch(), 100u + 3 * 50 * 2);
  EXPECT_THAT(Names(), IsEmpty());
}

}  // namespace
}  // namespace headwise
