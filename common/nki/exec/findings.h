// What goes wrong or looks wrong while a program runs, collected from all threads.
#ifndef NKIAGENT_COMMON_NKI_EXEC_FINDINGS_H_
#define NKIAGENT_COMMON_NKI_EXEC_FINDINGS_H_

#include <mutex>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "common/nki/diagnostic.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec {

class Findings {
 public:
  // Warnings, once for each rule and line. Thread-safe.
  void Warn(const ir::SourceLoc& loc, const char* rule, std::string message, std::string limit,
            std::string actual, std::string hint);
  // Whether Warn for this rule and line would do nothing; lets callers skip the search for it.
  bool Known(const ir::SourceLoc& loc, const char* rule);

  // The warnings, by line.
  std::vector<Diagnostic> Take();

 private:
  std::mutex mu_;  // Guards what follows.
  std::set<std::pair<std::string, int>> seen_;
  std::vector<Diagnostic> found_;
};

// An index outside its axis: the error that ends an execution.
Diagnostic OutOfBounds(const ir::Program& program, const ir::Instr& instr, ir::TensorId tensor, int axis,
                       int64_t index, bool run_time_index);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_FINDINGS_H_
