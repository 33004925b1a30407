// Fast form of copies whose source or destination row is chosen at run time: gathers and scatters of rows.
#include <vector>

#include "common/nki/exec/dtype_convert.h"
#include "common/nki/exec/fast_common.h"
#include "common/nki/exec/fast_ops.h"
#include "common/nki/exec/reference.h"

namespace nkiagent::nki::exec {
namespace {

// Elements by which each row of an operand is displaced; rows that the masks drop are not looked at.
struct Displacement {
  std::vector<int64_t> elements;
  std::vector<char> skipped;
};

// False if a row lies outside its tensor.
bool Displace(Context& context, const InstrPlan& plan, const AccessPlan& a, int64_t first, int64_t end,
              Displacement* out) {
  out->elements.assign(static_cast<size_t>(end), 0);
  out->skipped.resize(out->elements.size(), 0);
  const IndirectPlan& indirect = a.indirect;
  if (!indirect.active) return true;
  const std::byte* numbers = context.tensors[static_cast<size_t>(indirect.tensor)].data;
  const int64_t base = indirect.index.Base(context.symbols);
  const int64_t from = indirect.offset.Base(context.symbols);
  for (int64_t r = first; r < end; ++r) {
    const int64_t place = from + r * indirect.offset.dims[0];
    const int64_t number = LoadInt(indirect.dtype, numbers + place * isa::SizeOf(indirect.dtype));
    const int64_t index = base + r * indirect.index.dims[0] + number;
    if (index >= 0 && index < indirect.size) {
      out->elements[static_cast<size_t>(r)] = number * indirect.stride;
    } else if (plan.instr->attrs.oob == isa::OobMode::kSkip) {
      out->skipped[static_cast<size_t>(r)] = 1;
    } else {
      return false;
    }
  }
  return true;
}

}  // namespace

bool FastGather(Context& context, const InstrPlan& plan, Team*) {
  const AccessPlan& dst = plan.dst[0];
  const AccessPlan& src = plan.src[0];
  const auto undefined = [&](ir::TensorId id) {
    return id != ir::kNoTensor && context.tensors[static_cast<size_t>(id)].maybe_undefined;
  };
  // Sources that the copy itself changes and reads that may find undefined memory are left to the definition.
  if (DataOf(context, dst) == DataOf(context, src) || undefined(src.tensor) ||
      undefined(src.indirect.tensor) || undefined(dst.indirect.tensor)) {
    return ReferenceInstr(context, *plan.instr);
  }
  for (const AccessPlan* a : {&dst, &src}) {
    // Nor numbers that the copy changes.
    const ir::TensorId numbers = a->indirect.tensor;
    if (numbers != ir::kNoTensor &&
        context.tensors[static_cast<size_t>(numbers)].data == DataOf(context, dst)) {
      return ReferenceInstr(context, *plan.instr);
    }
  }
  TileLoop loop;
  TileLoop::Options options;
  options.keep_first = true;
  const AccessPlan* const accesses[] = {&dst, &src};
  const TileLoop::State state = loop.Prepare(context, plan, accesses, plan.masks, plan.space, options);
  if (state != TileLoop::State::kReady) return state == TileLoop::State::kEmpty;
  // Of a ragged tile some rows may be dropped altogether.
  if (loop.ragged()) return ReferenceInstr(context, *plan.instr);
  const int64_t first = loop.first_begin();
  const int64_t end = first + loop.first_count();
  Displacement to, from;
  if (!Displace(context, plan, src, first, end, &from) || !Displace(context, plan, dst, first, end, &to)) {
    return ReferenceInstr(context, *plan.instr);  // tells the fault
  }
  const Kernels& k = BestKernels();
  std::byte* data = DataOf(context, dst);
  const std::byte* source = DataOf(context, src);
  WrittenMap* written = context.tensors[static_cast<size_t>(dst.tensor)].written;
  return ForAllFirst(context, nullptr, loop, [&](int64_t row, const TileLoop::Piece& piece) {
    const auto r = static_cast<size_t>(row);
    if (from.skipped[r] != 0 || to.skipped[r] != 0) return;
    const int64_t place = piece.offset[0] + to.elements[r];
    k.copy(dst.element_bytes, source + (piece.offset[1] + from.elements[r]) * src.element_bytes,
           loop.stride(1), data + place * dst.element_bytes, loop.stride(0), piece.n);
    MarkPiece(written, place, loop.stride(0), piece.n);
  });
}

}  // namespace nkiagent::nki::exec
