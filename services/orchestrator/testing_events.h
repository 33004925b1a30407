// Events for tests of the session's logic, in few words.
#ifndef SERVICES_ORCHESTRATOR_TESTING_EVENTS_H_
#define SERVICES_ORCHESTRATOR_TESTING_EVENTS_H_

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "nkiagent/orchestrator/v1/session.pb.h"
#include "services/orchestrator/next_action.h"
#include "services/orchestrator/snapshot.h"
#include "services/orchestrator/tools.h"

namespace nkiagent::orchestrator::testing_events {

using Events = std::vector<v1::SessionEvent>;

// A kernel's source; equal names make equal kernels.
inline std::string Code(const std::string& name) {
  return "# " + name + "\n@nki.jit\ndef nki_kernel(x):\n    return x\n";
}

inline common::v1::KernelSource Kernel(const std::string& name) {
  common::v1::KernelSource kernel;
  kernel.set_source(Code(name));
  kernel.set_entry_name(kEntryName);
  return kernel;
}

inline llm::v1::ToolCall Call(const std::string& id, const std::string& tool, const std::string& arguments) {
  llm::v1::ToolCall call;
  call.set_id(id);
  call.set_name(tool);
  call.set_arguments_json(arguments);
  call.set_arguments_valid(true);
  return call;
}

inline llm::v1::ToolCall CompileCall(const std::string& id, const std::string& kernel) {
  return Call(id, kCompileTool, nlohmann::json({{"source", Code(kernel)}}).dump());
}

inline llm::v1::Message Says(const std::string& text, std::vector<llm::v1::ToolCall> calls = {}) {
  llm::v1::Message message;
  message.set_role(llm::v1::ROLE_ASSISTANT);
  if (!text.empty()) message.add_content()->set_text(text);
  for (llm::v1::ToolCall& call : calls) *message.add_content()->mutable_tool_call() = std::move(call);
  return message;
}

inline std::string FencedKernel(const std::string& kernel) {
  return "Here:\n```python\n" + Code(kernel) + "```\n";
}

// Builds a log; sequence numbers and times (one second apart) come by themselves.
class Log {
 public:
  explicit Log(v1::Mode mode, v1::SessionOptions options = {}) {
    v1::SessionEvent event;
    v1::Session* session = event.mutable_created()->mutable_session();
    session->set_id("s");
    session->set_model("builtin");
    session->set_mode(mode);
    *session->mutable_options() = std::move(options);
    session->mutable_task()->set_name("task");
    Add(std::move(event));
  }

  Log& Add(v1::SessionEvent event) {
    event.set_sequence(static_cast<int64_t>(events_.size()) + 1);
    event.mutable_time()->set_seconds(static_cast<int64_t>(events_.size()));
    events_.push_back(std::move(event));
    return *this;
  }

  Log& Described() {
    v1::SessionEvent event;
    event.mutable_described()->mutable_facts()->set_signature("def nki_kernel(x):");
    return Add(std::move(event));
  }
  Log& Problem(const std::string& message) {
    v1::SessionEvent event;
    event.mutable_described()->mutable_problem()->set_message(message);
    return Add(std::move(event));
  }
  Log& Prompted() {
    v1::SessionEvent event;
    event.mutable_prompt()->set_name("rank-aware");
    event.mutable_prompt()->mutable_user()->set_role(llm::v1::ROLE_USER);
    event.mutable_prompt()->mutable_user()->add_content()->set_text("write a kernel");
    if (events_[0].created().session().mode() == v1::MODE_AGENT) {
      for (const llm::v1::Tool& tool : Tools({})) *event.mutable_prompt()->add_tools() = tool;
    }
    return Add(std::move(event));
  }
  Log& Ready() { return Described().Prompted(); }

  Log& Started() {
    v1::SessionEvent event;
    event.mutable_model_call_started()->set_turn(++turn_);
    event.mutable_model_call_started()->set_request_id("s/" + std::to_string(turn_));
    return Add(std::move(event));
  }
  Log& Answered(llm::v1::Message message, llm::v1::StopReason reason = llm::v1::STOP_REASON_END_TURN,
                int64_t cost = 0) {
    v1::SessionEvent event;
    event.mutable_model_call_finished()->set_turn(turn_);
    *event.mutable_model_call_finished()->mutable_message() = std::move(message);
    event.mutable_model_call_finished()->set_stop_reason(reason);
    event.mutable_model_call_finished()->mutable_usage()->set_cost_micro_usd(cost);
    event.mutable_model_call_finished()->mutable_usage()->set_calls(1);
    return Add(std::move(event));
  }
  // A whole model call.
  Log& Turn(llm::v1::Message message, llm::v1::StopReason reason = llm::v1::STOP_REASON_END_TURN,
            int64_t cost = 0) {
    return Started().Answered(std::move(message), reason, cost);
  }
  Log& ToolStarted(const llm::v1::ToolCall& call) {
    v1::SessionEvent event;
    event.mutable_tool_call_started()->set_turn(turn_);
    *event.mutable_tool_call_started()->mutable_call() = call;
    return Add(std::move(event));
  }
  Log& ToolFinished(const std::string& call_id, const std::string& text = "result") {
    v1::SessionEvent event;
    event.mutable_tool_call_finished()->set_turn(turn_);
    event.mutable_tool_call_finished()->mutable_result()->set_call_id(call_id);
    event.mutable_tool_call_finished()->mutable_result()->set_text(text);
    return Add(std::move(event));
  }
  Log& Compiled(const std::string& call_id, const std::string& kernel, bool ok, double latency_us = 10) {
    v1::SessionEvent event;
    event.mutable_compiled()->set_turn(turn_);
    event.mutable_compiled()->set_call_id(call_id);
    *event.mutable_compiled()->mutable_kernel() = Kernel(kernel);
    compile::v1::CompileResult* result = event.mutable_compiled()->mutable_result();
    if (ok) {
      result->set_outcome(compile::v1::COMPILE_OUTCOME_COMPILED);
      result->set_program_id("program-" + kernel);
      result->mutable_estimate()->set_total_us(latency_us);
    } else {
      result->set_outcome(compile::v1::COMPILE_OUTCOME_REJECTED);
      result->add_diagnostics()->set_severity(common::v1::SEVERITY_ERROR);
      result->mutable_diagnostics(0)->set_rule("err_unsupported_memory");
    }
    return Add(std::move(event));
  }
  // Stores the verdict and, as the loop does, the best kernel that follows from it.
  Log& Verified(const std::string& call_id, const std::string& kernel, verify::v1::VerdictReason reason) {
    v1::SessionEvent event;
    event.mutable_verified()->set_turn(turn_);
    event.mutable_verified()->set_call_id(call_id);
    *event.mutable_verified()->mutable_kernel() = Kernel(kernel);
    event.mutable_verified()->mutable_verdict()->set_reason(reason);
    event.mutable_verified()->mutable_verdict()->set_passed(reason == verify::v1::VERDICT_REASON_PASSED);
    const std::optional<v1::BestKernelChanged> change = BestAfter(Fold(), event.verified());
    Add(std::move(event));
    if (change) {
      v1::SessionEvent best;
      *best.mutable_best_kernel_changed() = *change;
      Add(std::move(best));
    }
    return *this;
  }
  Log& Replied() {
    v1::SessionEvent event;
    event.mutable_message_added()->set_turn(turn_);
    event.mutable_message_added()->mutable_message()->set_role(llm::v1::ROLE_USER);
    event.mutable_message_added()->mutable_message()->add_content()->set_text("go on");
    return Add(std::move(event));
  }
  Log& Ended(v1::SessionState state) {
    v1::SessionEvent event;
    event.mutable_finished()->set_state(state);
    return Add(std::move(event));
  }

  const Events& events() const { return events_; }

  Snapshot Fold() const {
    Snapshot snapshot;
    for (const v1::SessionEvent& event : events_) {
      const absl::Status status = Apply(event, &snapshot);
      EXPECT_TRUE(status.ok()) << status;
    }
    return snapshot;
  }

 private:
  Events events_;
  int turn_ = 0;
};

}  // namespace nkiagent::orchestrator::testing_events

#endif  // SERVICES_ORCHESTRATOR_TESTING_EVENTS_H_
