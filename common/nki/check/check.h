// The rules that a whole program must keep, on top of the legality of each of its instructions
// (ir/legality.h): bounds, outputs, dependences between iterations, reads of undefined memory, and what fits
// on the chip.
//
// A finding of severity kError is certain: the program has it on some path that runs. Where a rule can't be
// decided exactly within its budget, it says nothing.
#ifndef NKIAGENT_COMMON_NKI_CHECK_CHECK_H_
#define NKIAGENT_COMMON_NKI_CHECK_CHECK_H_

#include <vector>

#include "common/nki/diagnostic.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::check {

// More findings than this help nobody; the rest are dropped.
inline constexpr size_t kMaxFindings = 100;

// Findings ordered by line, errors before warnings on the same line, each (rule, line) once. `program` must
// have been validated (ir/validate.h). Takes time linear in the number of instructions for programs without
// masks; a hostile program costs at most a fixed budget for each access and each loop more.
std::vector<Diagnostic> Check(const ir::Program& program);

}  // namespace nkiagent::nki::check

#endif  // NKIAGENT_COMMON_NKI_CHECK_CHECK_H_
