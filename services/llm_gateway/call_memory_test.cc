#include "services/llm_gateway/call_memory.h"

#include <gtest/gtest.h>

#include <vector>

#include "services/llm_gateway/test_util.h"

namespace nkiagent::llm_gateway {
namespace {

GenerateResponse Text(const std::string& text) {
  GenerateResponse response;
  response.mutable_message()->add_content()->set_text(text);
  return response;
}

// A provider whose calls end when the test says so.
class Pending {
 public:
  CallMemory::Call Call() {
    return [this](const CallContext& context, CallMemory::Done done) {
      contexts_.push_back(context);
      dones_.push_back(std::move(done));
    };
  }
  size_t calls() const { return dones_.size(); }
  const CallContext& context(size_t i) const { return contexts_[i]; }
  void Finish(size_t i, absl::StatusOr<GenerateResponse> result) { dones_[i](std::move(result)); }

 private:
  std::vector<CallContext> contexts_;
  std::vector<CallMemory::Done> dones_;
};

TEST(CallMemory, ARepeatDuringTheCallSharesItAndOneAfterItIsAnsweredFromMemory) {
  CallMemory memory({});
  Pending provider;
  Answer first;
  Answer second;
  Answer third;
  memory.Run("id", "f", CallContext(), provider.Call(), first.Catch());
  memory.Run("id", "f", CallContext(), provider.Call(), second.Catch());
  EXPECT_FALSE(first.ready() || second.ready());
  provider.Finish(0, Text("hello"));
  memory.Run("id", "f", CallContext(), provider.Call(), third.Catch());
  EXPECT_EQ(provider.calls(), 1u);
  EXPECT_FALSE(first.Wait()->cached());
  EXPECT_TRUE(second.Wait()->cached());
  EXPECT_TRUE(third.Wait()->cached());
  EXPECT_EQ(third.Wait()->message().content(0).text(), "hello");
}

TEST(CallMemory, AnIdStandsForOneRequest) {
  CallMemory memory({});
  Pending provider;
  Answer first;
  Answer other;
  memory.Run("id", "f", CallContext(), provider.Call(), first.Catch());
  memory.Run("id", "g", CallContext(), provider.Call(), other.Catch());
  EXPECT_EQ(other.Wait().status().code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(provider.calls(), 1u);
}

TEST(CallMemory, ErrorsAreNotRemembered) {
  CallMemory memory({});
  Pending provider;
  Answer first;
  Answer second;
  memory.Run("id", "f", CallContext(), provider.Call(), first.Catch());
  provider.Finish(0, absl::UnavailableError("down"));
  EXPECT_EQ(first.Wait().status().code(), absl::StatusCode::kUnavailable);
  memory.Run("id", "f", CallContext(), provider.Call(), second.Catch());
  EXPECT_EQ(provider.calls(), 2u);
  provider.Finish(1, Text("up"));
  EXPECT_TRUE(second.Wait().ok());
}

TEST(CallMemory, TheCallIsCancelledWithTheLastOfItsCallers) {
  CallMemory memory({});
  Pending provider;
  Caller callers[2];
  Answer answers[2];
  for (int i = 0; i < 2; ++i)
    memory.Run("id", "f", callers[i].context(), provider.Call(), answers[i].Catch());
  callers[0].stop.request_stop();
  EXPECT_EQ(answers[0].Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_TRUE(provider.context(0).Check().ok());
  callers[1].stop.request_stop();
  EXPECT_EQ(answers[1].Wait().status().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(provider.context(0).Check().code(), absl::StatusCode::kCancelled);
  EXPECT_EQ(memory.in_progress(), 0u);
  // The id is free, and the end of the old call says nothing to the new one.
  Answer again;
  memory.Run("id", "f", CallContext(), provider.Call(), again.Catch());
  provider.Finish(0, absl::CancelledError("late"));
  EXPECT_FALSE(again.ready());
  provider.Finish(1, Text("new"));
  EXPECT_EQ(again.Wait()->message().content(0).text(), "new");
  EXPECT_EQ(answers[1].times(), 1);
}

TEST(CallMemory, TheOldestAnswersGoFirst) {
  CallMemory memory({.max_answers = 2, .max_bytes = 1 << 20});
  Pending provider;
  for (int i = 0; i < 3; ++i) {
    Answer answer;
    memory.Run(std::to_string(i), "f", CallContext(), provider.Call(), answer.Catch());
    provider.Finish(i, Text("x"));
  }
  EXPECT_EQ(memory.remembered(), 2u);
  Answer oldest;
  memory.Run("0", "f", CallContext(), provider.Call(), oldest.Catch());
  EXPECT_EQ(provider.calls(), 4u);
  Answer newest;
  memory.Run("2", "f", CallContext(), provider.Call(), newest.Catch());
  EXPECT_TRUE(newest.Wait()->cached());
}

TEST(CallMemory, BoundsItsBytes) {
  CallMemory memory({.max_answers = 100, .max_bytes = 10000});
  Pending provider;
  for (int i = 0; i < 5; ++i) {
    Answer answer;
    memory.Run(std::to_string(i), "f", CallContext(), provider.Call(), answer.Catch());
    provider.Finish(i, Text(std::string(4000, 'x')));
  }
  EXPECT_EQ(memory.remembered(), 2u);
}

TEST(CallMemory, ForgetsWhatIsTooOld) {
  absl::Time now = absl::UnixEpoch();
  CallMemory memory({.max_age = absl::Minutes(10), .now = [&] { return now; }});
  Pending provider;
  for (int i = 0; i < 2; ++i) {
    Answer answer;
    memory.Run(std::to_string(i), "f", CallContext(), provider.Call(), answer.Catch());
    provider.Finish(i, Text("x"));
    now += absl::Minutes(6);
  }
  Answer young;
  memory.Run("1", "f", CallContext(), provider.Call(), young.Catch());
  EXPECT_TRUE(young.Wait()->cached());
  EXPECT_EQ(memory.remembered(), 1u);
}

}  // namespace
}  // namespace nkiagent::llm_gateway
