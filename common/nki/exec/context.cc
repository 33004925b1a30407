#include "common/nki/exec/context.h"

#include "absl/strings/str_cat.h"
#include "common/nki/exec/scalar_math.h"

namespace nkiagent::nki::exec {

void WarnUndefinedRead(Context& context, const ir::Instr& instr, ir::TensorId tensor) {
  if (context.shared->findings.Known(instr.loc, kReadOfUnwrittenMemory)) return;
  const ir::Tensor& t = context.program().tensors[static_cast<size_t>(tensor)];
  context.shared->findings.Warn(
      instr.loc, kReadOfUnwrittenMemory,
      absl::StrCat(isa::RowOf(instr.op).name, " reads elements of tensor '", t.name,
                   "' that nothing has written; their contents are undefined"),
      "", "", "initialise the tensor (nl.zeros, nisa.memset) or mask the elements that were not written");
}

void WarnActivationRange(Context& context, const ir::Instr& instr, float input) {
  if (context.shared->findings.Known(instr.loc, kActivationInputOutOfRange)) return;
  const isa::ActFnInfo& info = isa::Info(instr.attrs.act);
  context.shared->findings.Warn(
      instr.loc, kActivationInputOutOfRange,
      absl::StrCat("activation '", info.name,
                   "' got an input outside the range for which the Scalar engine gives valid results"),
      absl::StrCat(info.valid_min, " <= input <= ", info.valid_max), absl::StrCat("input = ", input),
      "bring the input into the valid range first");
}

uint64_t RandomStreamOf(const Context& context, const ir::Instr& instr) {
  uint64_t stream = MixSeed(instr.attrs.seed, context.shared->seed);
  stream = MixSeed(stream, static_cast<uint64_t>(static_cast<uint32_t>(instr.loc.line)) << 32 |
                               static_cast<uint32_t>(instr.loc.column));
  for (const ir::SymbolId loop : context.loops) {
    stream = MixSeed(stream, static_cast<uint64_t>(context.symbols[static_cast<size_t>(loop)]));
  }
  return stream;
}

}  // namespace nkiagent::nki::exec
