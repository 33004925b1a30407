// Reference semantics of the instructions that compute each element of the destination from one element of
// each source.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string>

#include "common/nki/exec/context.h"
#include "common/nki/exec/dtype_convert.h"
#include "common/nki/exec/reference_machine.h"
#include "common/nki/exec/scalar_math.h"

namespace nkiagent::nki::exec {

using ir::Access;
using ir::Immediate;
using isa::AluOp;

namespace {

constexpr size_t kMaxSources = 4;

}  // namespace

Source ReferenceMachine::Make(const ir::Operand& o, bool vector) {
  Source s;
  s.vector = vector;
  if (const auto* access = std::get_if<Access>(&o)) {
    s.access = access;
  } else if (const auto* imm = std::get_if<Immediate>(&o)) {
    s.constant.f = static_cast<float>(imm->value);
    // Exact for 32-bit integers of either sign, which a float is not.
    s.constant.i = IntOfConstant(imm->value);
  }
  return s;
}

bool ReferenceMachine::Elementwise(const std::vector<Source>& sources, const Compute& compute,
                                   std::vector<Fp32Result>* results) {
  const Access& dst = Dst();
  struct Item {
    int64_t index;
    int64_t place;
    std::array<Cell, kMaxSources> cells;
  };
  std::vector<Item> items;
  int64_t n = 1;
  for (const int64_t s : dst.shape) n *= s;
  if (!Reserve(n)) return false;
  // Positions of [P, 1] sources.
  std::array<Position, kMaxSources> vector_pos;
  for (size_t i = 0; i < sources.size(); ++i) {
    if (sources[i].vector && sources[i].access != nullptr)
      vector_pos[i].assign(sources[i].access->shape.size(), 0);
  }
  const bool read = ForEach(dst.shape, [&](const Position& pos, int64_t index) {
    if (!Held(dst, pos)) return true;
    for (Position& p : vector_pos) {
      if (!p.empty()) p[0] = pos[0];
    }
    for (size_t i = 0; i < sources.size(); ++i) {
      const Source& s = sources[i];
      if (s.access != nullptr && !Held(*s.access, s.vector ? vector_pos[i] : pos)) return true;
    }
    Item item{index, 0, {}};
    bool skipped = false;
    for (size_t i = 0; i < sources.size(); ++i) {
      const Source& s = sources[i];
      item.cells[i] = s.constant;
      if (s.access == nullptr) continue;
      int64_t place = 0;
      if (!Locate(*s.access, s.vector ? vector_pos[i] : pos, &place, &skipped)) return false;
      if (skipped) return true;
      item.cells[i] = ReadAt(*s.access, place);
    }
    if (!Locate(dst, pos, &item.place, &skipped)) return false;
    if (!skipped) items.push_back(item);
    return true;
  });
  if (!read) return false;
  Position pos(dst.shape.size(), 0);
  for (const Item& item : items) {
    int64_t rest = item.index;
    for (size_t d = pos.size(); d-- > 0;) {
      pos[d] = rest % dst.shape[d];
      rest /= dst.shape[d];
    }
    const Result r = compute(pos, item.index, absl::MakeConstSpan(item.cells.data(), sources.size()));
    if (results != nullptr) results->push_back({pos[0], r.f});
    WriteAt(dst, item.place, r);
  }
  return true;
}

Result ReferenceMachine::CopyOf(const Cell& cell, const ir::Operand& src, bool exact_integers) const {
  const isa::DType to = TensorOf(Dst()).dtype;
  if (const auto* imm = std::get_if<Immediate>(&src)) {
    if (isa::IsInteger(to) && std::isfinite(imm->value)) return Result::IntSaturated(cell.i);
    return Result::Float(cell.f);
  }
  const isa::DType from = TensorOf(std::get<Access>(src)).dtype;
  if (from == to) return Result::RawBits(cell.bits);
  if (exact_integers && isa::IsInteger(from) && isa::IsInteger(to)) return Result::IntSaturated(cell.i);
  return Result::Float(cell.f);
}

bool ReferenceMachine::TwoOperators(const std::vector<Source>& sources, std::vector<Fp32Result>* results) {
  // Bitwise operators work at the width of the data (32 bits for anything that is not an integer tile).
  const isa::DType type = TensorOf(Src(0)).dtype;
  const int bits = isa::IsInteger(type) ? 8 * isa::SizeOf(type) : 32;
  const AluOp ops[] = {at_.op0, in_.op == isa::Opcode::kTensorTensor ? AluOp::kNone : at_.op1};
  const bool reverse[] = {at_.reverse0, at_.reverse1};
  const bool bitvec = isa::Info(ops[0]).bitvec || isa::Info(ops[1]).bitvec;
  return Elementwise(
      sources,
      [&](const Position&, int64_t, absl::Span<const Cell> cells) {
        Cell r = cells[0];
        for (size_t k = 0; k < 2; ++k) {
          if (ops[k] == AluOp::kNone) continue;
          const Cell b = k + 1 < cells.size() ? cells[k + 1] : Cell{};
          if (bitvec) {
            r.i = reverse[k] ? ApplyBitvec(ops[k], b.i, r.i, bits) : ApplyBitvec(ops[k], r.i, b.i, bits);
          } else {
            // A unary operator has no operand to swap with.
            const bool swap = reverse[k] && isa::Info(ops[k]).arity == 2;
            r.f = swap ? ApplyAlu(ops[k], b.f, r.f) : ApplyAlu(ops[k], r.f, b.f);
          }
        }
        return bitvec ? Result::IntBits(r.i) : Result::Float(r.f);
      },
      results);
}

bool ReferenceMachine::WriteReduceResult(const std::vector<float>& by_partition) {
  if (std::holds_alternative<std::monostate>(in_.dst[1])) return true;
  return WriteTile(Dst(1), by_partition);
}

bool ReferenceMachine::TensorScalar() {
  std::vector<Fp32Result> results;
  if (!TwoOperators({Tile(0), Vector(1), Vector(2)}, &results)) return false;
  if (std::holds_alternative<std::monostate>(in_.dst[1])) return true;
  std::vector<float> fold(static_cast<size_t>(Dst().shape[0]), FoldIdentity(at_.reduce_op));
  std::vector<bool> seen(fold.size(), false);
  for (const Fp32Result& r : results) {
    const auto p = static_cast<size_t>(r.partition);
    fold[p] = seen[p] ? ApplyAlu(at_.reduce_op, fold[p], r.value) : r.value;
    seen[p] = true;
  }
  return WriteReduceResult(fold);
}

bool ReferenceMachine::Activation() {
  const isa::ActFnInfo& info = isa::Info(at_.act);
  std::vector<Fp32Result> results;
  const bool ok = Elementwise(
      {Tile(0), Vector(1), Vector(2)},
      [&](const Position&, int64_t, absl::Span<const Cell> cells) {
        const float x = cells[0].f * cells[2].f + cells[1].f;
        if (x < info.valid_min || x > info.valid_max) WarnActivationRange(c_, in_, x);
        return Result::Float(ApplyAct(at_.act, x));
      },
      &results);
  if (!ok) return false;
  const AluOp op = at_.reduce_op == AluOp::kNone ? AluOp::kAdd : at_.reduce_op;
  const int64_t partitions = Dst().shape[0];
  std::vector<float>& registers = c_.registers.scalar;
  if (at_.reduce_cmd == isa::ReduceCmd::kReset || at_.reduce_cmd == isa::ReduceCmd::kResetReduce) {
    std::fill_n(registers.begin(), partitions, 0.0f);
  }
  if (at_.reduce_cmd == isa::ReduceCmd::kReduce || at_.reduce_cmd == isa::ReduceCmd::kResetReduce) {
    std::vector<float> fold(static_cast<size_t>(partitions), 0.0f);
    std::vector<bool> seen(fold.size(), false);
    for (const Fp32Result& r : results) {
      const auto p = static_cast<size_t>(r.partition);
      fold[p] = seen[p] ? ApplyAlu(op, fold[p], r.value) : r.value;
      seen[p] = true;
    }
    for (size_t p = 0; p < fold.size(); ++p) {
      if (seen[p]) registers[p] = ApplyAlu(op, registers[p], fold[p]);
    }
  }
  return WriteReduceResult({registers.begin(), registers.begin() + partitions});
}

bool ReferenceMachine::RangeSelect() {
  constexpr float kFp32Min = std::numeric_limits<float>::lowest();
  std::vector<Fp32Result> results;
  const bool ok = Elementwise(
      {Tile(0), Vector(1), Vector(2)},
      [&](const Position& pos, int64_t, absl::Span<const Cell> cells) {
        const auto i = static_cast<float>(Eval(at_.expr, pos));
        const bool inside =
            ApplyAlu(at_.op0, i, cells[1].f) != 0.0f && ApplyAlu(at_.op1, i, cells[2].f) != 0.0f;
        return Result::Float(inside ? cells[0].f : kFp32Min);
      },
      &results);
  if (!ok) return false;
  const int64_t partitions = Dst().shape[0];
  std::vector<float>& registers = c_.registers.vector;
  if (at_.reduce_cmd == isa::ReduceCmd::kReset || at_.reduce_cmd == isa::ReduceCmd::kResetReduce) {
    std::fill_n(registers.begin(), partitions, kFp32Min);
  }
  if (at_.reduce_cmd == isa::ReduceCmd::kReduce || at_.reduce_cmd == isa::ReduceCmd::kResetReduce) {
    for (const Fp32Result& r : results) {
      float& reg = registers[static_cast<size_t>(r.partition)];
      reg = ApplyAlu(AluOp::kMaximum, reg, r.value);
    }
  }
  return WriteReduceResult({registers.begin(), registers.begin() + partitions});
}

bool ReferenceMachine::Transpose() {
  const Access& dst = Dst();
  const Access& data = Src(0);
  // (f, p) of dst is (p, f) of data, f and p flattened row-major.
  struct Item {
    int64_t from, to;
  };
  std::vector<Item> items;
  const int64_t partitions = data.shape[0];
  int64_t free = 1;
  for (size_t d = 1; d < data.shape.size(); ++d) free *= data.shape[d];
  if (!Reserve(partitions * free)) return false;
  std::vector<Cell> cells;
  const bool ok = ForEach(data.shape, [&](const Position& pos, int64_t index) {
    const int64_t f = index % free;
    int64_t p = index / free;
    Position to(dst.shape.size(), 0);
    to[0] = f;
    for (size_t d = dst.shape.size(); d-- > 1;) {
      to[d] = p % dst.shape[d];
      p /= dst.shape[d];
    }
    if (!Held(data, pos) || !Held(dst, to)) return true;
    Item item{};
    if (!Locate(data, pos, &item.from, nullptr) || !Locate(dst, to, &item.to, nullptr)) return false;
    items.push_back(item);
    cells.push_back(ReadAt(data, item.from));
    return true;
  });
  if (!ok) return false;
  for (size_t k = 0; k < items.size(); ++k) {
    WriteAt(dst, items[k].to, CopyOf(cells[k], in_.src[0], false));
  }
  return true;
}

uint64_t ReferenceMachine::RandomStream() const { return RandomStreamOf(c_, in_); }

}  // namespace nkiagent::nki::exec
