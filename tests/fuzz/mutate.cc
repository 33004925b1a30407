#include "tests/fuzz/mutate.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <utility>
#include <vector>

#include "common/nki/isa/table.h"
#include "common/nki/isa/types.h"

namespace nkiagent::fuzz {
namespace {

namespace ir = nki::ir;
namespace isa = nki::isa;

class Mutator {
 public:
  Mutator(ir::Program* program, Rng& rng) : p_(*program), rng_(rng) { Collect(p_.body); }

  void Change() {
    switch (Below(8)) {
      case 0:
        return Tensor();
      case 1:
        return Loop();
      case 2:
        return Symbol();
      case 3:
        return Body();
      default:
        return Instruction();
    }
  }

 private:
  size_t Below(size_t n) { return n == 0 ? 0 : rng_() % n; }
  bool Chance(unsigned percent) { return Below(100) < percent; }
  template <typename T>
  T& Any(std::vector<T>& from) {
    return from[Below(from.size())];
  }
  template <typename E>
  E Enum(int count) {
    return static_cast<E>(Below(static_cast<size_t>(count)));
  }

  // A number near the old one, or one at which arithmetic breaks.
  int64_t Number(int64_t old) {
    static constexpr int64_t kEdges[] = {0,  1,  -1, 2,   3,   7,   8,   15,  16, 31,
                                         32, 63, 64, 127, 128, 129, 255, 512, 513};
    switch (Below(8)) {
      case 0:
        return (int64_t{1} << Below(42)) * (Chance(50) ? 1 : -1) + static_cast<int64_t>(Below(3)) - 1;
      case 1:
        return old == INT64_MIN ? 0 : -old;
      case 2:
        return old / 2;
      case 3:
        return static_cast<int64_t>(static_cast<uint64_t>(old) * 2);
      case 4:
      case 5:
        return kEdges[Below(std::size(kEdges))];
      default:
        return static_cast<int64_t>(static_cast<uint64_t>(old) + Below(9) - 4);
    }
  }

  void Collect(std::vector<ir::Node>& body) {
    bodies_.push_back(&body);
    for (ir::Node& node : body) {
      if (auto* instr = std::get_if<ir::Instr>(&node.item)) {
        instrs_.push_back(instr);
      } else if (auto& loop = std::get<std::unique_ptr<ir::Loop>>(node.item); loop != nullptr) {
        loops_.push_back(loop.get());
        Collect(loop->body);
      }
    }
  }

  void Tensor() {
    if (p_.tensors.empty()) return;
    ir::Tensor& t = Any(p_.tensors);
    switch (Below(6)) {
      case 0:
        t.dtype = Enum<isa::DType>(isa::kDTypeCount);
        break;
      case 1:
        t.buffer = Enum<isa::Buffer>(isa::kBufferCount);
        break;
      case 2:
        t.scope = static_cast<ir::SymbolId>(Below(p_.symbols.size() + 1)) - 1;
        break;
      case 3:
        t.partition_axis = static_cast<int32_t>(Below(t.shape.size()));
        break;
      case 4:
        t.view_of = static_cast<ir::TensorId>(Below(p_.tensors.size() + 1)) - 1;
        break;
      default:
        if (!t.shape.empty()) Any(t.shape) = Number(Any(t.shape));
        break;
    }
  }

  void Loop() {
    if (loops_.empty()) return;
    ir::Loop& loop = *Any(loops_);
    switch (Below(5)) {
      case 0:
        loop.kind = Enum<ir::LoopKind>(2);
        break;
      case 1:
        loop.start = Number(loop.start);
        break;
      case 2:
        loop.step = Number(loop.step);
        break;
      default:
        loop.trips = Chance(80) ? static_cast<int64_t>(Below(6)) : Number(loop.trips);
        break;
    }
  }

  void Symbol() {
    if (p_.symbols.empty() || Chance(30)) {
      if (loops_.empty()) return;
      ir::Symbol s;
      s.kind = Chance(50) ? ir::SymbolKind::kFloorDiv : ir::SymbolKind::kMod;
      s.argument = ir::Affine::Symbol(Any(loops_)->symbol, Number(1));
      s.divisor = 1 + static_cast<int64_t>(Below(5));
      p_.symbols.push_back(std::move(s));
      return;
    }
    ir::Symbol& s = Any(p_.symbols);
    if (s.kind == ir::SymbolKind::kLoop) return;
    if (Chance(40)) s.divisor = Number(s.divisor);
    if (Chance(50)) Expression(s.argument, 0);
  }

  // Instructions come, go, change places; loops appear around them.
  void Body() {
    std::vector<ir::Node>& body = *Any(bodies_);
    if (body.empty()) return;
    const size_t at = Below(body.size());
    const auto* instr = std::get_if<ir::Instr>(&body[at].item);
    switch (Below(4)) {
      case 0:
        if (instr != nullptr && body.size() < 40) {
          ir::Instr copy = *instr;
          body.insert(body.begin() + static_cast<ptrdiff_t>(Below(body.size() + 1)),
                      ir::Node{std::move(copy)});
        }
        break;
      case 1:
        body.erase(body.begin() + static_cast<ptrdiff_t>(at));
        break;
      case 2:
        std::swap(body[at], body[Below(body.size())]);
        break;
      default:
        if (p_.symbols.size() < 12) {
          auto loop = std::make_unique<ir::Loop>();
          p_.symbols.push_back({ir::SymbolKind::kLoop, "f", {}, 1});
          loop->symbol = static_cast<ir::SymbolId>(p_.symbols.size() - 1);
          loop->trips = static_cast<int64_t>(Below(4));
          loop->kind = Enum<ir::LoopKind>(2);
          loop->body.push_back(std::move(body[at]));
          body[at] = ir::Node{std::move(loop)};
        }
        break;
    }
    // What was collected may be gone.
    instrs_.clear();
    loops_.clear();
    bodies_.clear();
    Collect(p_.body);
  }

  void Expression(ir::Affine& e, size_t rank) {
    switch (Below(5)) {
      case 0:
        if (rank > 0) {
          e.dims.resize(std::max(e.dims.size(), rank), 0);
          int64_t& c = e.dims[Below(rank)];
          c = Chance(70) ? static_cast<int64_t>(Below(4)) - 1 : Number(c);
        }
        break;
      case 1:
        if (!p_.symbols.empty()) {
          const auto symbol = static_cast<ir::SymbolId>(Below(p_.symbols.size()));
          e = e + ir::Affine::Symbol(symbol, Chance(70) ? static_cast<int64_t>(Below(5)) - 2 : Number(1));
        }
        break;
      case 2:
        if (!e.terms.empty()) e.terms.erase(e.terms.begin() + static_cast<ptrdiff_t>(Below(e.terms.size())));
        break;
      default:
        e.constant = Number(e.constant);
        break;
    }
  }

  void Place(ir::Access& a) {
    switch (Below(9)) {
      case 0: {
        // Another tensor of the same rank keeps its indices.
        const auto to = static_cast<ir::TensorId>(Below(p_.tensors.size()));
        a.tensor = to;
        a.index.resize(p_.tensors[static_cast<size_t>(to)].shape.size());
        break;
      }
      case 1:
        if (!a.shape.empty()) Any(a.shape) = 1 + static_cast<int64_t>(Below(20));
        break;
      case 2:
        if (a.mask.size() < 12) Expression(a.mask.emplace_back(), a.shape.size());
        break;
      case 3:
        if (!a.mask.empty()) Expression(Any(a.mask), a.shape.size());
        break;
      case 4:
        a.mask.clear();
        break;
      case 5:
        if (a.indirect_axis < 0) {
          a.indirect_tensor = static_cast<ir::TensorId>(Below(p_.tensors.size()));
          a.indirect_axis = static_cast<int32_t>(Below(a.index.size()));
          a.indirect_index.resize(p_.tensors[static_cast<size_t>(a.indirect_tensor)].shape.size());
        } else {
          a.indirect_axis = -1;
          a.indirect_tensor = ir::kNoTensor;
          a.indirect_index.clear();
        }
        break;
      case 6:
        if (!a.indirect_index.empty()) Expression(Any(a.indirect_index), a.shape.size());
        break;
      default:
        if (!a.index.empty()) Expression(Any(a.index), a.shape.size());
        break;
    }
  }

  void Operand(ir::Operand& o) {
    if (Chance(5)) {
      o = std::monostate{};
    } else if (Chance(5)) {
      o = ir::Immediate{static_cast<double>(Number(3)) * (Chance(50) ? 1.0 : 1e30), isa::DType::kFloat32};
    } else if (auto* a = std::get_if<ir::Access>(&o)) {
      Place(*a);
    }
  }

  // The same tile shape for every operand, so that they keep fitting each other.
  void Shapes(ir::Instr& instr) {
    std::vector<ir::Access*> all;
    for (auto* list : {&instr.dst, &instr.src}) {
      for (ir::Operand& o : *list) {
        if (auto* a = std::get_if<ir::Access>(&o)) all.push_back(a);
      }
    }
    if (all.empty() || all.front()->shape.empty()) return;
    const size_t d = Below(all.front()->shape.size());
    const int64_t size = 1 + static_cast<int64_t>(Below(Chance(80) ? 20 : 200));
    for (ir::Access* a : all) {
      if (d < a->shape.size() && (d == 0 || a->shape[d] > 1)) a->shape[d] = size;
    }
  }

  void Instruction() {
    if (instrs_.empty()) return;
    ir::Instr& instr = *Any(instrs_);
    switch (Below(6)) {
      case 0:
        return Attributes(instr);
      case 1:
        return Shapes(instr);
      case 2: {
        instr.op = Enum<isa::Opcode>(isa::kOpcodeCount);
        instr.dst.resize(isa::RowOf(instr.op).dst.size());
        instr.src.resize(isa::RowOf(instr.op).src.size());
        // Missing operands are like those that are there.
        for (ir::Operand& o : instr.src) {
          if (std::holds_alternative<std::monostate>(o) && Chance(80)) o = instr.dst[0];
        }
        if (instr.op == isa::Opcode::kNcStreamShuffle) instr.attrs.list.resize(32, 0);
        return;
      }
      default: {
        std::vector<ir::Operand>& list = Chance(40) || instr.src.empty() ? instr.dst : instr.src;
        if (!list.empty()) Operand(Any(list));
        return;
      }
    }
  }

  void Attributes(ir::Instr& instr) {
    ir::Attrs& at = instr.attrs;
    switch (Below(12)) {
      case 0:
        at.op0 = Enum<isa::AluOp>(isa::kAluOpCount);
        break;
      case 1:
        at.op1 = Enum<isa::AluOp>(isa::kAluOpCount);
        break;
      case 2:
        at.act = Enum<isa::ActFn>(isa::kActFnCount);
        break;
      case 3:
        at.reduce_op = Enum<isa::AluOp>(isa::kAluOpCount);
        break;
      case 4:
        at.reduce_cmd = Enum<isa::ReduceCmd>(isa::kReduceCmdCount);
        break;
      case 5:
        at.axes = {static_cast<int32_t>(1 + Below(3))};
        break;
      case 6:
        at.reverse0 = Chance(50);
        at.reverse1 = Chance(50);
        at.negate = Chance(50);
        at.accumulate = Chance(50);
        break;
      case 7:
        at.value = static_cast<double>(Number(0)) * (Chance(20) ? 1e300 : 1.0);
        break;
      case 8:
        if (!at.list.empty()) Any(at.list) = static_cast<int32_t>(Chance(80) ? Below(40) : Below(300));
        break;
      case 9:
        at.num_elem_per_idx = Number(at.num_elem_per_idx);
        at.num_valid_indices = Number(at.num_valid_indices);
        break;
      case 10:
        at.oob = Enum<isa::OobMode>(isa::kOobModeCount);
        break;
      default:
        if (const auto* dst = std::get_if<ir::Access>(&instr.dst[0])) Expression(at.expr, dst->shape.size());
        break;
    }
  }

  ir::Program& p_;
  Rng& rng_;
  std::vector<ir::Instr*> instrs_;
  std::vector<ir::Loop*> loops_;
  std::vector<std::vector<ir::Node>*> bodies_;
};

}  // namespace

void Mutate(ir::Program* program, Rng& rng) {
  Mutator mutator(program, rng);
  const size_t changes = 1 + rng() % 3;
  for (size_t i = 0; i < changes; ++i) mutator.Change();
}

}  // namespace nkiagent::fuzz
