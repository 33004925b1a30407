// What is stored where: outputs and parameters.
#include <algorithm>
#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/nki/check/rules.h"
#include "common/nki/ir/saturate.h"

namespace nkiagent::nki::check {
namespace {

using ir::Wide;

bool IsOutput(const ir::Program& p, ir::TensorId id) {
  return std::find(p.outputs.begin(), p.outputs.end(), id) != p.outputs.end();
}

// No more distinct elements than this are written by all executions of the access together.
Wide MostElementsWritten(const Facts& facts, const InstrFacts& i, const ir::Access& access) {
  const int64_t elements = facts.program.tensors[static_cast<size_t>(access.tensor)].ElementCount();
  if (access.indirect_axis >= 0) return elements;
  Wide count = 1;
  for (int64_t s : access.shape) count = std::min<Wide>(count * s, elements);
  for (int l = i.loop; l != -1; l = facts.loops[static_cast<size_t>(l)].parent) {
    count = std::min<Wide>(count * facts.loops[static_cast<size_t>(l)].loop->trips, elements);
  }
  return count;
}

// What all stores to one output cover together, seen as a box.
struct Coverage {
  bool written = false;
  bool boxed = true;  // every store addresses the tensor itself, with compile-time indices
  std::vector<ir::Range> hull;
  Wide elements = 0;
};

void Cover(const Facts& facts, const InstrFacts& i, const ir::Access& access, ir::TensorId storage,
           Coverage& c) {
  c.elements += MostElementsWritten(facts, i, access);
  if (access.tensor != storage || access.indirect_axis >= 0) {
    c.boxed = false;
  } else if (c.boxed) {
    for (size_t k = 0; k < access.index.size(); ++k) {
      const ir::Range r = facts.RangeOf(access.index[k], access.shape);
      if (!c.written) {
        c.hull.push_back(r);
      } else {
        c.hull[k] = {std::min(c.hull[k].min, r.min), std::max(c.hull[k].max, r.max)};
      }
    }
  }
  c.written = true;
}

void WarnOfHoles(const ir::Tensor& t, const Coverage& c, Findings& found) {
  const auto warn = [&](const std::string& what, std::string actual) {
    found.push_back(Finding(
        Severity::kWarning, "output_partly_written", t.loc,
        absl::StrCat("output '", t.name, "' ", ShapeText(t.shape), " keeps undefined elements: ", what),
        absl::StrCat(t.ElementCount(), " elements"), std::move(actual),
        "round trip counts up (math.ceil(size / tile)) and mask the last tile"));
  };
  if (c.boxed) {
    for (size_t k = 0; k < c.hull.size(); ++k) {
      if (c.hull[k].min <= 0 && c.hull[k].max >= t.shape[k] - 1) continue;
      warn(absl::StrCat("stores cover indices ", std::max<int64_t>(c.hull[k].min, 0), " to ",
                        std::min(c.hull[k].max, t.shape[k] - 1), " of axis ", k, ", whose size is ",
                        t.shape[k]),
           absl::StrCat("axis ", k, " stored up to index ", c.hull[k].max));
      return;
    }
  }
  if (c.elements < t.ElementCount()) {
    warn(absl::StrCat("all stores together write at most ", static_cast<int64_t>(c.elements), " of them"),
         absl::StrCat(static_cast<int64_t>(c.elements), " elements"));
  }
}

}  // namespace

void CheckOutputs(const Facts& facts, Findings& found) {
  const ir::Program& p = facts.program;
  if (p.outputs.empty()) {
    found.push_back(Finding(
        Severity::kError, "err_tensor_output_not_written_to", {},
        absl::StrCat("kernel '", p.kernel_name, "' returns no tensor"), "at least one output", "no output",
        "create the result with nl.ndarray(..., buffer=nl.shared_hbm), nl.store into it and "
        "return it"));
    return;
  }
  std::map<ir::TensorId, Coverage> coverage;
  for (const InstrFacts& i : facts.instrs) {
    for (const ir::Access* a : Destinations(*i.instr)) {
      const ir::TensorId storage = facts.StorageOf(*a);
      if (IsOutput(p, storage) && facts.Writes(i, *a)) Cover(facts, i, *a, storage, coverage[storage]);
    }
  }
  for (ir::TensorId id : p.outputs) {
    const ir::Tensor& t = p.tensors[static_cast<size_t>(id)];
    if (t.role == ir::TensorRole::kInput) continue;  // keeps what it had
    if (const auto it = coverage.find(id); it != coverage.end()) {
      WarnOfHoles(t, it->second, found);
      continue;
    }
    found.push_back(
        Finding(Severity::kError, "err_tensor_output_not_written_to", t.loc,
                absl::StrCat("output '", t.name, "' ", ShapeText(t.shape),
                             " is never stored to by an instruction that runs"),
                "every output stored", "no store",
                "nl.store each tile of the result; if the store is in a loop, check that its trip count "
                "is not 0 (use math.ceil(size / tile), not size // tile)"));
  }
}

void CheckParameters(const Facts& facts, Findings& found) {
  std::set<ir::TensorId> reported;
  for (const InstrFacts& i : facts.instrs) {
    for (const ir::Access* a : Destinations(*i.instr)) {
      const ir::TensorId storage = facts.StorageOf(*a);
      const ir::Tensor& t = facts.program.tensors[static_cast<size_t>(storage)];
      const bool fixed = t.role == ir::TensorRole::kConstant ||
                         (t.role == ir::TensorRole::kInput && !IsOutput(facts.program, storage));
      if (!fixed || !reported.insert(storage).second) continue;
      found.push_back(
          Finding(Severity::kError, "err_cannot_update_immutable_parameter", i.instr->loc,
                  absl::StrCat("'", isa::RowOf(i.instr->op).name, "' writes to ",
                               t.role == ir::TensorRole::kInput ? "kernel parameter '" : "constant '", t.name,
                               "', which is immutable"),
                  "parameters are read only", "a store",
                  "create a new tensor with buffer=nl.shared_hbm, store into that and return it"));
    }
  }
}

}  // namespace nkiagent::nki::check
