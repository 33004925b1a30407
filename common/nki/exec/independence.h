// Which loops may run their iterations in parallel: those whose iterations provably touch different elements
// of everything that outlives an iteration. A loop's own claim (affine_range) is not believed.
#ifndef NKIAGENT_COMMON_NKI_EXEC_INDEPENDENCE_H_
#define NKIAGENT_COMMON_NKI_EXEC_INDEPENDENCE_H_

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <vector>

#include "absl/types/span.h"
#include "common/nki/exec/ranges.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

// Follows a walk over the program: Enter and Leave around each loop's body, Add for each instruction.
class Independence {
 public:
  Independence(const ir::Program& program, absl::Span<const WideRange> symbols);

  void Enter(const ir::Loop& loop);
  // `level_of` gives the number of open loops around the body in which a storage lives.
  void Add(const ir::Instr& instr, const std::function<size_t(ir::TensorId storage)>& level_of);
  // Ends the innermost open loop; true if its iterations are independent. `shared` receives the tensors that
  // the body uses and that live outside it, views included, ascending.
  bool Leave(std::vector<ir::TensorId>* shared);

  // Derived symbols whose value depends on a loop's index, ascending.
  const std::vector<ir::SymbolId>& DerivedFrom(ir::SymbolId loop) const {
    return derived_from_[static_cast<size_t>(loop)];
  }

 private:
  struct Ref {
    const ir::Access* access;
    bool write;
  };
  struct Frame {
    const ir::Loop* loop;
    std::map<ir::TensorId, std::vector<Ref>> refs;  // by storage that lives outside the loop
    std::set<ir::TensorId> shared;
    std::set<ir::SymbolId> inner;  // loops inside this one
    bool registers_fresh = true;   // no iteration sees register contents of another
    int64_t scalar_set = 0;        // partitions whose registers this iteration has set for sure
    int64_t vector_set = 0;
  };

  void AddRef(const ir::Access& access, bool write, const std::function<size_t(ir::TensorId)>& level_of);
  void NoteRegisters(const ir::Instr& instr);
  bool Disjoint(const Frame& frame, const std::vector<Ref>& refs) const;
  // Whether expressions of different iterations can't be equal. One expression for each ref.
  bool Apart(const Frame& frame, absl::Span<const ir::Affine> expressions,
             const std::vector<Ref>& refs) const;

  const ir::Program& p_;
  absl::Span<const WideRange> symbols_;
  std::vector<std::vector<ir::SymbolId>> loops_of_;      // loops each symbol depends on, ascending
  std::vector<std::vector<ir::SymbolId>> derived_from_;  // by loop symbol
  std::deque<ir::Access> index_accesses_;                // reads of run-time indices
  std::vector<Frame> frames_;
};

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_INDEPENDENCE_H_
