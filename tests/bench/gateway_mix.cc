#include "tests/bench/gateway_mix.h"

#include <algorithm>
#include <cstdint>
#include <iostream>
#include <map>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "nlohmann/json.hpp"
#include "tests/bench/gateway_client.h"

namespace nkiagent::gateway_load {
namespace {

using grpc::StatusCode;

constexpr absl::Duration kReportPause = absl::Seconds(10);
constexpr absl::Duration kEndLimit = absl::Seconds(30);
constexpr int kCallsOfSession = 8;
constexpr int kCallsOfRun = 256;
constexpr int kQuestions = 512;  // of those that the cache may answer
constexpr size_t kBigPrompt = 256 << 10;

struct Kind {
  const char* name;
  const char* play;
  bool stream = false;
  absl::Duration deadline;      // zero: none
  absl::Duration cancel_after;  // zero: never
  std::vector<StatusCode> codes = {StatusCode::OK};
  bool repeats = false;    // the request id of the call before it of this kind
  bool cached = false;     // may be answered from the cache of responses
  bool malformed = false;  // a tool's schema is no JSON
  bool big = false;
};

// One after the other; the most frequent are there more than once.
std::vector<Kind> Kinds() {
  const std::vector<StatusCode> fails = {StatusCode::UNAVAILABLE};
  std::vector<Kind> kinds;
  for (int i = 0; i < 4; ++i) {
    kinds.push_back({.name = "unary", .play = "chat"});
    kinds.push_back({.name = "stream", .play = "stream-20-5", .stream = true});
  }
  kinds.push_back({.name = "repeated", .play = "chat", .repeats = true});
  kinds.push_back({.name = "cached", .play = "chat", .cached = true});
  kinds.push_back({.name = "big prompt", .play = "chat", .big = true});
  kinds.push_back({.name = "big answer", .play = "large"});
  kinds.push_back({.name = "big stream", .play = "large", .stream = true});
  kinds.push_back({.name = "falls over", .play = "chain"});
  kinds.push_back({.name = "cancelled stream",
                   .play = "hold",
                   .stream = true,
                   .cancel_after = absl::Milliseconds(100),
                   .codes = {StatusCode::CANCELLED}});
  kinds.push_back({.name = "cancelled call",
                   .play = "silent",
                   .cancel_after = absl::Milliseconds(50),
                   .codes = {StatusCode::CANCELLED}});
  kinds.push_back({.name = "late",
                   .play = "silent",
                   .deadline = absl::Milliseconds(50),
                   .codes = {StatusCode::DEADLINE_EXCEEDED}});
  kinds.push_back({.name = "fails", .play = "fails", .codes = fails});
  kinds.push_back({.name = "refused", .play = "refuses", .codes = {StatusCode::INVALID_ARGUMENT}});
  kinds.push_back({.name = "garbage", .play = "garbage", .codes = {StatusCode::INTERNAL}});
  kinds.push_back({.name = "broken stream", .play = "cut", .stream = true, .codes = fails});
  kinds.push_back({.name = "no such model", .play = "none", .codes = {StatusCode::NOT_FOUND}});
  kinds.push_back(
      {.name = "malformed", .play = "chat", .codes = {StatusCode::INVALID_ARGUMENT}, .malformed = true});
  return kinds;
}

class Mix {
 public:
  explicit Mix(const MixOptions& options) : options_(options), channels_(options.target) {}

  void Run() {
    const absl::Time begin = absl::Now();
    const absl::Time end = begin + options_.duration;
    const absl::Duration pause = absl::Seconds(1) / options_.rate;
    absl::Time report = begin + kReportPause;
    for (absl::Time next = begin; next < end; next += pause) {
      absl::SleepFor(next - absl::Now());
      Start();
      CancelDue(absl::Now());
      // What a stall has made late is left out: a flood after it would not be gentle.
      next = std::max(next, absl::Now() - absl::Seconds(1));
      if (next < report) continue;
      Report(absl::Now() - begin);
      report += kReportPause;
    }
    const absl::Time limit = absl::Now() + kEndLimit;
    while (running() > 0) {
      if (absl::Now() > limit) throw std::runtime_error(absl::StrCat(running(), " calls do not end"));
      CancelDue(absl::InfiniteFuture());
      absl::SleepFor(absl::Milliseconds(10));
    }
    Report(absl::Now() - begin);
    if (unexpected_ > 0) throw std::runtime_error(absl::StrCat("unexpected: ", first_unexpected_));
  }

 private:
  void Start() {
    const int64_t number = begun_++;
    const Kind& kind = kinds_[static_cast<size_t>(number) % kinds_.size()];
    {
      const std::lock_guard lock(mutex_);
      ++running_;
    }
    auto done = [this, &kind](const grpc::Status& status) { Ended(kind, status); };
    llm::v1::LlmService::Stub& stub = channels_[static_cast<size_t>(number)];
    const std::weak_ptr<Call> call =
        kind.stream ? StartStream(stub, Request(kind, number), kind.deadline, nullptr, std::move(done))
                    : StartUnary(stub, Request(kind, number), kind.deadline, std::move(done));
    if (kind.cancel_after > absl::ZeroDuration()) to_cancel_.emplace(absl::Now() + kind.cancel_after, call);
  }

  llm::v1::GenerateRequest Request(const Kind& kind, int64_t number) const {
    llm::v1::GenerateRequest request = Question(absl::StrCat(options_.prefix, "-", kind.play));
    const auto kinds = static_cast<int64_t>(kinds_.size());
    request.set_request_id(absl::StrCat("call-", kind.repeats ? number / kinds / 2 : number, "-", kind.name));
    request.set_session_id(absl::StrCat("session-", kind.repeats ? 0 : number / kCallsOfSession));
    request.mutable_sampling()->set_max_output_tokens(1000);
    llm::v1::Budget* budget = request.add_budgets();
    budget->set_id(absl::StrCat("run-", kind.repeats ? 0 : number / kCallsOfRun));
    budget->set_limit_micro_usd(int64_t{1} << 50);
    if (kind.cached) {
      request.set_response_cache(llm::v1::RESPONSE_CACHE_USE);
      request.set_system(absl::StrCat("Question ", (number / kinds) % kQuestions));
    }
    if (kind.big) request.mutable_messages(0)->add_content()->set_text(std::string(kBigPrompt, 'k'));
    if (kind.malformed) {
      llm::v1::Tool* tool = request.add_tools();
      tool->set_name("compile_kernel");
      tool->set_parameters_json_schema("{\"type\": ");
    }
    return request;
  }

  void CancelDue(absl::Time now) {
    while (!to_cancel_.empty() && to_cancel_.begin()->first <= now) {
      if (const auto call = to_cancel_.begin()->second.lock()) call->Cancel();
      to_cancel_.erase(to_cancel_.begin());
    }
  }

  void Ended(const Kind& kind, const grpc::Status& status) {
    const std::lock_guard lock(mutex_);
    --running_;
    ++outcomes_[kind.name][std::to_string(status.error_code())];
    if (std::find(kind.codes.begin(), kind.codes.end(), status.error_code()) != kind.codes.end()) return;
    if (unexpected_++ == 0)
      first_unexpected_ =
          absl::StrCat(kind.name, ": code ", status.error_code(), ": ", status.error_message());
  }

  int running() const {
    const std::lock_guard lock(mutex_);
    return running_;
  }

  void Report(absl::Duration passed) const {
    const std::lock_guard lock(mutex_);
    std::cout << nlohmann::json({{"seconds", absl::ToDoubleSeconds(passed)},
                                 {"begun", begun_},
                                 {"unexpected", unexpected_},
                                 {"kinds", outcomes_}})
                     .dump()
              << std::endl;
  }

  const MixOptions options_;
  const std::vector<Kind> kinds_ = Kinds();
  int64_t begun_ = 0;
  std::multimap<absl::Time, std::weak_ptr<Call>> to_cancel_;

  mutable std::mutex mutex_;  // guards what follows, up to first_unexpected_
  int running_ = 0;
  std::map<std::string, std::map<std::string, int64_t>> outcomes_;
  int64_t unexpected_ = 0;
  std::string first_unexpected_;

  Channels channels_;
};

}  // namespace

void RunMix(const MixOptions& options) { Mix(options).Run(); }

}  // namespace nkiagent::gateway_load
