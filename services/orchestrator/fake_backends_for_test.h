// The three services as a test needs them: a toolchain in which a kernel says by its own text what is wrong
// with it, and a model that is a function.
//   a source with "bad" does not compile; one with "wrong" fails verification; any other passes.
#ifndef SERVICES_ORCHESTRATOR_FAKE_BACKENDS_FOR_TEST_H_
#define SERVICES_ORCHESTRATOR_FAKE_BACKENDS_FOR_TEST_H_

#include <condition_variable>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "services/orchestrator/backends.h"
#include "services/orchestrator/testing_events.h"

namespace nkiagent::orchestrator {

class FakeBackends : public Backends {
 public:
  // Answers one request; `count` is how many requests came before.
  using Model = std::function<absl::StatusOr<llm::v1::GenerateResponse>(
      const rpc::CallContext& call, const llm::v1::GenerateRequest&, int count)>;

  explicit FakeBackends(Model model) : model_(std::move(model)) {}

  static llm::v1::GenerateResponse Answer(llm::v1::Message message) {
    llm::v1::GenerateResponse response;
    *response.mutable_message() = std::move(message);
    response.set_stop_reason(llm::v1::STOP_REASON_END_TURN);
    response.mutable_usage()->set_calls(1);
    response.mutable_usage()->set_input_tokens(100);
    response.mutable_usage()->set_output_tokens(10);
    return response;
  }

  // A model that compiles the named kernels one after another, and the last one again and again.
  static Model Writes(std::vector<std::string> kernels) {
    return [kernels = std::move(kernels)](const rpc::CallContext&, const llm::v1::GenerateRequest& request,
                                          int) {
      size_t turn = 0;
      for (const llm::v1::Message& message : request.messages())
        turn += message.role() == llm::v1::ROLE_ASSISTANT;
      const std::string& kernel = kernels[std::min(turn, kernels.size() - 1)];
      return Answer(testing_events::Says("", {testing_events::CompileCall(absl::StrCat("c", turn), kernel)}));
    };
  }

  absl::StatusOr<verify::v1::DescribeTaskResponse> DescribeTask(
      const rpc::CallContext&, const verify::v1::DescribeTaskRequest& request) override {
    verify::v1::DescribeTaskResponse response;
    if (absl::StrContains(request.task().reference_source(), "class Model")) {
      response.mutable_facts()->set_signature("def nki_kernel(x):");
    } else {
      response.mutable_problem()->set_kind(verify::v1::TASK_PROBLEM_KIND_NO_MODEL);
      response.mutable_problem()->set_message("there is no class Model");
    }
    return response;
  }

  absl::StatusOr<llm::v1::GenerateResponse> Generate(const rpc::CallContext& call,
                                                     const llm::v1::GenerateRequest& request) override {
    int count = 0;
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      count = static_cast<int>(requests_.size());
      requests_.push_back(request);
      changed_.notify_all();
    }
    absl::StatusOr<llm::v1::GenerateResponse> answer = model_(call, request, count);
    if (answer.ok()) answer->set_context_window_tokens(window_tokens_);
    return answer;
  }

  absl::StatusOr<compile::v1::CompileResponse> Compile(const rpc::CallContext&,
                                                       const compile::v1::CompileRequest& request) override {
    compile::v1::CompileResponse response;
    const std::string& source = request.kernel().source();
    if (absl::StrContains(source, "refused")) return absl::InvalidArgumentError("refused");
    if (absl::StrContains(source, "bad")) {
      response.mutable_result()->set_outcome(compile::v1::COMPILE_OUTCOME_REJECTED);
      common::v1::Diagnostic* diagnostic = response.mutable_result()->add_diagnostics();
      diagnostic->set_severity(common::v1::SEVERITY_ERROR);
      diagnostic->set_rule("err_unsupported_memory");
      return response;
    }
    response.mutable_result()->set_outcome(compile::v1::COMPILE_OUTCOME_COMPILED);
    response.mutable_result()->set_program_id(absl::StrCat("id of ", source));
    response.set_program(source);
    return response;
  }

  absl::StatusOr<compile::v1::LookupApiResponse> LookupApi(
      const rpc::CallContext&, const compile::v1::LookupApiRequest& request) override {
    compile::v1::LookupApiResponse response;
    response.set_found(request.name() == "nl.load");
    if (response.found()) response.set_text("neuronxcc.nki.language.load(src)");
    return response;
  }

  // The store of this compile-service forgets at once.
  absl::StatusOr<compile::v1::GetProgramResponse> GetProgram(const rpc::CallContext&,
                                                             const compile::v1::GetProgramRequest&) override {
    return absl::NotFoundError("evicted");
  }

  absl::StatusOr<verify::v1::VerifyResponse> Verify(const rpc::CallContext& call,
                                                    const verify::v1::VerifyRequest& request) override {
    if (verify_gate_) {
      if (absl::Status status = verify_gate_(call); !status.ok()) return status;
    }
    verify::v1::VerifyResponse response;
    const bool passed = !absl::StrContains(request.program_bytes(), "wrong");
    response.mutable_verdict()->set_passed(passed);
    response.mutable_verdict()->set_reason(passed ? verify::v1::VERDICT_REASON_PASSED
                                                  : verify::v1::VERDICT_REASON_MISMATCH);
    return response;
  }

  // Runs before each verification; a test blocks or fails it there.
  void set_verify_gate(std::function<absl::Status(const rpc::CallContext&)> gate) {
    verify_gate_ = std::move(gate);
  }

  // The window that every answer tells; unknown by default.
  void set_window_tokens(int64_t tokens) { window_tokens_ = tokens; }

  // Waits until the model was asked `count` times.
  void AwaitRequests(size_t count) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.wait(lock, [&] { return requests_.size() >= count; });
  }

  std::vector<std::string> RequestIds() {
    const std::lock_guard<std::mutex> lock(mutex_);
    std::vector<std::string> ids;
    for (const llm::v1::GenerateRequest& request : requests_) ids.push_back(request.request_id());
    return ids;
  }

  std::vector<llm::v1::GenerateRequest> requests() {
    const std::lock_guard<std::mutex> lock(mutex_);
    return requests_;
  }

 private:
  const Model model_;
  int64_t window_tokens_ = 0;
  std::function<absl::Status(const rpc::CallContext&)> verify_gate_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<llm::v1::GenerateRequest> requests_;
};

// Blocks until the call is cancelled.
inline absl::Status AwaitCancel(const rpc::CallContext& call) {
  std::mutex mutex;
  std::condition_variable_any wake;
  std::unique_lock<std::mutex> lock(mutex);
  wake.wait(lock, call.stop_token(), [] { return false; });
  return absl::CancelledError("cancelled");
}

}  // namespace nkiagent::orchestrator

#endif  // SERVICES_ORCHESTRATOR_FAKE_BACKENDS_FOR_TEST_H_
