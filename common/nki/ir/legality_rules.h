// How legality.cc sees an instruction, and the form of its rules. Internal to common/nki/ir.
//
// To add a rule: write its predicate beside its kin (legality_general.cc for rules of every instruction,
// legality_ops.cc for those of one), add one row to the table at the end of that file, and one case that
// breaks it to legality_test.cc.
#ifndef NKIAGENT_COMMON_NKI_IR_LEGALITY_RULES_H_
#define NKIAGENT_COMMON_NKI_IR_LEGALITY_RULES_H_

#include <cstdint>
#include <optional>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::ir::legality {

// One operand with what it refers to. `access` and `tensor` are null for constants and operands not given.
struct OperandView {
  const isa::OperandRule* rule = nullptr;
  const Access* access = nullptr;
  const Tensor* tensor = nullptr;
  const Immediate* immediate = nullptr;
  bool is_dst = false;

  bool IsTile() const { return access != nullptr; }
  bool OnChip() const { return IsTile() && !isa::IsHbm(tensor->buffer); }
  bool InPsum() const { return IsTile() && tensor->buffer == isa::Buffer::kPsum; }
  bool InSbuf() const { return IsTile() && tensor->buffer == isa::Buffer::kSbuf; }
  isa::DType dtype() const { return IsTile() ? tensor->dtype : immediate->dtype; }
  int64_t partitions() const { return access->shape[0]; }
  // Elements per partition.
  int64_t FreeElements() const;
  // "'moving' (sbuf tensor 'rhs', float32, tile [128, 512])"
  std::string Describe() const;
};

struct InstrView {
  InstrView(const Program& p, const Instr& i);

  const Program& program;
  const Instr& instr;
  const isa::Row& row;
  // The engine that runs it: the one named, else the row's preferred one, else (nc_transpose) the one its
  // size allows.
  isa::Engine engine;
  absl::InlinedVector<OperandView, 2> dst;
  absl::InlinedVector<OperandView, 3> src;

  bool IsDma() const { return engine == isa::Engine::kDma; }
  // Calls fn(const OperandView&) for every operand that is a tile, sources first.
  template <typename Fn>
  void ForEachTile(Fn&& fn) const {
    for (const OperandView& o : src) {
      if (o.IsTile()) fn(o);
    }
    for (const OperandView& o : dst) {
      if (o.IsTile()) fn(o);
    }
  }
};

// Why a rule is broken.
struct Finding {
  std::string message;
  std::string limit;
  std::string actual;
};
using Verdict = std::optional<Finding>;

// The instructions that a rule speaks about, as a set.
using OpSet = uint64_t;
static_assert(isa::kOpcodeCount <= 64);
inline constexpr OpSet kEveryOp = ~OpSet{0};
template <typename... Ops>
constexpr OpSet OneOf(Ops... ops) {
  return ((OpSet{1} << static_cast<int>(ops)) | ...);
}

struct Rule {
  absl::string_view name;
  OpSet ops;
  Verdict (*broken)(const InstrView&);
  absl::string_view hint;
};

// Rules of one instruction, then rules of all of them; legality.cc asks them in that order.
absl::Span<const Rule> OpRules();
absl::Span<const Rule> GeneralRules();

// "[128, 512]"
std::string ShapeText(absl::Span<const int64_t> shape);

}  // namespace nkiagent::nki::ir::legality

#endif  // NKIAGENT_COMMON_NKI_IR_LEGALITY_RULES_H_
