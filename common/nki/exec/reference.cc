#include "common/nki/exec/reference.h"

#include <algorithm>
#include <cstring>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/nki/exec/dtype_convert.h"
#include "common/nki/exec/reference_machine.h"
#include "common/nki/exec/scalar_math.h"

namespace nkiagent::nki::exec {

using ir::Access;
using isa::Opcode;

bool ReferenceInstr(Context& context, const ir::Instr& instr) {
  return ReferenceMachine(context, instr).Run();
}

int64_t ReferenceMachine::Eval(const ir::Affine& a, const Position& pos) const {
  // Wraps like Affine::Base; every index is checked against its axis afterwards.
  auto v = static_cast<uint64_t>(a.Base(c_.symbols));
  for (size_t d = 0; d < a.dims.size(); ++d)
    v += static_cast<uint64_t>(a.dims[d]) * static_cast<uint64_t>(pos[d]);
  return static_cast<int64_t>(v);
}

bool ReferenceMachine::Held(const Access& a, const Position& pos) const {
  return std::all_of(a.mask.begin(), a.mask.end(),
                     [&](const ir::Affine& condition) { return Eval(condition, pos) >= 0; });
}

bool ReferenceMachine::Locate(const Access& a, const Position& pos, int64_t* place, bool* skipped) {
  const ir::Tensor& t = TensorOf(a);
  *place = 0;
  for (size_t k = 0; k < t.shape.size(); ++k) {
    int64_t index = Eval(a.index[k], pos);
    const bool run_time = a.indirect_axis == static_cast<int32_t>(k);
    if (run_time) {
      Access source;
      source.tensor = a.indirect_tensor;
      source.index = a.indirect_index;
      Cell cell;
      if (!Read(source, pos, &cell)) return false;
      index += cell.i;
    }
    if (index < 0 || index >= t.shape[k]) {
      if (run_time && skipped != nullptr && at_.oob == isa::OobMode::kSkip) {
        *skipped = true;
        return true;
      }
      c_.fault = OutOfBounds(c_.program(), in_, a.tensor, static_cast<int>(k), index, run_time);
      if (run_time) {
        auto element = static_cast<uint64_t>(*place * t.shape[k]) + static_cast<uint64_t>(index);
        for (size_t j = k + 1; j < t.shape.size(); ++j) {
          element =
              element * static_cast<uint64_t>(t.shape[j]) + static_cast<uint64_t>(Eval(a.index[j], pos));
        }
        c_.fault_element = static_cast<int64_t>(element);
        c_.fault_elements = t.ElementCount();
      }
      return false;
    }
    *place = *place * t.shape[k] + index;
  }
  return true;
}

Cell ReferenceMachine::ReadAt(const Access& a, int64_t place) {
  const ir::Tensor& t = TensorOf(a);
  const Storage& s = c_.tensors[static_cast<size_t>(a.tensor)];
  const int size = isa::SizeOf(t.dtype);
  const std::byte* p = s.data + place * size;
  if (s.maybe_undefined && LooksUndefined(t.dtype, p)) WarnUndefinedRead(c_, in_, a.tensor);
  Cell cell;
  cell.f = LoadFloat(t.dtype, p);
  cell.i = LoadInt(t.dtype, p);
  std::memcpy(&cell.bits, p, static_cast<size_t>(size));
  return cell;
}

bool ReferenceMachine::Read(const Access& a, const Position& pos, Cell* cell) {
  int64_t place;
  if (!Locate(a, pos, &place, nullptr)) return false;
  *cell = ReadAt(a, place);
  return true;
}

void ReferenceMachine::WriteAt(const Access& a, int64_t place, const Result& r) {
  const ir::Tensor& t = TensorOf(a);
  const Storage& s = c_.tensors[static_cast<size_t>(a.tensor)];
  std::byte* p = s.data + place * isa::SizeOf(t.dtype);
  switch (r.kind) {
    case Result::Kind::kKeep:
      return;
    case Result::Kind::kFloat:
      StoreFloat(t.dtype, p, r.f);
      break;
    case Result::Kind::kIntBits:
      StoreBits(t.dtype, p, r.i);
      break;
    case Result::Kind::kIntSaturated:
      StoreSaturated(t.dtype, p, r.i);
      break;
    case Result::Kind::kRawBits: {
      const auto bits = static_cast<uint32_t>(r.i);
      std::memcpy(p, &bits, static_cast<size_t>(isa::SizeOf(t.dtype)));
      break;
    }
  }
  if (s.written != nullptr) s.written->Mark(place);
}

bool ReferenceMachine::Reserve(int64_t elements) {
  // Positions, places, cells and results of one element take about this much.
  constexpr int64_t kBytesPerElement = 128;
  if (elements > c_.shared->budget.limit() / kBytesPerElement ||
      !c_.shared->budget.Take(elements * kBytesPerElement)) {
    c_.status = absl::ResourceExhaustedError(
        absl::StrCat("line ", in_.loc.line, ": no memory for a tile of ", elements, " elements"));
    return false;
  }
  reserved_ += elements * kBytesPerElement;
  return true;
}

bool ReferenceMachine::ForEach(absl::Span<const int64_t> shape,
                               const std::function<bool(const Position&, int64_t)>& fn) {
  Position pos(shape.size(), 0);
  for (int64_t index = 0;; ++index) {
    if (!c_.Poll(4) || !fn(pos, index)) return false;
    size_t d = shape.size();
    while (d > 0 && ++pos[d - 1] == shape[d - 1]) pos[--d] = 0;
    if (d == 0) return true;
  }
}

bool ReferenceMachine::ReadTile(const Access& a, float fill, std::vector<float>* values,
                                std::vector<bool>* active) {
  int64_t n = 1;
  for (const int64_t s : a.shape) n *= s;
  if (!Reserve(n)) return false;
  values->assign(static_cast<size_t>(n), fill);
  active->assign(static_cast<size_t>(n), false);
  return ForEach(a.shape, [&](const Position& pos, int64_t k) {
    if (!Held(a, pos)) return true;
    Cell cell;
    if (!Read(a, pos, &cell)) return false;
    (*values)[static_cast<size_t>(k)] = cell.f;
    (*active)[static_cast<size_t>(k)] = true;
    return true;
  });
}

bool ReferenceMachine::WriteTile(const Access& a, const std::vector<float>& values) {
  // Find every place before writing any.
  std::vector<int64_t> places(values.size(), -1);
  if (!ForEach(a.shape, [&](const Position& pos, int64_t k) {
        return !Held(a, pos) || Locate(a, pos, &places[static_cast<size_t>(k)], nullptr);
      })) {
    return false;
  }
  for (size_t k = 0; k < values.size(); ++k) {
    if (places[k] >= 0) WriteAt(a, places[k], Result::Float(values[k]));
  }
  return true;
}

bool ReferenceMachine::Run() {
  bool ok = false;
  switch (in_.op) {
    case Opcode::kDmaCopy:
    case Opcode::kDmaTranspose:
      if (at_.op0 == isa::AluOp::kAdd) {
        ok = Elementwise({Tile(0), Source{&Dst(), false, {}}}, [](const Position&, int64_t, auto cells) {
          return Result::Float(cells[1].f + cells[0].f);
        });
      } else {
        ok = Elementwise({Tile(0)}, [this](const Position&, int64_t, auto cells) {
          return CopyOf(cells[0], in_.src[0], /*exact_integers=*/true);
        });
      }
      break;
    case Opcode::kTensorCopy:
      ok = Elementwise({Tile(0)}, [this](const Position&, int64_t, auto cells) {
        return CopyOf(cells[0], in_.src[0], false);
      });
      break;
    case Opcode::kNcTranspose:
      ok = Transpose();
      break;
    case Opcode::kPartitionBroadcast: {
      // Position (p, f...) of dst reads (0, f...) of src: the source's partition index does not move.
      Access src = Src(0);
      for (auto* list : {&src.index, &src.mask, &src.indirect_index}) {
        for (ir::Affine& a : *list) {
          if (!a.dims.empty()) a.dims[0] = 0;
        }
      }
      ok = Elementwise({Source{&src, false, {}}}, [this](const Position&, int64_t, auto cells) {
        return CopyOf(cells[0], in_.src[0], false);
      });
      break;
    }
    case Opcode::kActivation:
      ok = Activation();
      break;
    case Opcode::kTensorScalar:
      ok = TensorScalar();
      break;
    case Opcode::kTensorTensor:
      ok = TwoOperators({Tile(0), Tile(1)}, nullptr);
      break;
    case Opcode::kScalarTensorTensor:
      ok = TwoOperators({Tile(0), Vector(1), Tile(2)}, nullptr);
      break;
    case Opcode::kTensorCopyPredicated:
      ok = Elementwise({Tile(0), Tile(1)}, [this](const Position&, int64_t, auto cells) {
        return (cells[1].f != 0.0f) != at_.negate ? CopyOf(cells[0], in_.src[0], false) : Result::Keep();
      });
      break;
    case Opcode::kReciprocal:
      ok = Elementwise({Tile(0)},
                       [](const Position&, int64_t, auto cells) { return Result::Float(1.0f / cells[0].f); });
      break;
    case Opcode::kIota:
      ok = Elementwise({}, [this](const Position& pos, int64_t, auto) {
        return Result::IntSaturated(static_cast<int32_t>(Eval(at_.expr, pos)));
      });
      break;
    case Opcode::kMemset: {
      const Source value = Make(ir::Immediate{at_.value, isa::DType::kFloat32}, false);
      ok = Elementwise({value}, [this](const Position&, int64_t, auto cells) {
        return CopyOf(cells[0], ir::Immediate{at_.value, isa::DType::kFloat32}, false);
      });
      break;
    }
    case Opcode::kDropout:
      ok = Elementwise({Tile(0), Vector(1)}, [this](const Position&, int64_t k, auto cells) {
        const float u = UniformAt(RandomStream(), static_cast<uint64_t>(k));
        return u < cells[1].f ? Result::Float(0.0f) : CopyOf(cells[0], in_.src[0], false);
      });
      break;
    case Opcode::kRng:
      ok = Elementwise({}, [this](const Position&, int64_t k, auto) {
        return Result::Float(UniformAt(RandomStream(), static_cast<uint64_t>(k)));
      });
      break;
    case Opcode::kAffineSelect:
      ok = Elementwise({Tile(0)}, [this](const Position& pos, int64_t, auto cells) {
        const int64_t e = Eval(at_.expr, pos);
        const float sign = e > 0 ? 1.0f : (e < 0 ? -1.0f : 0.0f);
        if (ApplyAlu(at_.op0, sign, 0.0f) == 0.0f) return Result::Float(static_cast<float>(at_.value));
        return CopyOf(cells[0], in_.src[0], false);
      });
      break;
    case Opcode::kRangeSelect:
      ok = RangeSelect();
      break;
    case Opcode::kTensorReduce:
      ok = TensorReduce(false);
      break;
    case Opcode::kTensorPartitionReduce:
      ok = TensorReduce(true);
      break;
    case Opcode::kNcMatmul:
      ok = Matmul();
      break;
    case Opcode::kTensorTensorScan:
      ok = Scan();
      break;
    case Opcode::kBnStats:
      ok = BnStats();
      break;
    case Opcode::kBnAggr:
      ok = BnAggr();
      break;
    case Opcode::kLocalGather:
      ok = LocalGather();
      break;
    case Opcode::kMax8:
    case Opcode::kNcFindIndex8:
    case Opcode::kNcMatchReplace8:
      ok = Eight();
      break;
    case Opcode::kNcStreamShuffle:
      ok = Shuffle();
      break;
  }
  if (reserved_ > 0) c_.shared->budget.Give(reserved_);
  reserved_ = 0;
  return ok;
}

}  // namespace nkiagent::nki::exec
