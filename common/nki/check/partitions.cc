// Tiles that move over partitions with a loop start where the hardware can start.
#include <cstddef>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/nki/check/rules.h"
#include "common/nki/ir/legality.h"
#include "common/nki/ir/saturate.h"

namespace nkiagent::nki::check {
namespace {

// The first iteration's start is legal (or ir/legality.h says so for constants); this finds a step that
// leaves the grid of legal starts.
void CheckAccess(const Facts& facts, const ir::Instr& instr, const ir::Access& access, Findings& found) {
  const ir::Tensor& t = facts.TensorOf(access);
  // Masks may move the first partition in use.
  if (isa::IsHbm(t.buffer) || !access.mask.empty() || access.shape[0] > isa::kMaxPartitions) return;
  const ir::Affine& start = access.index[static_cast<size_t>(t.partition_axis)];
  const int64_t granule = ir::PartitionStartGranule(access.shape[0]);
  for (const ir::Affine::Term& term : start.terms) {
    const int index = facts.loop_of_symbol[static_cast<size_t>(term.symbol)];
    if (index == -1) return;  // a quotient or remainder: not decided here
  }
  for (const ir::Affine::Term& term : start.terms) {
    const ir::Loop& loop =
        *facts.loops[static_cast<size_t>(facts.loop_of_symbol[static_cast<size_t>(term.symbol)])].loop;
    if (loop.trips < 2 || (term.coefficient % granule) * (loop.step % granule) % granule == 0) continue;
    const std::string& name = facts.program.symbols[static_cast<size_t>(term.symbol)].name;
    found.push_back(Finding(
        Severity::kError, "err_start_partition_not_supported", instr.loc,
        absl::StrCat("'", isa::RowOf(instr.op).name, "' accesses ", access.shape[0], " partitions of ",
                     isa::Name(t.buffer), " tensor '", t.name, "' ", ShapeText(t.shape),
                     " from a partition that moves by ", ir::SaturatingMul(term.coefficient, loop.step),
                     " with '", name, "'; ", access.shape[0], " partitions may start at multiples of ",
                     granule, " only"),
        absl::StrCat("start partition a multiple of ", granule),
        absl::StrCat("start partition moves by ", ir::SaturatingMul(term.coefficient, loop.step)),
        "put what the loop runs over on a free axis (transpose the tile first), or work on all partitions at "
        "once"));
    return;
  }
}

}  // namespace

void CheckPartitionStarts(const Facts& facts, Findings& found) {
  for (const InstrFacts& i : facts.instrs) {
    if (!i.runs || isa::RowOf(i.instr->op).cost == isa::Cost::kDma) continue;
    for (const ir::Access* a : Sources(*i.instr)) CheckAccess(facts, *i.instr, *a, found);
    for (const ir::Access* a : Destinations(*i.instr)) CheckAccess(facts, *i.instr, *a, found);
  }
}

}  // namespace nkiagent::nki::check
