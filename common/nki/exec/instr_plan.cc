#include "common/nki/exec/instr_plan.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "common/nki/exec/fast.h"
#include "common/nki/exec/shapes.h"

namespace nkiagent::nki::exec {

using ir::Access;
using ir::Affine;
using ir::Instr;
using isa::Opcode;

namespace {

// For each dimension of a tile, its coefficients over the dimensions of an iteration space.
using DimMap = std::vector<Dims>;

DimMap Identity(size_t rank) {
  DimMap map(rank, Dims(rank, 0));
  for (size_t d = 0; d < rank; ++d) map[d][d] = 1;
  return map;
}

// Only tile dimension 0 moves, with dimension 0 of the space.
DimMap VectorMap(size_t tile_rank, size_t space_rank) {
  DimMap map(tile_rank, Dims(space_rank, 0));
  map[0][0] = 1;
  return map;
}

LinearForm Form(const Affine& a, const DimMap& map, size_t space_rank) {
  LinearForm f;
  f.constant = a.constant;
  f.terms = a.terms;
  f.dims.assign(space_rank, 0);
  for (size_t d = 0; d < a.dims.size(); ++d) {
    for (size_t j = 0; j < space_rank; ++j) f.dims[j] += a.dims[d] * map[d][j];
  }
  return f;
}

class Planner {
 public:
  Planner(const ir::Program& program, const Instr& instr, absl::Span<const WideRange> symbols)
      : p_(program), in_(instr), symbols_(symbols) {}

  InstrPlan Make() {
    plan_.instr = &in_;
    const Access& dst = *AccessOf(in_.dst[0]);
    plan_.space.assign(dst.shape.begin(), dst.shape.end());
    bool own_dims = false;
    switch (in_.op) {
      case Opcode::kNcTranspose:
      case Opcode::kTensorReduce:
      case Opcode::kTensorPartitionReduce: {
        const Access& data = *AccessOf(in_.src[0]);
        plan_.space.assign(data.shape.begin(), data.shape.end());
        own_dims = in_.op != Opcode::kNcTranspose;
        break;
      }
      case Opcode::kNcMatmul:
      case Opcode::kTensorTensorScan:
      case Opcode::kBnStats:
      case Opcode::kBnAggr:
      case Opcode::kLocalGather:
      case Opcode::kMax8:
      case Opcode::kNcFindIndex8:
      case Opcode::kNcMatchReplace8:
      case Opcode::kNcStreamShuffle:
        own_dims = true;
        break;
      default:
        break;
    }
    for (size_t i = 0; i < in_.dst.size(); ++i) {
      // A reduce_res is written after the element-wise part, under its own mask.
      plan_.dst.push_back(Operand(in_.dst[i], true, i, own_dims || i > 0));
    }
    for (size_t i = 0; i < in_.src.size(); ++i) plan_.src.push_back(Operand(in_.src[i], false, i, own_dims));
    plan_.work = 1;
    for (const int64_t s : plan_.space) plan_.work *= s;
    if (in_.op == Opcode::kNcMatmul) {
      // A multiply-add of sgemm costs about a sixteenth of an element of simple work.
      plan_.work += plan_.work / 16 * AccessOf(in_.src[0])->shape[0];
    }
    if (!NeverOverflows(in_.attrs.expr, dst.shape, symbols_)) fast_ = false;
    if (fast_) plan_.fast = FastFor(plan_);
    return std::move(plan_);
  }

 private:
  // Maps the operand's tile dimensions to the iteration space; sets fast_ to false if that is impossible.
  DimMap MapOf(const Access& a, bool is_dst, size_t index, bool own_dims) {
    const size_t rank = own_dims ? a.shape.size() : plan_.space.size();
    if (own_dims) return Identity(rank);
    switch (in_.op) {
      case Opcode::kNcTranspose: {
        if (!is_dst) return Identity(rank);
        DimMap map(a.shape.size(), Dims(rank, 0));
        int64_t stride = 1;
        for (size_t d = rank; d-- > 1;) {
          map[0][d] = stride;
          stride *= plan_.space[d];
        }
        for (size_t d = 1; d < a.shape.size(); ++d) {
          if (a.shape[d] == 1) continue;
          // The partitions of data must be one dimension of dst, not several.
          if (a.shape[d] != plan_.space[0]) fast_ = false;
          map[d][0] = 1;
        }
        return map;
      }
      case Opcode::kPartitionBroadcast: {
        DimMap map = Identity(rank);
        if (!is_dst) map[0].assign(rank, 0);
        return map;
      }
      default: {
        const isa::Row& row = isa::RowOf(in_.op);
        const isa::OperandKind kind = (is_dst ? row.dst : row.src)[index].kind;
        const bool vector = kind == isa::OperandKind::kVector || kind == isa::OperandKind::kVectorOrImmediate;
        return vector ? VectorMap(a.shape.size(), rank) : Identity(rank);
      }
    }
  }

  AccessPlan Operand(const ir::Operand& operand, bool is_dst, size_t index, bool own_dims) {
    AccessPlan out;
    if (const auto* imm = std::get_if<ir::Immediate>(&operand)) {
      out.constant = true;
      out.value = imm->value;
      return out;
    }
    const Access* a = AccessOf(operand);
    if (a == nullptr) return out;
    const ir::Tensor& t = p_.tensors[static_cast<size_t>(a->tensor)];
    out.tensor = a->tensor;
    out.dtype = t.dtype;
    out.element_bytes = isa::SizeOf(t.dtype);
    out.shape.assign(a->shape.begin(), a->shape.end());
    if (a->indirect_axis >= 0) Indirect(*a, t, &out.indirect);
    Affine flat;
    if (!FlatOffset(p_, *a, symbols_, &flat)) fast_ = false;
    if (!fast_) return out;
    const DimMap map = MapOf(*a, is_dst, index, own_dims);
    const size_t rank = own_dims ? a->shape.size() : plan_.space.size();
    out.offset = Form(flat, map, rank);
    for (size_t k = 0; k < t.shape.size(); ++k) {
      if (a->indirect_axis == static_cast<int32_t>(k)) continue;
      const WideRange r = WideRangeOf(a->index[k], a->shape, symbols_);
      if (r.min >= 0 && r.max < t.shape[k]) continue;
      out.checks.push_back({static_cast<int>(k), t.shape[k], Form(a->index[k], map, rank)});
    }
    for (const Affine& m : a->mask) {
      if (!NeverOverflows(m, a->shape, symbols_)) fast_ = false;
      (own_dims ? out.masks : plan_.masks).push_back(Form(m, map, rank));
    }
    return out;
  }

  // The run-time index of `a`, if it is one number for each position along dimension 0; sets fast_ to false
  // if not.
  void Indirect(const Access& a, const ir::Tensor& t, IndirectPlan* out) {
    Access numbers;
    numbers.tensor = a.indirect_tensor;
    numbers.shape = a.shape;
    numbers.index = a.indirect_index;
    Affine flat;
    const auto axis = static_cast<size_t>(a.indirect_axis);
    const auto moves_with_first_only = [](const Affine& e) {
      return std::all_of(e.dims.begin() + (e.dims.empty() ? 0 : 1), e.dims.end(),
                         [](int64_t c) { return c == 0; });
    };
    const bool rows = std::all_of(a.indirect_index.begin(), a.indirect_index.end(), moves_with_first_only) &&
                      moves_with_first_only(a.index[axis]);
    if (!rows || (in_.op != Opcode::kDmaCopy && in_.op != Opcode::kTensorCopy) ||
        in_.attrs.op0 != isa::AluOp::kNone || !ProvenInBounds(p_, numbers, symbols_) ||
        !FlatOffset(p_, numbers, symbols_, &flat) || !NeverOverflows(a.index[axis], a.shape, symbols_)) {
      fast_ = false;
      return;
    }
    const DimMap map = Identity(plan_.space.size());
    out->active = true;
    out->axis = a.indirect_axis;
    out->size = t.shape[axis];
    out->stride = 1;
    for (size_t k = axis + 1; k < t.shape.size(); ++k) out->stride *= t.shape[k];
    out->index = Form(a.index[axis], map, plan_.space.size());
    out->tensor = a.indirect_tensor;
    out->dtype = p_.tensors[static_cast<size_t>(a.indirect_tensor)].dtype;
    out->offset = Form(flat, map, plan_.space.size());
  }

  const ir::Program& p_;
  const Instr& in_;
  absl::Span<const WideRange> symbols_;
  InstrPlan plan_;
  bool fast_ = true;
};

}  // namespace

InstrPlan MakeInstrPlan(const ir::Program& program, const Instr& instr, absl::Span<const WideRange> symbols) {
  return Planner(program, instr, symbols).Make();
}

bool FlatOffset(const ir::Program& program, const Access& access, absl::Span<const WideRange> symbols,
                Affine* flat) {
  const ir::Tensor& t = program.tensors[static_cast<size_t>(access.tensor)];
  // Every partial product below is at most (2^62) * (elements of the tensor): bounded first, then computed.
  Affine sum;
  int64_t stride = 1;
  bool safe = true;
  for (size_t k = t.shape.size(); k-- > 0;) {
    const WideRange r = WideRangeOf(access.index[k], access.shape, symbols);
    const Int128 limit = (Int128{1} << 60) / static_cast<Int128>(t.shape.size()) / stride;
    if (!NeverOverflows(access.index[k], access.shape, symbols) || r.min < -limit || r.max > limit)
      safe = false;
    if (safe) sum = sum + access.index[k] * stride;
    stride *= t.shape[k];
  }
  if (!safe || !NeverOverflows(sum, access.shape, symbols)) return false;
  *flat = std::move(sum);
  return true;
}

bool ProvenInBounds(const ir::Program& program, const Access& access, absl::Span<const WideRange> symbols) {
  const ir::Tensor& t = program.tensors[static_cast<size_t>(access.tensor)];
  for (size_t k = 0; k < t.shape.size(); ++k) {
    const WideRange r = WideRangeOf(access.index[k], access.shape, symbols);
    if (r.min < 0 || r.max >= t.shape[k] || access.indirect_axis == static_cast<int32_t>(k)) return false;
  }
  return true;
}

}  // namespace nkiagent::nki::exec
