#include "services/orchestrator/episode.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "services/orchestrator/enum_name.h"
#include "services/orchestrator/tool_results.h"

namespace nkiagent::orchestrator {
namespace {

using Json = nlohmann::ordered_json;

constexpr double kNoKernel = -0.5;
constexpr double kNotCompiled = -0.3;
constexpr double kNotComparable = 0;
constexpr double kWrongValues = 0.1;
constexpr double kRightShare = 0.4;
constexpr double kSpeed = 0.5;

std::string Rfc3339(const google::protobuf::Timestamp& time) {
  return absl::FormatTime(absl::RFC3339_sec, absl::FromUnixSeconds(time.seconds()), absl::UTCTimeZone());
}

// One message of the conversation may become several: each tool result is a message of its own.
void AppendMessage(const llm::v1::Message& message, Json& messages) {
  std::string text;
  std::string reasoning;
  Json calls = Json::array();
  Json results = Json::array();
  const auto add = [](const std::string& more, std::string& all) {
    absl::StrAppend(&all, all.empty() || more.empty() ? "" : "\n\n", more);
  };
  for (const llm::v1::ContentBlock& block : message.content()) {
    if (block.has_text()) add(block.text(), text);
    if (block.has_thinking()) add(block.thinking().text(), reasoning);
    if (block.has_tool_call()) {
      calls.push_back(
          {{"id", block.tool_call().id()},
           {"type", "function"},
           {"function",
            {{"name", block.tool_call().name()}, {"arguments", block.tool_call().arguments_json()}}}});
    }
    if (block.has_tool_result()) {
      results.push_back({{"role", "tool"},
                         {"tool_call_id", block.tool_result().call_id()},
                         {"content", block.tool_result().text()}});
    }
  }
  for (Json& result : results) messages.push_back(std::move(result));
  if (!results.empty() && text.empty()) return;
  Json out = {{"role", message.role() == llm::v1::ROLE_ASSISTANT ? "assistant" : "user"}, {"content", text}};
  if (!reasoning.empty()) out["reasoning"] = reasoning;
  if (!calls.empty()) out["tool_calls"] = std::move(calls);
  messages.push_back(std::move(out));
}

Json Messages(const Snapshot& snapshot) {
  Json messages = Json::array();
  if (!snapshot.system.empty()) messages.push_back({{"role", "system"}, {"content", snapshot.system}});
  for (const llm::v1::Message& message : snapshot.conversation) AppendMessage(message, messages);
  return messages;
}

Json Tools(const Snapshot& snapshot) {
  Json tools = Json::array();
  for (const llm::v1::Tool& tool : snapshot.tools) {
    Json parameters = Json::parse(tool.parameters_json_schema(), nullptr, /*allow_exceptions=*/false);
    tools.push_back(
        {{"type", "function"},
         {"function",
          {{"name", tool.name()}, {"description", tool.description()}, {"parameters", parameters}}}});
  }
  return tools;
}

Json VerdictJson(const verify::v1::Verdict& verdict) {
  Json seeds = Json::array();
  double max_abs_error = 0;
  for (const verify::v1::TrialResult& trial : verdict.trials()) {
    seeds.push_back(trial.seed());
    for (const verify::v1::OutputComparison& output : trial.outputs())
      max_abs_error = std::max(max_abs_error, output.max_abs_error());
  }
  return {{"passed", verdict.passed()},
          {"reason", ReasonName(verdict.reason())},
          {"message", verdict.message()},
          {"atol", verdict.tolerance().atol()},
          {"rtol", verdict.tolerance().rtol()},
          {"weight_seed", verdict.weight_seed()},
          {"seeds", std::move(seeds)},
          {"max_abs_error", max_abs_error},
          {"latency_us", verdict.estimate().total_us()},
          {"roofline_us", verdict.estimate().roofline_us()}};
}

// What is known about the kernels of each turn: the best reward among them.
std::map<int, double> TurnRewards(const std::vector<v1::SessionEvent>& events) {
  std::map<int, double> rewards;
  std::map<std::string, compile::v1::CompileResult> compiled;  // by KernelKey
  const auto raise = [&](int turn, double reward) {
    const auto [place, added] = rewards.try_emplace(turn, reward);
    if (!added) place->second = std::max(place->second, reward);
  };
  for (const v1::SessionEvent& event : events) {
    if (event.has_compiled()) {
      const v1::KernelCompiled& now = event.compiled();
      compiled[KernelKey(now.kernel())] = now.result();
      raise(now.turn(), GradedReward(&now.result(), nullptr));
    } else if (event.has_verified()) {
      const v1::KernelVerified& now = event.verified();
      raise(now.turn(), GradedReward(&compiled[KernelKey(now.kernel())], &now.verdict()));
    }
  }
  return rewards;
}

}  // namespace

double GradedReward(const compile::v1::CompileResult* compiled, const verify::v1::Verdict* verdict) {
  if (compiled == nullptr) return kNoKernel;
  if (compiled->outcome() != compile::v1::COMPILE_OUTCOME_COMPILED) return kNotCompiled;
  if (verdict == nullptr) return kNotComparable;
  if (verdict->passed()) {
    const common::v1::LatencyEstimate& estimate =
        verdict->has_estimate() ? verdict->estimate() : compiled->estimate();
    const double share = estimate.total_us() > 0 ? estimate.roofline_us() / estimate.total_us() : 0;
    return kBinaryPass + kSpeed * std::clamp(share, 0.0, 1.0);
  }
  double right = -1;
  for (const verify::v1::TrialResult& trial : verdict->trials()) {
    if (trial.passed()) continue;
    for (const verify::v1::OutputComparison& output : trial.outputs()) {
      if (output.total_elements() <= 0) continue;
      const double share = 1 - static_cast<double>(output.mismatched_elements()) /
                                   static_cast<double>(output.total_elements());
      right = right < 0 ? share : std::min(right, share);
    }
  }
  return right < 0 ? kNotComparable : kWrongValues + kRightShare * right;
}

Json EpisodeJson(const Snapshot& snapshot, const std::vector<v1::SessionEvent>& events) {
  const v1::Session& session = snapshot.session;
  const bool passed = session.has_best();
  const v1::KernelCandidate& kernel = passed ? session.best() : session.last();
  const std::map<int, double> turn_rewards = TurnRewards(events);
  Json by_turn = Json::array();
  for (int turn = 1; turn <= session.turns_used(); ++turn) {
    const auto reward = turn_rewards.find(turn);
    by_turn.push_back(reward == turn_rewards.end() ? Json(nullptr) : Json(reward->second));
  }
  double graded = kNoKernel;
  for (const auto& [turn, reward] : turn_rewards) graded = std::max(graded, reward);
  std::string provider_model;
  for (const v1::SessionEvent& event : events) {
    if (event.has_model_call_finished()) provider_model = event.model_call_finished().provider_model();
  }
  const common::v1::ToolchainVersion& toolchain = session.facts().toolchain();
  Json episode = {
      {"messages", Messages(snapshot)},
      {"tools", Tools(snapshot)},
      {"task",
       {{"id", session.task().id()},
        {"name", session.task().name()},
        {"level", session.task().level()},
        {"hash", session.facts().task_hash()},
        {"source", session.task().reference_source()}}},
      {"outcome",
       {{"state", EnumName(v1::SessionState_Name(session.state()), "SESSION_STATE_")},
        {"reason", EnumName(v1::EndReason_Name(session.end_reason()), "END_REASON_")},
        {"message", session.message()},
        {"passed", passed},
        {"turns", session.turns_used()}}},
      {"reward", {{"binary", passed ? kBinaryPass : kBinaryFail}, {"graded", graded}, {"by_turn", by_turn}}},
      {"verdict", kernel.has_verdict() ? VerdictJson(kernel.verdict()) : Json(nullptr)},
      {"kernel", kernel.kernel().source().empty() ? Json(nullptr) : Json(kernel.kernel().source())},
      {"provenance",
       {{"session", session.id()},
        {"run", session.run_id()},
        {"model", session.model()},
        {"provider_model", provider_model},
        {"mode", EnumName(v1::Mode_Name(session.mode()), "MODE_")},
        {"prompt", session.prompt_version()},
        {"toolchain",
         {{"version", toolchain.version()},
          {"commit", toolchain.commit()},
          {"table", toolchain.table_version()}}},
        {"created", Rfc3339(session.create_time())},
        {"ended", Rfc3339(session.end_time())},
        {"usage",
         {{"input_tokens", session.usage().input_tokens()},
          {"output_tokens", session.usage().output_tokens()},
          {"cost_micro_usd", session.usage().cost_micro_usd()}}}}}};
  return episode;
}

}  // namespace nkiagent::orchestrator
