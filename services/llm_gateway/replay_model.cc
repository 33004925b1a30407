#include "services/llm_gateway/replay_model.h"

#include <google/protobuf/util/message_differencer.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/llm_gateway/error_detail.h"

namespace nkiagent::llm_gateway {
namespace {

constexpr absl::string_view kPrefix = "replay:";
constexpr size_t kMaxCassettes = 64;
constexpr size_t kMaxSessions = 10'000;

// Messages that are equal from the start on.
int CommonPrefix(const GenerateRequest& a, const GenerateRequest& b) {
  int equal = 0;
  while (equal < std::min(a.messages_size(), b.messages_size()) &&
         google::protobuf::util::MessageDifferencer::Equals(a.messages(equal), b.messages(equal))) {
    ++equal;
  }
  return equal;
}

// The recorded request that the reader most likely meant: longest agreement, then nearest length.
const Exchange* Closest(const std::vector<Exchange>& cassette, const GenerateRequest& request) {
  const Exchange* best = nullptr;
  std::pair<int, int> best_rank;
  for (const Exchange& exchange : cassette) {
    const std::pair<int, int> rank = {CommonPrefix(exchange.request, request),
                                      -std::abs(exchange.request.messages_size() - request.messages_size())};
    if (best == nullptr || rank > best_rank) {
      best = &exchange;
      best_rank = rank;
    }
  }
  return best;
}

}  // namespace

absl::StatusOr<std::shared_ptr<const ReplayModel::Cassette>> ReplayModel::Load(const std::string& name) {
  if (folder_.empty())
    return absl::FailedPreconditionError("option cassette_dir is not set, so nothing can be replayed");
  const std::vector<std::string> parts = absl::StrSplit(name, '/');
  const bool bad = std::any_of(parts.begin(), parts.end(), [](const std::string& part) {
    return part.empty() || part == "." || part == ".." || absl::StrContains(part, '\0');
  });
  if (bad) return absl::InvalidArgumentError(absl::StrCat("'", name, "' is no name of a cassette"));
  const std::lock_guard lock(mutex_);
  if (const auto found = cassettes_.find(name); found != cassettes_.end()) return found->second;
  std::string path = absl::StrCat(folder_, "/", name);
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) path += ".jsonl";
  absl::StatusOr<Cassette> cassette = ReadCassette(path);
  if (!cassette.ok()) return cassette.status();
  if (cassettes_.size() >= kMaxCassettes) cassettes_.clear();
  auto shared = std::make_shared<const Cassette>(*std::move(cassette));
  cassettes_[name] = shared;
  return shared;
}

absl::StatusOr<GenerateResponse> ReplayModel::Generate(const GenerateRequest& request,
                                                       const CallContext& context) {
  const std::string name(absl::StripPrefix(request.model(), kPrefix));
  absl::StatusOr<std::shared_ptr<const Cassette>> cassette = Load(name);
  if (!cassette.ok()) return cassette.status();
  if (absl::Status status = context.Check(); !status.ok()) return status;
  const std::string hash = RequestHash(request);
  std::vector<const Exchange*> recorded;
  for (const Exchange& exchange : **cassette) {
    if (exchange.request_hash == hash) recorded.push_back(&exchange);
  }
  if (!recorded.empty()) {
    const size_t asked = request.session_id().empty() ? 0 : CountAsked(name, request.session_id(), hash);
    GenerateResponse response = recorded[std::min(asked, recorded.size() - 1)]->response;
    response.set_provider("replay");
    response.mutable_usage()->set_cost_micro_usd(0);
    response.clear_cached();
    response.clear_failed_models();
    response.clear_budget_states();
    return response;
  }
  const Exchange* closest = Closest(**cassette, request);
  if (closest == nullptr) return absl::FailedPreconditionError(absl::StrCat("cassette ", name, " is empty"));
  return WithReason(
      absl::FailedPreconditionError(absl::StrCat("the request differs from cassette ", name, " at ",
                                                 FirstDifference(closest->request, request))),
      nkiagent::llm::v1::ERROR_REASON_REPLAY_DIFFERS);
}

size_t ReplayModel::CountAsked(const std::string& name, const std::string& session, const std::string& hash) {
  const std::lock_guard lock(mutex_);
  const auto [found, is_new] = asked_.try_emplace({name, session});
  if (is_new) ages_.push_back(found->first);
  const size_t before = found->second[hash]++;
  if (ages_.size() > kMaxSessions) {
    asked_.erase(ages_.front());
    ages_.pop_front();
  }
  return before;
}

}  // namespace nkiagent::llm_gateway
