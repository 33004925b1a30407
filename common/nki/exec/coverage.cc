#include "common/nki/exec/coverage.h"

#include <algorithm>
#include <cstdlib>
#include <utility>

#include "common/nki/exec/instr_plan.h"
#include "common/nki/exec/shapes.h"

namespace nkiagent::nki::exec {

using ir::Access;
using isa::Opcode;

namespace {
constexpr int32_t kKeepPartition = 255;
}  // namespace

std::vector<const Access*> ReadsOf(const ir::Instr& instr) {
  std::vector<const Access*> reads;
  for (const ir::Operand& o : instr.src) {
    if (const Access* a = AccessOf(o); a != nullptr) reads.push_back(a);
  }
  const bool dma = instr.op == Opcode::kDmaCopy || instr.op == Opcode::kDmaTranspose;
  if ((instr.op == Opcode::kNcMatmul && instr.attrs.accumulate) ||
      (dma && instr.attrs.op0 != isa::AluOp::kNone)) {
    reads.push_back(AccessOf(instr.dst[0]));
  }
  return reads;
}

bool WritesWholeTile(const ir::Instr& instr, const Access& dst) {
  if (dst.indirect_axis >= 0) return false;
  for (const auto* operands : {&instr.dst, &instr.src}) {
    for (const ir::Operand& o : *operands) {
      const Access* a = AccessOf(o);
      if (a != nullptr && (!a->mask.empty() || a->indirect_axis >= 0)) return false;
    }
  }
  switch (instr.op) {
    case Opcode::kTensorCopyPredicated:
    case Opcode::kLocalGather:
      return false;
    case Opcode::kNcStreamShuffle:
      return std::find(instr.attrs.list.begin(), instr.attrs.list.end(), kKeepPartition) ==
             instr.attrs.list.end();
    default:
      return true;
  }
}

bool CoversTensor(const ir::Program& program, const Access& access, absl::Span<const ir::Loop* const> loops,
                  int64_t elements, absl::Span<const WideRange> symbols) {
  ir::Affine flat;
  if (!FlatOffset(program, access, symbols, &flat)) return false;
  // Each tile dimension and each loop is a digit: (distance between its values, how many).
  std::vector<std::pair<int64_t, int64_t>> digits;
  int64_t lowest = flat.constant;
  for (size_t d = 0; d < access.shape.size(); ++d) {
    digits.emplace_back(flat.DimCoefficient(d), access.shape[d]);
  }
  for (const ir::Loop* loop : loops) {
    if (loop->trips == 0) return false;
  }
  for (const ir::Affine::Term& t : flat.terms) {
    const auto it =
        std::find_if(loops.begin(), loops.end(), [&t](const ir::Loop* l) { return l->symbol == t.symbol; });
    if (it == loops.end()) return false;  // moves with something else
    const ir::Loop& loop = **it;
    const Int128 distance = Int128{t.coefficient} * loop.step;
    if (distance > elements || distance < -elements) {
      if (loop.trips > 1) return false;
    } else {
      digits.emplace_back(static_cast<int64_t>(distance), loop.trips);
    }
    const Int128 start = lowest + Int128{t.coefficient} * loop.start;
    if (start > elements || start < -elements) return false;
    lowest = static_cast<int64_t>(start);
  }
  std::erase_if(digits, [](const auto& digit) { return digit.second == 1 || digit.first == 0; });
  for (auto& [distance, count] : digits) {
    if (distance < 0) {
      lowest += distance * (count - 1);
      distance = -distance;
    }
  }
  std::sort(digits.begin(), digits.end());
  Int128 reached = 1;
  for (const auto& [distance, count] : digits) {
    // Leaves no gap; digits may overlap. Saturates at the tensor's size.
    if (distance > reached) return false;
    reached = std::min(Int128{elements}, reached + Int128{distance} * (count - 1));
  }
  return lowest == 0 && reached >= elements;
}

bool StridesAreInjective(absl::Span<const int64_t> shape, absl::Span<const int64_t> strides) {
  std::vector<std::pair<int64_t, int64_t>> digits;
  for (size_t d = 0; d < shape.size(); ++d) {
    if (shape[d] > 1) digits.emplace_back(std::abs(strides[d]), shape[d]);
  }
  std::sort(digits.begin(), digits.end());
  Int128 reach = 0;
  for (const auto& [distance, count] : digits) {
    if (distance <= reach) return false;
    reach += Int128{distance} * (count - 1);
  }
  return true;
}

}  // namespace nkiagent::nki::exec
