#include "common/nki/exec/findings.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "common/nki/exec/execute.h"

namespace nkiagent::nki::exec {

void Findings::Warn(const ir::SourceLoc& loc, const char* rule, std::string message, std::string limit,
                    std::string actual, std::string hint) {
  const std::lock_guard lock(mu_);
  if (!seen_.emplace(rule, loc.line).second || found_.size() >= kMaxDiagnostics) return;
  Diagnostic d;
  d.severity = Severity::kWarning;
  d.rule = rule;
  d.message = std::move(message);
  d.line = loc.line;
  d.column = loc.column;
  d.limit = std::move(limit);
  d.actual = std::move(actual);
  d.hint = std::move(hint);
  found_.push_back(std::move(d));
}

bool Findings::Known(const ir::SourceLoc& loc, const char* rule) {
  const std::lock_guard lock(mu_);
  return found_.size() >= kMaxDiagnostics || seen_.count({rule, loc.line}) > 0;
}

std::vector<Diagnostic> Findings::Take() {
  const std::lock_guard lock(mu_);
  std::stable_sort(found_.begin(), found_.end(),
                   [](const Diagnostic& a, const Diagnostic& b) { return a.line < b.line; });
  return std::move(found_);
}

Diagnostic OutOfBounds(const ir::Program& program, const ir::Instr& instr, ir::TensorId tensor, int axis,
                       int64_t index, bool run_time_index) {
  const ir::Tensor& t = program.tensors[static_cast<size_t>(tensor)];
  const int64_t size = t.shape[static_cast<size_t>(axis)];
  Diagnostic d;
  d.severity = Severity::kError;
  d.rule = "err_tensor_access_out_of_bound";
  d.message =
      absl::StrCat(isa::RowOf(instr.op).name, ": ", run_time_index ? "run-time index " : "index ", index,
                   " is out of bounds for axis ", axis, " of tensor '", t.name, "' with size ", size);
  d.line = instr.loc.line;
  d.column = instr.loc.column;
  d.limit = absl::StrCat("0 <= index < ", size);
  d.actual = absl::StrCat("index = ", index);
  d.hint = run_time_index ? "clamp the run-time index, or use oob_mode.skip where the instruction has it"
                          : "fix the index, or mask the elements that lie outside the tensor";
  return d;
}

}  // namespace nkiagent::nki::exec
