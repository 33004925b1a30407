#include "services/worker/execute/runner.h"

#include <algorithm>
#include <new>
#include <stdexcept>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/clock.h"
#include "common/nki/exec/execute.h"
#include "common/nki/ir/program.h"
#include "common/nki/ir/serialize.h"
#include "common/sandbox/shared_memory.h"
#include "common/sandbox/tensor_arena.h"
#include "services/worker/execute/protocol.h"

namespace nkiagent::worker::execute {
namespace {

using nki::exec::InputView;
using nki::exec::OutputView;
using sandbox::SharedMemory;

template <typename T>
T OrThrow(absl::StatusOr<T> value) {
  if (!value.ok()) throw std::invalid_argument(std::string(value.status().message()));
  return *std::move(value);
}

// The arenas, mapped as far as they are used; those that are only read, read-only.
class Arenas {
 public:
  Arenas(absl::Span<const int> fds, const std::vector<Trial>& trials) {
    for (const int fd : fds) memories_.push_back(OrThrow(SharedMemory::FromFd(sandbox::UniqueFd(fd))));
    std::vector<uint64_t> ends(memories_.size(), 1);
    std::vector<bool> written(memories_.size(), false);
    for (const Trial& trial : trials) {
      for (const std::vector<TensorPlace>* places : {&trial.inputs, &trial.outputs}) {
        for (const TensorPlace& place : *places) {
          uint64_t& end = ends.at(static_cast<size_t>(place.fd));
          end = std::max(end, place.slot.offset + place.slot.size_bytes);
          if (places == &trial.outputs) written.at(static_cast<size_t>(place.fd)) = true;
        }
      }
    }
    for (size_t i = 0; i < memories_.size(); ++i) {
      const auto access = written[i] ? SharedMemory::Access::kReadWrite : SharedMemory::Access::kReadOnly;
      const absl::Status mapped = memories_[i].Map(access, ends[i]);
      if (absl::IsOutOfRange(mapped)) throw std::invalid_argument(std::string(mapped.message()));
      if (!mapped.ok()) throw std::bad_alloc();
    }
  }
  absl::Span<const std::byte> Input(const TensorPlace& place) {
    const auto bytes =
        OrThrow(sandbox::ViewSlot(memories_.at(static_cast<size_t>(place.fd)).bytes(), place.slot));
    return {reinterpret_cast<const std::byte*>(bytes.data()), bytes.size()};
  }
  absl::Span<std::byte> Output(const TensorPlace& place) {
    const auto bytes = OrThrow(
        sandbox::ViewMutableSlot(memories_.at(static_cast<size_t>(place.fd)).mutable_bytes(), place.slot));
    return {reinterpret_cast<std::byte*>(bytes.data()), bytes.size()};
  }

 private:
  std::vector<SharedMemory> memories_;
};

TrialStatus StatusOf(absl::StatusCode code) {
  switch (code) {
    case absl::StatusCode::kDeadlineExceeded:
      return TrialStatus::kTimeout;
    case absl::StatusCode::kResourceExhausted:
      return TrialStatus::kMemory;
    default:
      return TrialStatus::kFault;
  }
}

TrialReport RunTrial(const nki::ir::Program& program, const Request& request, const Trial& trial,
                     Arenas& arenas) {
  if (trial.inputs.size() != program.inputs.size() || trial.outputs.size() != program.outputs.size()) {
    throw std::invalid_argument("another number of tensors than the program has");
  }
  std::vector<InputView> inputs;
  for (size_t i = 0; i < trial.inputs.size(); ++i) {
    const nki::ir::Tensor& tensor = program.tensors[static_cast<size_t>(program.inputs[i])];
    inputs.push_back({arenas.Input(trial.inputs[i]), tensor.dtype, tensor.shape});
  }
  std::vector<OutputView> outputs;
  for (size_t i = 0; i < trial.outputs.size(); ++i) {
    const nki::ir::Tensor& tensor = program.tensors[static_cast<size_t>(program.outputs[i])];
    outputs.push_back({arenas.Output(trial.outputs[i]), tensor.dtype, tensor.shape});
  }
  const absl::Time start = absl::Now();
  nki::exec::ExecOptions options;
  options.threads = request.threads;
  options.max_bytes = request.max_bytes;
  options.deadline = start + request.wall_limit;
  absl::StatusOr<nki::exec::ExecReport> executed = nki::exec::Execute(program, inputs, outputs, options);
  TrialReport report;
  report.time = absl::Now() - start;
  if (!executed.ok()) {
    report.status = StatusOf(executed.status().code());
    report.message = std::string(executed.status().message());
    return report;
  }
  report.diagnostics = std::move(executed->diagnostics);
  report.outputs = std::move(executed->outputs);
  report.status = executed->completed ? TrialStatus::kCompleted : TrialStatus::kFault;
  if (!executed->completed) {
    report.message = "a run-time fault ended the program";
    for (const nki::Diagnostic& diagnostic : report.diagnostics) {
      if (diagnostic.severity == nki::Severity::kError) {
        report.message = diagnostic.message;
        break;
      }
    }
  }
  return report;
}

}  // namespace

std::string Run(absl::string_view payload, absl::Span<const int> fds) {
  const Request request = OrThrow(DecodeRequest(payload));
  const nki::ir::Program program = OrThrow(nki::ir::Parse(request.program));
  Arenas arenas(fds, request.trials);
  std::vector<TrialReport> reports;
  for (const Trial& trial : request.trials) {
    reports.push_back(RunTrial(program, request, trial, arenas));
    if (reports.back().status != TrialStatus::kCompleted) break;
  }
  return EncodeReply(reports);
}

}  // namespace nkiagent::worker::execute
