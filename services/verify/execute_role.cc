#include "services/verify/execute_role.h"

#include <algorithm>
#include <utility>

#include "absl/status/status.h"
#include "services/verify/reference_protocol.h"

namespace nkiagent::verify {
namespace {

using sandbox::SharedMemory;
using worker::execute::TensorPlace;

// Reports are small: counts and at most 32 diagnostics for each trial.
constexpr uint64_t kMaxReplyBytes = uint64_t{8} << 20;
// Beside the trials: parsing the program, mapping the arenas.
constexpr absl::Duration kOverhead = absl::Seconds(2);

}  // namespace

absl::StatusOr<Execution> ExecuteRole::Execute(const rpc::CallContext& call, absl::string_view program,
                                               const TaskData& data, absl::Span<const TrialDataPtr> trials,
                                               std::optional<absl::Duration> wall_limit) {
  const auto layout =
      sandbox::LayOutArena(OutputSizes(data.facts), static_cast<uint64_t>(options_.max_tensor_bytes));
  if (!layout.ok()) return layout.status();
  const auto count = static_cast<double>(trials.size());
  const absl::Duration child_limit = ChildWallLimit(count * options_.max_wall_time + kOverhead, call);

  worker::execute::Request message;
  message.program = program;
  message.threads = options_.threads;
  message.max_bytes = options_.max_program_bytes;
  message.wall_limit = std::min(wall_limit.value_or(options_.max_wall_time), options_.max_wall_time);
  sandbox::Request request;
  request.fds = {data.parameters.fd()};
  Execution execution;
  execution.output_slots = layout->slots;
  for (const TrialDataPtr& trial : trials) {
    absl::StatusOr<SharedMemory> outputs = SharedMemory::Create("outputs", layout->size_bytes);
    if (!outputs.ok()) return outputs.status();
    execution.outputs.push_back(*std::move(outputs));
    // The expected outputs stay here: the process that runs the kernel never gets their descriptor.
    const int inputs_fd = static_cast<int>(request.fds.size());
    request.fds.push_back(trial->inputs.fd());
    request.fds.push_back(execution.outputs.back().fd());
    worker::execute::Trial places;
    for (const sandbox::ArenaSlot& slot : trial->input_slots) places.inputs.push_back({inputs_fd, slot});
    for (const sandbox::ArenaSlot& slot : data.parameter_slots) places.inputs.push_back({0, slot});
    for (const sandbox::ArenaSlot& slot : layout->slots) places.outputs.push_back({inputs_fd + 1, slot});
    message.trials.push_back(std::move(places));
  }
  const std::string payload = EncodeRequest(message);
  request.payload = payload;
  request.wall_limit = child_limit;
  request.max_reply_bytes = kMaxReplyBytes;
  request.limits.address_space_bytes = static_cast<uint64_t>(options_.max_address_space_bytes);
  request.limits.cpu_seconds = static_cast<uint64_t>(absl::ToInt64Seconds(
                                   absl::Ceil(options_.threads * child_limit, absl::Seconds(1)))) +
                               1;
  // Descriptors of all trials, and a few of the process's own.
  request.limits.open_files = request.fds.size() + 16;

  absl::StatusOr<sandbox::Outcome> outcome = run_(request, call);
  if (!outcome.ok()) return outcome.status();
  const std::string reply = std::exchange(outcome->reply, "");
  execution.outcome = *std::move(outcome);
  if (execution.outcome.kind == sandbox::OutcomeKind::kException) execution.bad_answer = reply;
  if (!execution.outcome.ok()) return execution;
  absl::StatusOr<std::vector<worker::execute::TrialReport>> reports = worker::execute::DecodeReply(reply);
  if (!reports.ok()) {
    execution.bad_answer = std::string(reports.status().message());
    return execution;
  }
  for (const auto& report : *reports) {
    const bool completed = report.status == worker::execute::TrialStatus::kCompleted;
    if (completed && report.outputs.size() != layout->slots.size()) {
      execution.bad_answer = "another number of outputs than the task has";
      return execution;
    }
  }
  if (reports->empty() || reports->size() > trials.size()) {
    execution.bad_answer = "another number of trials than were asked for";
    return execution;
  }
  for (SharedMemory& outputs : execution.outputs) {
    if (absl::Status sealed = outputs.SealContent(); !sealed.ok()) return sealed;
    if (absl::Status mapped = outputs.Map(SharedMemory::Access::kReadOnly); !mapped.ok()) return mapped;
  }
  execution.reports = *std::move(reports);
  return execution;
}

}  // namespace nkiagent::verify
