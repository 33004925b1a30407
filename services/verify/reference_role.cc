#include "services/verify/reference_role.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/contract/clean_text.h"
#include "services/verify/reference_protocol.h"
#include "services/worker/outcome_proto.h"

namespace nkiagent::verify {
namespace {

using sandbox::SharedMemory;

// Facts are text: names, a graph, notes. Tensors don't travel in the reply.
constexpr uint64_t kMaxReplyBytes = uint64_t{16} << 20;

// A child that did not answer, as a property of the task.
v1::TaskProblem ProblemOf(const sandbox::Outcome& outcome) {
  v1::TaskProblem problem;
  switch (outcome.kind) {
    case sandbox::OutcomeKind::kWallTimeout:
    case sandbox::OutcomeKind::kCpuLimit:
      problem.set_kind(v1::TASK_PROBLEM_KIND_TIMEOUT);
      break;
    case sandbox::OutcomeKind::kMemoryLimit:
      problem.set_kind(v1::TASK_PROBLEM_KIND_MEMORY);
      break;
    default:
      problem.set_kind(v1::TASK_PROBLEM_KIND_SANDBOX_FAILURE);
  }
  *problem.mutable_sandbox() = worker::ToProto(outcome);
  problem.set_message(absl::StrCat("running the reference did not end well: ", problem.sandbox().detail()));
  if (outcome.kind == sandbox::OutcomeKind::kException) {
    const absl::string_view text = outcome.reply;
    problem.set_traceback(
        contract::CleanText(text.substr(text.size() - std::min<size_t>(text.size(), 4096)), 4096));
  }
  return problem;
}

v1::TaskProblem BadAnswer(const sandbox::Outcome& outcome, const absl::Status& why) {
  v1::TaskProblem problem;
  problem.set_kind(v1::TASK_PROBLEM_KIND_SANDBOX_FAILURE);
  problem.set_message(absl::StrCat("the reference's process gave a bad answer: ", why.message()));
  *problem.mutable_sandbox() = worker::ToProto(outcome);
  problem.mutable_sandbox()->set_status(common::v1::SANDBOX_STATUS_BAD_ANSWER);
  return problem;
}

v1::TaskProblem TooLarge(const absl::Status& why) {
  v1::TaskProblem problem;
  problem.set_kind(v1::TASK_PROBLEM_KIND_MEMORY);
  problem.set_message(std::string(why.message()));
  return problem;
}

}  // namespace

bool IsLasting(const v1::TaskProblem& problem) {
  switch (problem.kind()) {
    case v1::TASK_PROBLEM_KIND_TIMEOUT:
    case v1::TASK_PROBLEM_KIND_MEMORY:
    case v1::TASK_PROBLEM_KIND_SANDBOX_FAILURE:
      return false;
    default:
      return true;
  }
}

absl::Duration ChildWallLimit(absl::Duration own, const rpc::CallContext& call) {
  const absl::Duration left = call.Remaining();
  return std::min(own, left - std::min(left / 20, absl::Milliseconds(200)));
}

sandbox::Request ReferenceRole::MakeRequest(const rpc::CallContext& call) const {
  sandbox::Request request;
  request.wall_limit = ChildWallLimit(options_.max_wall_time, call);
  request.max_reply_bytes = kMaxReplyBytes;
  request.limits.address_space_bytes = static_cast<uint64_t>(options_.max_address_space_bytes);
  // Two threads at most compute.
  request.limits.cpu_seconds =
      static_cast<uint64_t>(absl::ToInt64Seconds(absl::Ceil(2 * options_.max_wall_time, absl::Seconds(1))));
  return request;
}

absl::StatusOr<OrProblem<TaskDataPtr>> ReferenceRole::Describe(const rpc::CallContext& call,
                                                               const common::v1::Task& task) {
  absl::StatusOr<SharedMemory> arena =
      SharedMemory::Create("parameters", static_cast<size_t>(options_.max_tensor_bytes));
  if (!arena.ok()) return arena.status();
  const std::string payload = DescribeRequestJson(task);
  sandbox::Request request = MakeRequest(call);
  request.payload = payload;
  request.fds = {arena->fd()};
  absl::StatusOr<sandbox::Outcome> outcome = run_(request, call);
  if (!outcome.ok()) return outcome.status();
  if (!outcome->ok()) return ProblemOf(*outcome);
  absl::StatusOr<OrProblem<DescribeReply>> reply = ParseDescribeReply(outcome->reply, arena->size());
  if (!reply.ok()) return BadAnswer(*outcome, reply.status());
  if (auto* problem = std::get_if<v1::TaskProblem>(&*reply)) return std::move(*problem);
  // The child is gone, and with it every mapping; from here on nobody can change what kernels will be given.
  if (absl::Status sealed = arena->SealContent(); !sealed.ok()) return sealed;
  auto& facts = std::get<DescribeReply>(*reply);
  auto data = std::make_shared<TaskData>();
  data->facts = std::move(facts.facts);
  data->parameter_slots = std::move(facts.parameter_slots);
  data->input_count = facts.input_count;
  data->parameters = *std::move(arena);
  data->bytes = static_cast<int64_t>(data->facts.ByteSizeLong());
  for (const sandbox::ArenaSlot& slot : data->parameter_slots)
    data->bytes += static_cast<int64_t>(slot.size_bytes);
  return TaskDataPtr(std::move(data));
}

absl::StatusOr<OrProblem<std::vector<TrialDataPtr>>> ReferenceRole::RunTrials(
    const rpc::CallContext& call, const common::v1::Task& task, const TaskData& data,
    absl::Span<const TrialPlan> plans) {
  const uint64_t max_bytes = static_cast<uint64_t>(options_.max_tensor_bytes);
  const auto inputs = sandbox::LayOutArena(InputSizes(data), max_bytes);
  const auto outputs = sandbox::LayOutArena(OutputSizes(data.facts), max_bytes);
  if (!inputs.ok()) return TooLarge(inputs.status());
  if (!outputs.ok()) return TooLarge(outputs.status());

  const std::string payload = RunRequestJson(task, data, plans);
  sandbox::Request request = MakeRequest(call);
  request.payload = payload;
  request.fds = {data.parameters.fd()};
  std::vector<std::shared_ptr<TrialData>> trials;
  for (const TrialPlan& plan : plans) {
    auto trial = std::make_shared<TrialData>();
    trial->seed = plan.seed;
    trial->family = plan.family;
    absl::StatusOr<SharedMemory> input_arena = SharedMemory::Create("inputs", inputs->size_bytes);
    if (!input_arena.ok()) return input_arena.status();
    absl::StatusOr<SharedMemory> expected_arena = SharedMemory::Create("expected", outputs->size_bytes);
    if (!expected_arena.ok()) return expected_arena.status();
    trial->inputs = *std::move(input_arena);
    trial->expected = *std::move(expected_arena);
    trial->bytes = static_cast<int64_t>(inputs->size_bytes + outputs->size_bytes);
    request.fds.push_back(trial->inputs.fd());
    request.fds.push_back(trial->expected.fd());
    trials.push_back(std::move(trial));
  }
  absl::StatusOr<sandbox::Outcome> outcome = run_(request, call);
  if (!outcome.ok()) return outcome.status();
  if (!outcome->ok()) return ProblemOf(*outcome);
  absl::StatusOr<OrProblem<std::vector<TrialReply>>> reply = ParseRunReply(outcome->reply, data, plans);
  if (!reply.ok()) return BadAnswer(*outcome, reply.status());
  if (auto* problem = std::get_if<v1::TaskProblem>(&*reply)) return std::move(*problem);
  auto& replies = std::get<std::vector<TrialReply>>(*reply);
  std::vector<TrialDataPtr> result;
  for (size_t i = 0; i < trials.size(); ++i) {
    TrialData& trial = *trials[i];
    for (SharedMemory* arena : {&trial.inputs, &trial.expected}) {
      if (absl::Status sealed = arena->SealContent(); !sealed.ok()) return sealed;
    }
    if (absl::Status mapped = trial.expected.Map(SharedMemory::Access::kReadOnly); !mapped.ok())
      return mapped;
    trial.skipped = std::move(replies[i].skipped);
    trial.sensitivity = std::move(replies[i].sensitivity);
    trial.input_slots = std::move(replies[i].input_slots);
    trial.expected_slots = std::move(replies[i].expected_slots);
    trial.reference_time = replies[i].reference_time;
    result.push_back(std::move(trials[i]));
  }
  return result;
}

}  // namespace nkiagent::verify
