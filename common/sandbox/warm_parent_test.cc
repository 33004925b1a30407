#include "common/sandbox/warm_parent.h"

#include <dirent.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/sandbox/shared_memory.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace nkiagent::sandbox {
namespace {

using ::testing::AnyOf;
using ::testing::Eq;
using ::testing::HasSubstr;
using ::testing::Not;

WarmParentOptions OptionsFor(const std::string& policy) {
  WarmParentOptions options;
  options.name = "test";
  const char* program = getenv("HOSTILE_PARENT");
  options.argv = {program != nullptr ? program : "/nonexistent", policy};
  options.tmp_bytes = 8 << 20;
  options.minimum_level = Level::kRlimits;
  return options;
}

// Processes that descend from `root`.
std::set<pid_t> Descendants(pid_t root) {
  std::multimap<pid_t, pid_t> children;
  DIR* proc = opendir("/proc");
  while (const dirent* entry = readdir(proc)) {
    int pid = 0;
    if (!absl::SimpleAtoi(entry->d_name, &pid)) {
      continue;
    }
    std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
    std::string stat((std::istreambuf_iterator<char>(file)), {});
    const size_t close = stat.rfind(')');
    char state = 0;
    pid_t parent = 0;
    if (close != std::string::npos && sscanf(stat.c_str() + close + 1, " %c %d", &state, &parent) == 2) {
      children.emplace(parent, pid);
    }
  }
  closedir(proc);
  std::set<pid_t> found;
  std::vector<pid_t> todo = {root};
  while (!todo.empty()) {
    const pid_t pid = todo.back();
    todo.pop_back();
    for (auto [it, end] = children.equal_range(pid); it != end; ++it) {
      found.insert(it->second);
      todo.push_back(it->second);
    }
  }
  return found;
}

// A zombie is dead: who has adopted an orphan may take its time to reap it.
bool IsAlive(pid_t pid) {
  std::ifstream file(absl::StrCat("/proc/", pid, "/stat"));
  const std::string stat((std::istreambuf_iterator<char>(file)), {});
  const size_t close = stat.rfind(')');
  return close != std::string::npos && close + 2 < stat.size() && stat[close + 2] != 'Z' &&
         stat[close + 2] != 'X';
}

// Polls for a condition that a process outside our control brings about.
template <typename Predicate>
bool Eventually(Predicate predicate) {
  for (int i = 0; i < 1000; ++i) {
    if (predicate()) {
      return true;
    }
    absl::SleepFor(absl::Milliseconds(10));
  }
  return false;
}

class WarmParentTest : public ::testing::Test {
 protected:
  static void SetUpTestSuite() {
    WarmParentOptions options = OptionsFor("python");
    options.ready_children = 1;
    options.minimum_level = Level::kRlimits;
    auto parent = WarmParent::Start(options);
    ASSERT_TRUE(parent.ok()) << parent.status();
    shared_ = parent->release();
  }
  static void TearDownTestSuite() {
    delete shared_;
    shared_ = nullptr;
  }

  // What is promised is the strongest level; a machine that refuses namespaces can't be asked for it.
  void SetUp() override {
    if (shared_->Health().level != Level::kNamespaces) {
      GTEST_SKIP() << "no namespaces here: " << shared_->Health().detail;
    }
  }

  // Nothing stays behind: at most the ready children remain.
  void TearDown() override {
    EXPECT_TRUE(Eventually([] { return Descendants(shared_->Health().pid).size() <= 1; }));
    EXPECT_EQ(shared_->Health().restarts, 0);
    EXPECT_EQ(shared_->Health().running_children, 0u);
  }

  static absl::StatusOr<Outcome> Run(WarmParent& parent, absl::string_view command, Limits limits = {},
                                     absl::Duration wall_limit = absl::Seconds(20)) {
    Request request;
    request.payload = command;
    request.limits = limits;
    request.wall_limit = wall_limit;
    return parent.Run(request, absl::Now() + absl::Seconds(30));
  }
  static Outcome RunOk(absl::string_view command, Limits limits = {},
                       absl::Duration wall_limit = absl::Seconds(20)) {
    absl::StatusOr<Outcome> outcome = Run(*shared_, command, limits, wall_limit);
    EXPECT_TRUE(outcome.ok()) << outcome.status();
    return outcome.value_or(Outcome());
  }

  static WarmParent* shared_;
};

WarmParent* WarmParentTest::shared_ = nullptr;

TEST_F(WarmParentTest, AnswersARequest) {
  const Outcome outcome = RunOk("echo hello");
  EXPECT_EQ(outcome.kind, OutcomeKind::kOk) << outcome.detail;
  EXPECT_EQ(outcome.reply, "hello");
}

TEST_F(WarmParentTest, ChildIsNobodyWithoutEnvironmentOrForeignDescriptors) {
  EXPECT_EQ(RunOk("identity").reply, "pid 1 uid 65534 gid 65534 env empty");
  // The payload's memory is mapped through one descriptor, the reply's through another.
  EXPECT_EQ(
      std::vector<std::string>(absl::StrSplit(RunOk("descriptors").reply, ' ', absl::SkipEmpty())).size(),
      2u);
}

TEST_F(WarmParentTest, EndlessLoopEndsAtTheWallLimit) {
  const Outcome outcome = RunOk("loop", {}, absl::Milliseconds(200));
  EXPECT_EQ(outcome.kind, OutcomeKind::kWallTimeout);
  EXPECT_THAT(outcome.detail, HasSubstr("200ms"));
}

TEST_F(WarmParentTest, EndlessLoopEndsAtTheCpuLimit) {
  Limits limits;
  limits.cpu_seconds = 1;
  EXPECT_EQ(RunOk("loop", limits).kind, OutcomeKind::kCpuLimit);
}

TEST_F(WarmParentTest, ForkBombIsAPolicyViolation) {
  const Outcome outcome = RunOk("fork_bomb");
  EXPECT_EQ(outcome.kind, OutcomeKind::kPolicyViolation);
  EXPECT_THAT(outcome.detail, AnyOf(HasSubstr("clone"), HasSubstr("fork")));
  EXPECT_EQ(RunOk("clone3").reply, "ENOSYS");
}

TEST_F(WarmParentTest, HundredGibibytesHitTheMemoryLimit) {
  const Outcome outcome = RunOk("allocate_100_gib");
  EXPECT_EQ(outcome.kind, OutcomeKind::kMemoryLimit);
  EXPECT_THAT(outcome.detail, HasSubstr("4096 MiB"));
}

TEST_F(WarmParentTest, FilesOutsideDoNotExist) {
  const Outcome outcome = RunOk("read_outside");
  EXPECT_EQ(outcome.kind, OutcomeKind::kOk);
  EXPECT_THAT(outcome.reply, Not(HasSubstr("opened")));
  EXPECT_THAT(outcome.reply, HasSubstr("/etc/passwd: ENOENT"));
  EXPECT_THAT(outcome.reply, HasSubstr("/proc/self/maps: ENOENT"));
}

TEST_F(WarmParentTest, OnlyTmpCanBeWritten) {
  const Outcome outcome = RunOk("write_outside");
  EXPECT_THAT(outcome.reply, HasSubstr("/usr/sandbox_escape: EROFS"));
  EXPECT_THAT(outcome.reply, HasSubstr("/tmp/inside: opened"));
  for (absl::string_view line : absl::StrSplit(outcome.reply, '\n', absl::SkipEmpty())) {
    EXPECT_EQ(absl::StrContains(line, "opened"), absl::StartsWith(line, "/tmp/")) << line;
  }
}

TEST_F(WarmParentTest, TmpIsPrivateToEachChildAndBounded) {
  RunOk("write_outside");
  EXPECT_THAT(RunOk("list_tmp").reply, Not(HasSubstr("inside")));
  EXPECT_EQ(RunOk("fill_tmp").reply, "ENOSPC after 8 MiB");
}

TEST_F(WarmParentTest, SocketsProgramsAndMountsArePolicyViolations) {
  EXPECT_EQ(RunOk("socket").detail, "called socket, which is not allowed");
  EXPECT_EQ(RunOk("exec").detail, "called execve, which is not allowed");
  EXPECT_EQ(RunOk("mount").detail, "called mount, which is not allowed");
  EXPECT_EQ(RunOk("mount").kind, OutcomeKind::kPolicyViolation);
  EXPECT_EQ(RunOk("memfd").reply, "EPERM");
}

TEST_F(WarmParentTest, EarlyExitIsTold) {
  const Outcome outcome = RunOk("exit_3");
  EXPECT_EQ(outcome.kind, OutcomeKind::kExited);
  EXPECT_EQ(outcome.exit_code, 3);
}

TEST_F(WarmParentTest, CrashesAreToldWithTheirSignal) {
  EXPECT_EQ(RunOk("segfault").signal, SIGSEGV);
  EXPECT_EQ(RunOk("abort").signal, SIGABRT);
  EXPECT_EQ(RunOk("abort").kind, OutcomeKind::kCrashed);
  EXPECT_EQ(RunOk("recurse").signal, SIGSEGV);
}

TEST_F(WarmParentTest, FloodOfOutputIsCutAndKeptShort) {
  const Outcome outcome = RunOk("flood");
  EXPECT_EQ(outcome.kind, OutcomeKind::kOutputFlood);
  EXPECT_LT(outcome.output.size(), size_t{140} << 10);
  EXPECT_LT(outcome.output_bytes, uint64_t{17} << 20);
}

TEST_F(WarmParentTest, OutputIsKept) {
  const Outcome outcome = RunOk("say");
  EXPECT_EQ(outcome.reply, "said");
  EXPECT_EQ(outcome.output, "to stdout\nto stderr\n");
}

TEST_F(WarmParentTest, UnhandledExceptionIsAnOutcomeWithItsText) {
  const Outcome outcome = RunOk("throw");
  EXPECT_EQ(outcome.kind, OutcomeKind::kException);
  EXPECT_EQ(outcome.reply, "thrown on purpose");
}

TEST_F(WarmParentTest, ThreadsWork) { EXPECT_EQ(RunOk("threads").reply, "6"); }

TEST_F(WarmParentTest, ReplyLongerThanAllowedIsRefused) {
  Request request;
  request.payload = "long_reply";
  request.max_reply_bytes = 1 << 20;
  auto outcome = shared_->Run(request, absl::Now() + absl::Seconds(30));
  ASSERT_TRUE(outcome.ok());
  EXPECT_EQ(outcome->kind, OutcomeKind::kException);
  EXPECT_THAT(outcome->reply, HasSubstr("3145728 bytes"));
  EXPECT_EQ(RunOk("long_reply").reply.size(), size_t{3} << 20);
}

TEST_F(WarmParentTest, SharedMemoryTravelsBothWaysAndSealedMemoryStays) {
  auto memory = SharedMemory::Create("test", 4096);
  ASSERT_TRUE(memory.ok());
  Request request;
  request.payload = "write_memory";
  request.fds = {memory->fd()};
  EXPECT_EQ(shared_->Run(request, absl::Now() + absl::Seconds(30))->reply, "written");
  ASSERT_TRUE(memory->SealContent().ok());
  ASSERT_TRUE(memory->Map(SharedMemory::Access::kReadOnly).ok());
  EXPECT_EQ(memory->bytes()[4095], 7);
  EXPECT_EQ(shared_->Run(request, absl::Now() + absl::Seconds(30))->reply, "refused");
}

TEST_F(WarmParentTest, CancelLeavesNoProcess) {
  std::stop_source stop;
  Request request;
  request.payload = "sleep";
  request.wall_limit = absl::Seconds(100);
  std::thread canceller([&] {
    EXPECT_TRUE(Eventually([] { return shared_->Health().running_children == 1; }));
    stop.request_stop();
  });
  const auto outcome = shared_->Run(request, absl::Now() + absl::Seconds(60), stop.get_token());
  canceller.join();
  EXPECT_EQ(outcome.status().code(), absl::StatusCode::kCancelled);
}

TEST_F(WarmParentTest, TheCallersDeadlineIsAnErrorNotAnOutcome) {
  Request request;
  request.payload = "sleep";
  request.wall_limit = absl::Seconds(100);
  EXPECT_EQ(shared_->Run(request, absl::Now() + absl::Milliseconds(100)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
  EXPECT_EQ(shared_->Run(request, absl::Now() - absl::Seconds(1)).status().code(),
            absl::StatusCode::kDeadlineExceeded);
}

TEST_F(WarmParentTest, OversizePayloadIsRefused) {
  const std::string payload((16 << 20) + 1, 'x');
  EXPECT_EQ(Run(*shared_, payload).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(WarmParentTest, ManyCallersShareOneParent) {
  std::vector<std::thread> threads;
  std::atomic<int> right = 0;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([i, &right] {
      for (int k = 0; k < 5; ++k) {
        right += RunOk(absl::StrCat("echo ", i, "/", k)).reply == absl::StrCat(i, "/", k);
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
  EXPECT_EQ(right, 80);
}

TEST(WarmParent, AFullQueueIsResourceExhausted) {
  WarmParentOptions options = OptionsFor("native");
  options.max_children = 1;
  options.max_waiting = 0;
  auto parent = WarmParent::Start(options);
  ASSERT_TRUE(parent.ok()) << parent.status();
  std::stop_source stop;
  Request request;
  request.payload = "sleep";
  request.wall_limit = absl::Seconds(100);
  std::thread first([&] { (void)(*parent)->Run(request, absl::InfiniteFuture(), stop.get_token()).ok(); });
  ASSERT_TRUE(Eventually([&] { return (*parent)->Health().running_children == 1; }));
  EXPECT_EQ((*parent)->Run(request, absl::Now() + absl::Seconds(10)).status().code(),
            absl::StatusCode::kResourceExhausted);
  stop.request_stop();
  first.join();
}

TEST(WarmParent, NativePolicyOpensNoFilesButComputesOnSharedMemory) {
  auto parent = WarmParent::Start(OptionsFor("native"));
  ASSERT_TRUE(parent.ok()) << parent.status();
  Request request;
  request.payload = "write_outside";
  auto outcome = (*parent)->Run(request, absl::Now() + absl::Seconds(10));
  ASSERT_TRUE(outcome.ok());
  EXPECT_THAT(outcome->reply, HasSubstr("/tmp/inside: EPERM"));
  auto memory = SharedMemory::Create("test", 4096);
  ASSERT_TRUE(memory.ok());
  request.payload = "write_memory";
  request.fds = {memory->fd()};
  EXPECT_EQ((*parent)->Run(request, absl::Now() + absl::Seconds(10))->reply, "written");
  request.payload = "threads";
  request.fds = {};
  EXPECT_EQ((*parent)->Run(request, absl::Now() + absl::Seconds(10))->reply, "6");
}

TEST(WarmParent, ADeadParentIsReplacedAndItsChildrenDie) {
  auto parent = WarmParent::Start(OptionsFor("native"));
  ASSERT_TRUE(parent.ok()) << parent.status();
  const pid_t pid = (*parent)->Health().pid;
  Request request;
  request.payload = "sleep";
  request.wall_limit = absl::Seconds(100);
  absl::Status status;
  std::thread caller([&] { status = (*parent)->Run(request, absl::Now() + absl::Seconds(60)).status(); });
  std::set<pid_t> children;
  ASSERT_TRUE(Eventually([&] {
    children = Descendants(pid);
    return (*parent)->Health().running_children == 1 && !children.empty();
  }));
  kill(pid, SIGKILL);
  caller.join();
  EXPECT_EQ(status.code(), absl::StatusCode::kUnavailable) << status;
  for (pid_t child : children) {
    EXPECT_TRUE(Eventually([&] { return !IsAlive(child); }));
  }
  request.payload = "echo again";
  auto outcome = (*parent)->Run(request, absl::Now() + absl::Seconds(30));
  ASSERT_TRUE(outcome.ok()) << outcome.status();
  EXPECT_EQ(outcome->reply, "again");
  EXPECT_EQ((*parent)->Health().restarts, 1);
}

TEST(WarmParent, ItsEndIsTheEndOfAllChildren) {
  auto parent = WarmParent::Start(OptionsFor("native"));
  ASSERT_TRUE(parent.ok()) << parent.status();
  const pid_t pid = (*parent)->Health().pid;
  ASSERT_TRUE(Eventually([&] { return Descendants(pid).size() == 2; }));  // The ready children.
  const std::set<pid_t> children = Descendants(pid);
  parent->reset();
  EXPECT_FALSE(IsAlive(pid));
  for (pid_t child : children) {
    EXPECT_TRUE(Eventually([&] { return !IsAlive(child); }));
  }
}

TEST(WarmParent, WeakerLevelsAreRefusedUnlessNamed) {
  WarmParentOptions options = OptionsFor("native");
  options.minimum_level = Level::kNamespaces;
  options.maximum_level = Level::kSeccomp;
  EXPECT_EQ(WarmParent::Start(options).status().code(), absl::StatusCode::kInvalidArgument);
  for (Level level : {Level::kSeccomp, Level::kRlimits}) {
    options.minimum_level = options.maximum_level = level;
    auto parent = WarmParent::Start(options);
    ASSERT_TRUE(parent.ok()) << parent.status();
    EXPECT_EQ((*parent)->Health().level, level);
    Request request;
    request.payload = "socket";
    auto outcome = (*parent)->Run(request, absl::Now() + absl::Seconds(10));
    ASSERT_TRUE(outcome.ok());
    EXPECT_EQ(outcome->kind, level == Level::kSeccomp ? OutcomeKind::kPolicyViolation : OutcomeKind::kOk);
    request.payload = "loop";
    request.wall_limit = absl::Milliseconds(100);
    EXPECT_EQ((*parent)->Run(request, absl::Now() + absl::Seconds(10))->kind, OutcomeKind::kWallTimeout);
    request.payload = "abort";
    EXPECT_EQ((*parent)->Run(request, absl::Now() + absl::Seconds(10))->signal, SIGABRT);
  }
}

TEST(WarmParent, AParentThatCannotStartIsNamedWithItsLastWords) {
  WarmParentOptions options = OptionsFor("no_such_policy");
  EXPECT_THAT(std::string(WarmParent::Start(options).status().message()), HasSubstr("no_such_policy"));
  options = OptionsFor("native");
  options.argv.push_back("never_ready");
  options.start_timeout = absl::Milliseconds(500);
  EXPECT_THAT(WarmParent::Start(options).status().code(),
              AnyOf(Eq(absl::StatusCode::kDeadlineExceeded), Eq(absl::StatusCode::kUnavailable)));
  options.argv = {"/nonexistent/program"};
  EXPECT_FALSE(WarmParent::Start(options).ok());
}

}  // namespace
}  // namespace nkiagent::sandbox
