#include "common/nki/ir/validate.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <limits>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/nki/ir/magnitude.h"

namespace nkiagent::nki::ir {
namespace {

using isa::Buffer;

constexpr size_t kStreamShuffleMaskSize = 32;
// Rank of the instructions' attributes that hold positions.
constexpr int64_t kMaxListValue = 65536;

class Validator {
 public:
  explicit Validator(const Program& p)
      : p_(p), open_(p.symbols.size(), false), seen_loop_(p.symbols.size(), false) {}

  absl::Status Run() {
    if (auto s = CheckSymbols(); !s.ok()) return s;
    if (auto s = CheckTensors(); !s.ok()) return s;
    if (auto s = CheckInterface(); !s.ok()) return s;
    if (auto s = CheckBody(p_.body); !s.ok()) return s;
    if (spmd_ != p_.grid) return Bad("the launch grid and the spmd loops differ");
    for (size_t i = 0; i < p_.symbols.size(); ++i) {
      if (p_.symbols[i].kind == SymbolKind::kLoop && !seen_loop_[i]) return Bad("symbol ", i, " has no loop");
    }
    return CheckMagnitudes(p_);
  }

 private:
  template <typename... Args>
  static absl::Status Bad(const Args&... args) {
    return absl::InvalidArgumentError(absl::StrCat("invalid program: ", args...));
  }
  template <typename... Args>
  static absl::Status BadAt(const SourceLoc& loc, const Args&... args) {
    return Bad("line ", loc.line, ": ", args...);
  }

  bool IsTensor(TensorId id) const { return id >= 0 && static_cast<size_t>(id) < p_.tensors.size(); }
  bool IsSymbol(SymbolId id) const { return id >= 0 && static_cast<size_t>(id) < p_.symbols.size(); }

  static bool Small(int64_t v) { return v >= -kMaxMagnitude && v <= kMaxMagnitude; }

  absl::Status CheckAffine(const Affine& a, size_t rank, bool need_open) const {
    if (!Small(a.constant)) return Bad("affine constant out of range");
    if (a.dims.size() > rank) return Bad("affine expression has more dimensions than its tile");
    for (int64_t d : a.dims) {
      if (!Small(d)) return Bad("affine coefficient out of range");
    }
    SymbolId previous = -1;
    for (const Affine::Term& t : a.terms) {
      if (!IsSymbol(t.symbol)) return Bad("symbol ", t.symbol, " does not exist");
      if (t.symbol <= previous) return Bad("affine terms are not sorted by symbol");
      previous = t.symbol;
      if (!Small(t.coefficient) || t.coefficient == 0) return Bad("affine coefficient out of range");
      if (need_open && !IsOpen(t.symbol)) {
        return Bad("symbol '", p_.symbols[static_cast<size_t>(t.symbol)].name, "' is used outside its loop");
      }
    }
    return absl::OkStatus();
  }

  bool IsOpen(SymbolId id) const {
    const std::vector<SymbolId>& loops = loops_of_[static_cast<size_t>(id)];
    return std::all_of(loops.begin(), loops.end(),
                       [this](SymbolId l) { return open_[static_cast<size_t>(l)]; });
  }

  // Also fills loops_of_. A symbol over more loops than can be nested could never be used, so the sets stay
  // small.
  absl::Status CheckSymbols() {
    if (p_.symbols.size() > kMaxSymbols)
      return Bad(p_.symbols.size(), " symbols exceed the limit of ", kMaxSymbols);
    for (size_t i = 0; i < p_.symbols.size(); ++i) {
      const Symbol& s = p_.symbols[i];
      if (s.kind == SymbolKind::kLoop) {
        loops_of_[i] = {static_cast<SymbolId>(i)};
        continue;
      }
      if (s.divisor < 1 || !Small(s.divisor)) return Bad("symbol ", i, " has divisor ", s.divisor);
      if (auto st = CheckAffine(s.argument, 0, false); !st.ok()) return st;
      std::set<SymbolId> loops;
      for (const Affine::Term& t : s.argument.terms) {
        if (t.symbol >= static_cast<SymbolId>(i)) return Bad("symbol ", i, " depends on a later symbol");
        const std::vector<SymbolId>& more = loops_of_[static_cast<size_t>(t.symbol)];
        loops.insert(more.begin(), more.end());
        if (loops.size() > kMaxLoopDepth)
          return Bad("symbol ", i, " depends on more than ", kMaxLoopDepth, " loops");
      }
      loops_of_[i].assign(loops.begin(), loops.end());
    }
    return absl::OkStatus();
  }

  absl::Status CheckTensors() const {
    if (p_.tensors.size() > kMaxTensors)
      return Bad(p_.tensors.size(), " tensors exceed the limit of ", kMaxTensors);
    for (size_t i = 0; i < p_.tensors.size(); ++i) {
      const Tensor& t = p_.tensors[i];
      if (t.shape.empty() || t.shape.size() > kMaxTensorRank) {
        return Bad("tensor '", t.name, "' has rank ", t.shape.size());
      }
      int64_t n = 1;
      for (int64_t s : t.shape) {
        if (s < 1 || s > kMaxTensorElements || n > kMaxTensorElements / s) {
          return Bad("tensor '", t.name, "' has no elements or more than ", kMaxTensorElements);
        }
        n *= s;
      }
      if (t.partition_axis < 0 || static_cast<size_t>(t.partition_axis) >= t.shape.size()) {
        return Bad("tensor '", t.name, "' has partition axis ", t.partition_axis);
      }
      if (t.scope != -1 &&
          (!IsSymbol(t.scope) || p_.symbols[static_cast<size_t>(t.scope)].kind != SymbolKind::kLoop)) {
        return Bad("tensor '", t.name, "' belongs to no loop");
      }
      if (t.role == TensorRole::kConstant) {
        if (t.constant_data.size() !=
            static_cast<uint64_t>(n) * static_cast<uint64_t>(isa::SizeOf(t.dtype))) {
          return Bad("constant tensor '", t.name, "' carries ", t.constant_data.size(), " bytes");
        }
      } else if (!t.constant_data.empty()) {
        return Bad("tensor '", t.name, "' is no constant and carries data");
      }
      if (t.view_of != kNoTensor) {
        if (!IsTensor(t.view_of)) return Bad("tensor '", t.name, "' is a view of nothing");
        const Tensor& base = p_.tensors[static_cast<size_t>(t.view_of)];
        if (base.view_of != kNoTensor || !SameBits(base.dtype, t.dtype) || base.buffer != t.buffer ||
            base.scope != t.scope || t.role != TensorRole::kLocal || base.ElementCount() != n) {
          return Bad("view '", t.name, "' does not fit its base '", base.name, "'");
        }
      }
    }
    return absl::OkStatus();
  }

  // Whether elements of one type may be read as the other: of the same size, and any bits are a value of
  // both.
  static bool SameBits(isa::DType a, isa::DType b) {
    const auto any_bits = [](isa::DType t) { return t != isa::DType::kBool && t != isa::DType::kTFloat32; };
    return a == b || (any_bits(a) && any_bits(b) && isa::SizeOf(a) == isa::SizeOf(b));
  }

  absl::Status CheckInterface() const {
    std::set<TensorId> inputs;
    for (TensorId id : p_.inputs) {
      if (!IsTensor(id) || p_.tensors[static_cast<size_t>(id)].role != TensorRole::kInput ||
          !inputs.insert(id).second) {
        return Bad("input list names tensor ", id);
      }
    }
    std::set<TensorId> outputs;
    for (TensorId id : p_.outputs) {
      if (!IsTensor(id) || !outputs.insert(id).second) return Bad("output list names tensor ", id);
      const TensorRole role = p_.tensors[static_cast<size_t>(id)].role;
      if (role != TensorRole::kOutput && role != TensorRole::kInput) {
        return Bad("output '", p_.tensors[static_cast<size_t>(id)].name,
                   "' is neither an output nor an argument");
      }
    }
    for (size_t i = 0; i < p_.tensors.size(); ++i) {
      const Tensor& t = p_.tensors[i];
      const auto id = static_cast<TensorId>(i);
      if (t.role == TensorRole::kInput && inputs.count(id) == 0)
        return Bad("tensor '", t.name, "' is no argument");
      if (t.role == TensorRole::kOutput && outputs.count(id) == 0)
        return Bad("tensor '", t.name, "' is not returned");
      if (t.role != TensorRole::kLocal &&
          (t.scope != -1 || (t.role != TensorRole::kConstant && !isa::IsHbm(t.buffer)))) {
        return Bad("tensor '", t.name, "' must live in HBM at kernel level");
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckBody(const std::vector<Node>& body) {
    for (const Node& node : body) {
      if (const auto* instr = std::get_if<Instr>(&node.item)) {
        if (absl::Status s = CheckInstr(*instr); !s.ok()) return s;
        continue;
      }
      const auto& loop_ptr = std::get<std::unique_ptr<Loop>>(node.item);
      if (loop_ptr == nullptr) return Bad("empty loop node");
      const Loop& loop = *loop_ptr;
      if (!IsSymbol(loop.symbol) || p_.symbols[static_cast<size_t>(loop.symbol)].kind != SymbolKind::kLoop) {
        return BadAt(loop.loc, "loop has no symbol");
      }
      const auto s = static_cast<size_t>(loop.symbol);
      if (seen_loop_[s]) return BadAt(loop.loc, "two loops share symbol '", p_.symbols[s].name, "'");
      if (loop.step < 1 || loop.trips < 0 || !Small(loop.start) || !Small(loop.step) || !Small(loop.trips) ||
          (loop.trips > 0 && loop.step > kMaxMagnitude / loop.trips)) {
        return BadAt(loop.loc, "loop bounds out of range");
      }
      if (loop.kind == LoopKind::kSpmd) {
        if (!only_spmd_so_far_ || &body.front() != &node || body.size() != 1) {
          return BadAt(loop.loc, "spmd loops must be outermost");
        }
        spmd_.push_back(loop.trips);
      } else {
        only_spmd_so_far_ = false;
      }
      seen_loop_[s] = open_[s] = true;
      if (absl::Status st = CheckBody(loop.body); !st.ok()) return st;
      open_[s] = false;
    }
    return absl::OkStatus();
  }

  absl::Status CheckAccess(const SourceLoc& loc, const Access& a, bool written) {
    if (!IsTensor(a.tensor)) return BadAt(loc, "operand names tensor ", a.tensor);
    const Tensor& t = p_.tensors[static_cast<size_t>(a.tensor)];
    if (t.scope != -1 && !open_[static_cast<size_t>(t.scope)]) {
      return BadAt(loc, "tensor '", t.name, "' is used outside its loop");
    }
    if (written) {
      const TensorId storage = StorageOf(p_, a.tensor);
      const TensorRole role = p_.tensors[static_cast<size_t>(storage)].role;
      const bool in_place = std::find(p_.outputs.begin(), p_.outputs.end(), storage) != p_.outputs.end();
      if (role == TensorRole::kConstant || (role == TensorRole::kInput && !in_place)) {
        return BadAt(loc, "tensor '", t.name, "' is read only");
      }
    }
    if (a.shape.empty() || a.shape.size() > kMaxTileRank)
      return BadAt(loc, "tile of '", t.name, "' has rank ", a.shape.size());
    int64_t n = 1;
    for (int64_t s : a.shape) {
      if (s < 1 || s > kMaxTensorElements || n > kMaxTensorElements / s)
        return BadAt(loc, "tile of '", t.name, "' is too large");
      n *= s;
    }
    if (a.index.size() != t.shape.size())
      return BadAt(loc, "tile of '", t.name, "' has ", a.index.size(), " indices");
    for (size_t k = 0; k < a.index.size(); ++k) {
      if (auto st = CheckAffine(a.index[k], a.shape.size(), true); !st.ok()) return st;
      if (!isa::IsHbm(t.buffer)) {
        const int64_t c = a.index[k].DimCoefficient(0);
        const bool partition = k == static_cast<size_t>(t.partition_axis);
        if (partition ? (c != 0 && c != 1) : c != 0) {
          return BadAt(loc, "tile of '", t.name, "' strides over partitions");
        }
        for (size_t d = 1; partition && d < a.index[k].dims.size(); ++d) {
          if (a.index[k].dims[d] != 0)
            return BadAt(loc, "a free dimension of '", t.name, "' runs over partitions");
        }
      }
    }
    for (const Affine& m : a.mask) {
      if (auto st = CheckAffine(m, a.shape.size(), true); !st.ok()) return st;
    }
    if (a.indirect_axis < 0) {
      if (a.indirect_tensor != kNoTensor || !a.indirect_index.empty())
        return BadAt(loc, "half a run-time index");
      return absl::OkStatus();
    }
    if (static_cast<size_t>(a.indirect_axis) >= t.shape.size() || !IsTensor(a.indirect_tensor)) {
      return BadAt(loc, "run-time index of '", t.name, "' is malformed");
    }
    const Tensor& index = p_.tensors[static_cast<size_t>(a.indirect_tensor)];
    if (index.buffer != Buffer::kSbuf || !isa::IsInteger(index.dtype) ||
        a.indirect_index.size() != index.shape.size() ||
        (index.scope != -1 && !open_[static_cast<size_t>(index.scope)])) {
      return BadAt(loc, "run-time index '", index.name, "' is not an integer tile in SBUF");
    }
    for (const Affine& e : a.indirect_index) {
      if (auto st = CheckAffine(e, a.shape.size(), true); !st.ok()) return st;
    }
    return absl::OkStatus();
  }

  absl::Status CheckOperands(const Instr& instr, const std::vector<Operand>& operands,
                             absl::Span<const isa::OperandRule> rules, bool written) {
    const isa::Row& row = isa::RowOf(instr.op);
    if (operands.size() != rules.size()) {
      return BadAt(instr.loc, row.name, " has ", operands.size(), " operands, its row ", rules.size());
    }
    for (size_t i = 0; i < operands.size(); ++i) {
      const isa::OperandRule& rule = rules[i];
      if (std::holds_alternative<std::monostate>(operands[i])) {
        if (!rule.optional) return BadAt(instr.loc, row.name, " lacks operand '", rule.name, "'");
      } else if (std::holds_alternative<Immediate>(operands[i])) {
        const bool allowed = rule.kind == isa::OperandKind::kVectorOrImmediate ||
                             rule.kind == isa::OperandKind::kTileOrImmediate;
        if (!allowed || written)
          return BadAt(instr.loc, row.name, " operand '", rule.name, "' may not be a constant");
      } else if (auto st = CheckAccess(instr.loc, std::get<Access>(operands[i]), written); !st.ok()) {
        return st;
      }
    }
    return absl::OkStatus();
  }

  absl::Status CheckInstr(const Instr& instr) {
    const isa::Row& row = isa::RowOf(instr.op);
    if (auto st = CheckOperands(instr, instr.dst, row.dst, true); !st.ok()) return st;
    if (auto st = CheckOperands(instr, instr.src, row.src, false); !st.ok()) return st;
    if (instr.engine != isa::Engine::kUnknown && (row.engines & isa::EngineBit(instr.engine)) == 0) {
      return BadAt(instr.loc, row.name, " can't run on the ", isa::Name(instr.engine), " engine");
    }
    const auto* dst = std::get_if<Access>(&instr.dst[0]);
    const size_t expr_rank = dst == nullptr ? 0 : dst->shape.size();
    if (auto st = CheckAffine(instr.attrs.expr, expr_rank, true); !st.ok()) return st;
    int32_t previous = 0;
    const auto* data = instr.src.empty() ? nullptr : std::get_if<Access>(&instr.src[0]);
    for (int32_t axis : instr.attrs.axes) {
      if (axis <= previous || data == nullptr || static_cast<size_t>(axis) >= data->shape.size()) {
        return BadAt(instr.loc, row.name, " reduces dimension ", axis);
      }
      previous = axis;
    }
    for (int32_t v : instr.attrs.list) {
      if (v < 0 || v > kMaxListValue) return BadAt(instr.loc, row.name, " list value ", v);
    }
    if (instr.op == isa::Opcode::kNcStreamShuffle && instr.attrs.list.size() != kStreamShuffleMaskSize) {
      return BadAt(instr.loc, "shuffle mask has ", instr.attrs.list.size(), " entries, not ",
                   kStreamShuffleMaskSize);
    }
    if (instr.attrs.num_elem_per_idx < 1 || !Small(instr.attrs.num_elem_per_idx) ||
        instr.attrs.num_valid_indices < 0 || !Small(instr.attrs.num_valid_indices)) {
      return BadAt(instr.loc, row.name, " gather counts out of range");
    }
    return absl::OkStatus();
  }

  const Program& p_;
  // The loops each symbol depends on, ascending.
  std::vector<std::vector<SymbolId>> loops_of_ = std::vector<std::vector<SymbolId>>(p_.symbols.size());
  std::vector<bool> open_;       // loop symbols whose body we are in
  std::vector<bool> seen_loop_;  // loop symbols that already have a loop
  std::vector<int64_t> spmd_;
  bool only_spmd_so_far_ = true;
};

}  // namespace

absl::Status Validate(const Program& program) { return Validator(program).Run(); }

}  // namespace nkiagent::nki::ir
