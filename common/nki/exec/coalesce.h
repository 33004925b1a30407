// Copies that nobody could tell from their source are left out: a load of an argument that nothing changes is
// read in place, a tile that is only made to be copied is made where the copy would go.
//
// The result is what the executor runs in place of the program's own instructions. Every rewritten access is
// proven to stay inside its tensor, and the program's facts about undefined memory are those from before.
#ifndef NKIAGENT_COMMON_NKI_EXEC_COALESCE_H_
#define NKIAGENT_COMMON_NKI_EXEC_COALESCE_H_

#include <memory>
#include <unordered_map>
#include <vector>

#include "absl/types/span.h"
#include "common/nki/exec/ranges.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

// What holds of a storage in the program as it was written; all false for views.
struct StorageFacts {
  // Its first writes reach every element before anything reads one.
  bool covered = false;
  bool read = false;            // by any instruction
  bool proven_written = false;  // at kernel level: every element is written, whatever the data
};

struct Coalesced {
  std::vector<StorageFacts> facts;  // by TensorId
  // The instruction that takes another's place; null: nothing does.
  std::unordered_map<const ir::Instr*, std::unique_ptr<ir::Instr>> instead;

  // What to execute for `instr`, or null.
  const ir::Instr* Of(const ir::Instr& instr) const {
    const auto it = instead.find(&instr);
    return it == instead.end() ? &instr : it->second.get();
  }
};

// `program` is validated, its instructions have fitting shapes, and it outlives the result. Without `edit`,
// only the facts.
Coalesced Coalesce(const ir::Program& program, absl::Span<const WideRange> symbols, bool edit);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_COALESCE_H_
