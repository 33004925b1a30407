#include "common/storage/sqlite_event_store.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "absl/strings/str_cat.h"
#include "common/storage/sqlite.h"

namespace nkiagent::storage {
namespace {

using absl::StatusCode;
using testing::ElementsAre;
using testing::HasSubstr;

class SqliteEventStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string folder = testing::TempDir() + "/event_store_XXXXXX";
    ASSERT_NE(mkdtemp(folder.data()), nullptr);
    folder_ = folder;
    Reopen();
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  std::string Path() const { return absl::StrCat(folder_, "/events.db"); }

  void Reopen() {
    store_.reset();
    auto store = OpenSqliteEventStore({.path = Path()});
    ASSERT_TRUE(store.ok()) << store.status();
    store_ = *std::move(store);
  }

  static NewSession Session(const std::string& id, const std::string& request_id = "", int state = 1) {
    NewSession session;
    session.session_id = id;
    session.request_id = request_id;
    session.request_hash = "hash";
    session.first_event = "created " + id;
    session.index.state = state;
    session.index.model = "builtin";
    session.index.summary = std::string("\0sum", 4);
    return session;
  }

  std::vector<std::string> Payloads(const std::string& id, int64_t from = 1, int limit = 100) {
    std::vector<std::string> payloads;
    auto events = store_->Read(id, from, limit);
    EXPECT_TRUE(events.ok()) << events.status();
    if (!events.ok()) return payloads;
    for (const StoredEvent& event : *events)
      payloads.push_back(absl::StrCat(event.sequence, ":", event.payload));
    return payloads;
  }

  std::vector<std::string> Claimed(const std::string& owner, int seconds, int limit = 100) {
    auto records = store_->Claim(owner, At(seconds), At(seconds + 10), limit);
    EXPECT_TRUE(records.ok()) << records.status();
    std::vector<std::string> ids;
    if (!records.ok()) return ids;
    for (const SessionRecord& record : *records) ids.push_back(record.session_id);
    return ids;
  }

  static absl::Time At(int seconds) { return absl::FromUnixSeconds(1'000'000 + seconds); }

  std::string folder_;
  std::unique_ptr<EventStore> store_;
};

TEST_F(SqliteEventStoreTest, EventsAreReadBackInOrderFromAnySequence) {
  ASSERT_TRUE(store_->CreateSession(Session("s")).ok());
  ASSERT_TRUE(store_->Append("s", "", 1, {"a", std::string("b\0c", 3)}, {.state = 2}).ok());
  ASSERT_TRUE(store_->Append("s", "", 3, {"d"}, {.state = 3, .open = false, .summary = "end"}).ok());
  EXPECT_THAT(Payloads("s"), ElementsAre("1:created s", "2:a", std::string("3:b\0c", 5), "4:d"));
  EXPECT_THAT(Payloads("s", 2, 2), ElementsAre("2:a", std::string("3:b\0c", 5)));
  EXPECT_THAT(Payloads("s", 9), ElementsAre());
  const auto record = store_->Get("s");
  ASSERT_TRUE(record.ok());
  EXPECT_EQ(record->last_sequence, 4);
  EXPECT_EQ(record->index.state, 3);
  EXPECT_FALSE(record->index.open);
  EXPECT_EQ(record->index.summary, "end");
}

TEST_F(SqliteEventStoreTest, EverythingSurvivesReopening) {
  ASSERT_TRUE(store_->CreateSession(Session("s", "r1")).ok());
  ASSERT_TRUE(store_->Append("s", "", 1, {"a"}, {.state = 2, .summary = "x"}).ok());
  Reopen();
  EXPECT_THAT(Payloads("s"), ElementsAre("1:created s", "2:a"));
  EXPECT_EQ(store_->Get("s")->index.summary, "x");
  EXPECT_EQ(store_->CreateSession(Session("t", "r1"))->session_id, "s");
}

TEST_F(SqliteEventStoreTest, RepeatedRequestGivesTheFirstSession) {
  EXPECT_FALSE(store_->CreateSession(Session("s", "r1"))->repeated);
  const auto repeat = store_->CreateSession(Session("t", "r1"));
  ASSERT_TRUE(repeat.ok());
  EXPECT_TRUE(repeat->repeated);
  EXPECT_EQ(repeat->session_id, "s");
  EXPECT_EQ(store_->Get("t").status().code(), StatusCode::kNotFound);
  EXPECT_EQ(store_->FindRequest("r1", "hash")->value_or(""), "s");
  EXPECT_FALSE(store_->FindRequest("r2", "hash")->has_value());

  NewSession other = Session("u", "r1");
  other.request_hash = "another";
  EXPECT_EQ(store_->CreateSession(other).status().code(), StatusCode::kAlreadyExists);
  // Without a request id nothing is a repeat.
  EXPECT_TRUE(store_->CreateSession(Session("v")).ok());
  EXPECT_TRUE(store_->CreateSession(Session("w")).ok());
}

TEST_F(SqliteEventStoreTest, AppendRefusesAStaleWriter) {
  ASSERT_TRUE(store_->CreateSession(Session("s")).ok());
  ASSERT_TRUE(store_->Append("s", "", 1, {"a"}, {}).ok());
  EXPECT_EQ(store_->Append("s", "", 1, {"b"}, {}).code(), StatusCode::kAborted);
  EXPECT_EQ(store_->Append("nope", "", 1, {"b"}, {}).code(), StatusCode::kNotFound);
  ASSERT_TRUE(store_->Append("s", "", 2, {"end"}, {.open = false}).ok());
  EXPECT_EQ(store_->Append("s", "", 3, {"b"}, {}).code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(Payloads("s"), ElementsAre("1:created s", "2:a", "3:end"));
}

TEST_F(SqliteEventStoreTest, LeaseFencesTheFormerOwner) {
  ASSERT_TRUE(store_->CreateSession(Session("s")).ok());
  ASSERT_TRUE(store_->CreateSession(Session("t")).ok());
  EXPECT_THAT(Claimed("one", 0, 1), ElementsAre("s"));
  EXPECT_THAT(Claimed("one", 0), ElementsAre("t"));
  EXPECT_THAT(Claimed("two", 5), ElementsAre());
  EXPECT_EQ(*store_->RenewLeases("one", At(20)), 2);
  EXPECT_THAT(Claimed("two", 15), ElementsAre());
  EXPECT_TRUE(store_->Append("s", "one", 1, {"a"}, {}).ok());
  // The lease passes; another owner takes over, and the former one can't write any more.
  EXPECT_THAT(Claimed("two", 21, 1), ElementsAre("s"));
  EXPECT_EQ(store_->Append("s", "one", 2, {"b"}, {}).code(), StatusCode::kAborted);
  EXPECT_TRUE(store_->Append("s", "two", 2, {"c"}, {}).ok());
  EXPECT_EQ(*store_->RenewLeases("one", At(50)), 1);
  ASSERT_TRUE(store_->Release("two", "").ok());
  EXPECT_THAT(Claimed("three", 22), ElementsAre("s"));
}

TEST_F(SqliteEventStoreTest, EndedSessionsAreNotClaimed) {
  ASSERT_TRUE(store_->CreateSession(Session("s")).ok());
  ASSERT_TRUE(store_->CreateSession(Session("t")).ok());
  EXPECT_EQ(*store_->CountOpen(), 2);
  ASSERT_TRUE(store_->Append("s", "", 1, {"end"}, {.open = false}).ok());
  EXPECT_EQ(*store_->CountOpen(), 1);
  EXPECT_THAT(Claimed("one", 0), ElementsAre("t"));
}

TEST_F(SqliteEventStoreTest, ReopeningFreesSessionsOfTheDeadProcessAtOnce) {
  ASSERT_TRUE(store_->CreateSession(Session("s")).ok());
  EXPECT_THAT(Claimed("one", 0), ElementsAre("s"));
  Reopen();
  EXPECT_THAT(Claimed("two", 1), ElementsAre("s"));
}

TEST_F(SqliteEventStoreTest, ListFiltersAndPages) {
  for (int i = 0; i < 5; ++i) {
    NewSession session = Session(absl::StrCat("s", i), "", i % 2);
    session.index.model = i < 3 ? "builtin" : "other";
    session.index.group = i == 4 ? "run" : "";
    ASSERT_TRUE(store_->CreateSession(session).ok());
  }
  auto ids = [&](const ListFilter& filter, int64_t before, int limit) {
    std::vector<std::string> found;
    const auto records = store_->List(filter, before, limit);
    EXPECT_TRUE(records.ok()) << records.status();
    if (!records.ok()) return found;
    for (const SessionRecord& record : *records) found.push_back(record.session_id);
    return found;
  };
  EXPECT_THAT(ids({}, 0, 2), ElementsAre("s4", "s3"));
  EXPECT_THAT(ids({}, store_->Get("s3")->ordinal, 10), ElementsAre("s2", "s1", "s0"));
  EXPECT_THAT(ids({.states = {0}}, 0, 10), ElementsAre("s4", "s2", "s0"));
  EXPECT_THAT(ids({.states = {0, 1}, .model = "builtin"}, 0, 10), ElementsAre("s2", "s1", "s0"));
  EXPECT_THAT(ids({.group = "run"}, 0, 10), ElementsAre("s4"));
}

TEST_F(SqliteEventStoreTest, SecondProcessIsKeptOut) {
  const auto second = OpenSqliteEventStore({.path = Path()});
  EXPECT_EQ(second.status().code(), StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.status().message()), HasSubstr("another process"));
}

TEST_F(SqliteEventStoreTest, NewerSchemaAndForeignFilesAreRefused) {
  store_.reset();
  {
    auto database = Database::Open(Path(), absl::Seconds(1));
    ASSERT_TRUE(database.ok());
    ASSERT_TRUE(database->Execute("PRAGMA user_version = 99").ok());
  }
  EXPECT_EQ(OpenSqliteEventStore({.path = Path()}).status().code(), StatusCode::kFailedPrecondition);

  const std::string text = absl::StrCat(folder_, "/text.db");
  std::ofstream(text) << std::string(4096, 'x');
  EXPECT_EQ(OpenSqliteEventStore({.path = text}).status().code(), StatusCode::kDataLoss);
  EXPECT_FALSE(OpenSqliteEventStore({.path = absl::StrCat(folder_, "/no/such/folder.db")}).ok());
  EXPECT_FALSE(OpenSqliteEventStore({.path = ""}).ok());
}

TEST_F(SqliteEventStoreTest, ParallelWritersOfOneSessionNeverBothWin) {
  ASSERT_TRUE(store_->CreateSession(Session("s")).ok());
  std::vector<std::thread> writers;
  std::atomic<int> wins = 0;
  for (int writer = 0; writer < 4; ++writer) {
    writers.emplace_back([&] {
      for (int64_t sequence = 1; sequence <= 20; ++sequence) {
        if (store_->Append("s", "", sequence, {"x"}, {}).ok()) ++wins;
      }
    });
  }
  for (std::thread& writer : writers) writer.join();
  EXPECT_EQ(store_->Get("s")->last_sequence, 1 + wins.load());
  EXPECT_EQ(static_cast<int>(Payloads("s").size()), 1 + wins.load());
}

// A child process appends and acknowledges each append through a pipe; it is killed in the middle. Everything
// that it acknowledged is there afterwards, without gaps, and the session's head agrees with its events.
TEST_F(SqliteEventStoreTest, KilledProcessLosesNothingThatItAcknowledged) {
  ASSERT_TRUE(store_->CreateSession(Session("s")).ok());
  store_.reset();
  int acknowledged[2];
  ASSERT_EQ(pipe(acknowledged), 0);
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    close(acknowledged[0]);
    auto store = OpenSqliteEventStore({.path = Path()});
    if (!store.ok()) _exit(1);
    for (int64_t sequence = 1;; ++sequence) {
      if (!(*store)->Append("s", "", sequence, {absl::StrCat("p", sequence + 1)}, {}).ok()) _exit(2);
      const char byte = 'a';
      if (write(acknowledged[1], &byte, 1) != 1) _exit(3);
    }
  }
  close(acknowledged[1]);
  int64_t seen = 0;
  char byte;
  while (seen < 25 && read(acknowledged[0], &byte, 1) == 1) ++seen;
  ASSERT_EQ(seen, 25);
  ASSERT_EQ(kill(child, SIGKILL), 0);
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
  while (read(acknowledged[0], &byte, 1) == 1) ++seen;
  close(acknowledged[0]);

  Reopen();
  const std::vector<std::string> payloads = Payloads("s", 1, 1'000'000);
  ASSERT_GE(static_cast<int64_t>(payloads.size()), 1 + seen);
  for (size_t i = 1; i < payloads.size(); ++i) EXPECT_EQ(payloads[i], absl::StrCat(i + 1, ":p", i + 1));
  EXPECT_EQ(store_->Get("s")->last_sequence, static_cast<int64_t>(payloads.size()));
}

}  // namespace
}  // namespace nkiagent::storage
