#include "common/nki/exec/execute.h"

#include <algorithm>
#include <cstring>
#include <memory>
#include <new>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/nki/exec/machine.h"

namespace nkiagent::nki::exec {
namespace {

using ir::Tensor;
using ir::TensorId;

std::string Text(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

// Whether a view has the tensor's dtype, shape and size.
template <typename View>
absl::Status CheckView(const Tensor& t, const View& view, absl::string_view what) {
  if (view.dtype != t.dtype || view.shape != t.shape) {
    return absl::InvalidArgumentError(absl::StrCat(what, " '", t.name, "' is ", isa::Name(t.dtype),
                                                   Text(t.shape), ", its view ", isa::Name(view.dtype),
                                                   Text(view.shape)));
  }
  const int64_t bytes = t.ElementCount() * isa::SizeOf(t.dtype);
  if (static_cast<int64_t>(view.bytes.size()) != bytes) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " '", t.name, "' has ", bytes, " bytes, its view ", view.bytes.size()));
  }
  if (reinterpret_cast<uintptr_t>(view.bytes.data()) % static_cast<uintptr_t>(isa::SizeOf(t.dtype)) != 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(what, " '", t.name, "': its view is not aligned to the size of an element"));
  }
  return absl::OkStatus();
}

absl::Status CheckViews(const ir::Program& p, absl::Span<const InputView> inputs,
                        absl::Span<const OutputView> outputs) {
  if (inputs.size() != p.inputs.size() || outputs.size() != p.outputs.size()) {
    return absl::InvalidArgumentError(absl::StrCat("the program has ", p.inputs.size(), " inputs and ",
                                                   p.outputs.size(), " outputs, the call ", inputs.size(),
                                                   " and ", outputs.size()));
  }
  for (size_t i = 0; i < inputs.size(); ++i) {
    const Tensor& t = p.tensors[static_cast<size_t>(p.inputs[i])];
    if (absl::Status s = CheckView(t, inputs[i], "input"); !s.ok()) return s;
  }
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& t = p.tensors[static_cast<size_t>(p.outputs[i])];
    if (absl::Status s = CheckView(t, outputs[i], "output"); !s.ok()) return s;
  }
  return absl::OkStatus();
}

absl::StatusOr<ExecReport> Run(Mode mode, const ir::Program& program, absl::Span<const InputView> inputs,
                               absl::Span<const OutputView> outputs, const ExecOptions& options) {
  if (absl::Status s = CheckViews(program, inputs, outputs); !s.ok()) return s;
  absl::StatusOr<Plan> plan = MakePlan(program, mode == Mode::kFast);
  if (!plan.ok()) return plan.status();

  Shared shared(program, options.max_bytes, options.deadline, options.cancelled, options.seed);
  std::unique_ptr<Team> team;
  if (options.threads > 1 && mode == Mode::kFast) team = std::make_unique<Team>(options.threads);
  Machine machine(&shared, &*plan, team.get(), mode);
  Context& context = machine.main();
  if (!context.PollNow()) return context.status;

  const auto place = [&](TensorId id, const Storage& s) {
    for (const TensorId alias : plan->tensors[static_cast<size_t>(id)].aliases) {
      context.tensors[static_cast<size_t>(alias)] = s;
    }
  };
  for (size_t i = 0; i < inputs.size(); ++i) {
    Storage s;
    // Never written: a validated program writes to an argument only if it is an output, placed below.
    s.data = const_cast<std::byte*>(inputs[i].bytes.data());
    s.elements = program.tensors[static_cast<size_t>(program.inputs[i])].ElementCount();
    place(program.inputs[i], s);
  }
  for (size_t i = 0; i < program.tensors.size(); ++i) {
    const Tensor& t = program.tensors[i];
    if (t.role != ir::TensorRole::kConstant) continue;
    Storage s;
    s.data = reinterpret_cast<std::byte*>(const_cast<char*>(t.constant_data.data()));
    s.elements = t.ElementCount();
    place(static_cast<TensorId>(i), s);
  }
  std::vector<std::unique_ptr<WrittenMap>> written(outputs.size());
  for (size_t i = 0; i < outputs.size(); ++i) {
    const TensorId id = program.outputs[i];
    const Tensor& t = program.tensors[static_cast<size_t>(id)];
    const TensorPlan& tensor_plan = plan->tensors[static_cast<size_t>(id)];
    Storage s;
    s.data = outputs[i].bytes.data();
    s.elements = t.ElementCount();
    if (t.role == ir::TensorRole::kInput) {
      const auto input = std::find(program.inputs.begin(), program.inputs.end(), id) - program.inputs.begin();
      std::memmove(s.data, inputs[static_cast<size_t>(input)].bytes.data(), outputs[i].bytes.size());
    } else if (tensor_plan.fill || mode == Mode::kReference) {
      FillUndefined(t.dtype, s.data, s.elements);
      s.maybe_undefined = true;
    }
    if (options.track_unwritten && (!tensor_plan.proven_written || mode == Mode::kReference)) {
      if (!shared.budget.Take(s.elements / 8 + 8)) {
        return absl::ResourceExhaustedError(absl::StrCat("no memory to track output '", t.name, "'"));
      }
      written[i] = std::make_unique<WrittenMap>(s.elements);
      s.written = written[i].get();
    }
    place(id, s);
  }

  ExecReport report;
  report.completed = machine.Run();
  if (!report.completed && !context.fault.has_value()) return context.status;
  report.instructions = machine.instructions();
  report.peak_bytes = shared.budget.peak();
  report.fault_element = context.fault_element;
  report.fault_elements = context.fault_elements;
  if (context.fault.has_value()) report.diagnostics.push_back(std::move(*context.fault));
  for (Diagnostic& d : shared.findings.Take()) {
    if (report.diagnostics.size() < kMaxDiagnostics) report.diagnostics.push_back(std::move(d));
  }
  if (options.track_unwritten && report.completed) {
    for (const std::unique_ptr<WrittenMap>& map : written) {
      OutputReport& r = report.outputs.emplace_back();
      if (map == nullptr) continue;
      r.unwritten_elements = map->CountUnmarked();
      r.first_unwritten = map->FirstUnmarked();
    }
  }
  return report;
}

}  // namespace

absl::StatusOr<ExecReport> ExecuteAs(Mode mode, const ir::Program& program,
                                     absl::Span<const InputView> inputs, absl::Span<const OutputView> outputs,
                                     const ExecOptions& options) {
  try {
    return Run(mode, program, inputs, outputs, options);
  } catch (const std::bad_alloc&) {
    return absl::ResourceExhaustedError("the machine has no more memory");
  }
}

absl::StatusOr<ExecReport> Execute(const ir::Program& program, absl::Span<const InputView> inputs,
                                   absl::Span<const OutputView> outputs, const ExecOptions& options) {
  return ExecuteAs(Mode::kFast, program, inputs, outputs, options);
}

}  // namespace nkiagent::nki::exec
