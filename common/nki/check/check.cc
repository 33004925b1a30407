#include "common/nki/check/check.h"

#include <algorithm>
#include <iterator>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/nki/check/rules.h"
#include "common/nki/ir/legality.h"

namespace nkiagent::nki::check {
namespace {

constexpr void (*kRules[])(const Facts&, Findings&) = {
    CheckLegality,    CheckBounds,         CheckPartitionStarts, CheckParameters, CheckOutputs,
    CheckDependences, CheckUndefinedReads, CheckAccumulation,    CheckCapacity,
};

auto Order(const Diagnostic& d) { return std::tie(d.line, d.severity, d.rule); }

}  // namespace

Diagnostic Finding(Severity severity, std::string rule, ir::SourceLoc loc, std::string message,
                   std::string limit, std::string actual, std::string hint) {
  return {severity,   std::move(rule),  std::move(message), loc.line,
          loc.column, std::move(limit), std::move(actual),  std::move(hint)};
}

std::string ShapeText(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

void CheckLegality(const Facts& facts, Findings& found) {
  for (const ir::Tensor& t : facts.program.tensors) {
    if (t.view_of != ir::kNoTensor) continue;  // its base has been asked; a view only renames axes
    Findings more = ir::CheckTensor(t);
    std::move(more.begin(), more.end(), std::back_inserter(found));
  }
  for (const InstrFacts& i : facts.instrs) {
    Findings more = ir::CheckInstr(facts.program, *i.instr);
    std::move(more.begin(), more.end(), std::back_inserter(found));
    if (found.size() > 10 * kMaxFindings) return;
  }
}

std::vector<Diagnostic> Check(const ir::Program& program) {
  const Facts facts(program);
  Findings found;
  for (const auto rule : kRules) rule(facts, found);
  std::stable_sort(found.begin(), found.end(),
                   [](const Diagnostic& a, const Diagnostic& b) { return Order(a) < Order(b); });
  found.erase(std::unique(found.begin(), found.end(),
                          [](const Diagnostic& a, const Diagnostic& b) { return Order(a) == Order(b); }),
              found.end());
  if (found.size() > kMaxFindings) found.resize(kMaxFindings);
  return found;
}

}  // namespace nkiagent::nki::check
