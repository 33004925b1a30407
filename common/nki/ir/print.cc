#include "common/nki/ir/print.h"

#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace nkiagent::nki::ir {
namespace {

std::string Shape(const std::vector<int64_t>& shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

std::string Text(const Program& p, const Access& a) {
  std::string out = absl::StrCat(p.tensors[static_cast<size_t>(a.tensor)].name, "[");
  for (size_t k = 0; k < a.index.size(); ++k) {
    if (k > 0) absl::StrAppend(&out, ", ");
    absl::StrAppend(&out, ToString(p, a.index[k]));
    if (a.indirect_axis == static_cast<int32_t>(k)) {
      absl::StrAppend(&out, " + ", p.tensors[static_cast<size_t>(a.indirect_tensor)].name, "[...]");
    }
  }
  absl::StrAppend(&out, "]", Shape(a.shape));
  for (const Affine& m : a.mask) absl::StrAppend(&out, " if ", ToString(p, m), " >= 0");
  return out;
}

std::string Text(const Program& p, const Operand& o) {
  if (const auto* access = std::get_if<Access>(&o)) return Text(p, *access);
  if (const auto* imm = std::get_if<Immediate>(&o))
    return absl::StrCat(imm->value, ":", isa::Name(imm->dtype));
  return "-";
}

void Body(const Program& p, const std::vector<Node>& body, int indent, std::string& out) {
  const std::string pad(static_cast<size_t>(indent) * 2, ' ');
  for (const Node& node : body) {
    if (const auto* instr = std::get_if<Instr>(&node.item)) {
      absl::StrAppend(&out, pad, ToString(p, *instr), "\n");
      continue;
    }
    const Loop& loop = *std::get<std::unique_ptr<Loop>>(node.item);
    static constexpr absl::string_view kKinds[] = {"affine", "sequential", "spmd"};
    absl::StrAppend(&out, pad, kKinds[static_cast<size_t>(loop.kind)], " ",
                    p.symbols[static_cast<size_t>(loop.symbol)].name, " = ", loop.start, " step ", loop.step,
                    " x ", loop.trips, "  # line ", loop.loc.line, "\n");
    Body(p, loop.body, indent + 1, out);
  }
}

}  // namespace

std::string ToString(const Program& p, const Affine& a) {
  std::string out;
  const auto term = [&out](int64_t coefficient, absl::string_view name) {
    if (coefficient == 0) return;
    absl::StrAppend(&out, out.empty() ? "" : " + ", coefficient == 1 ? "" : absl::StrCat(coefficient, "*"),
                    name);
  };
  for (const Affine::Term& t : a.terms) {
    const Symbol& s = p.symbols[static_cast<size_t>(t.symbol)];
    switch (s.kind) {
      case SymbolKind::kLoop:
        term(t.coefficient, s.name);
        break;
      case SymbolKind::kFloorDiv:
        term(t.coefficient, absl::StrCat("((", ToString(p, s.argument), ") // ", s.divisor, ")"));
        break;
      case SymbolKind::kMod:
        term(t.coefficient, absl::StrCat("((", ToString(p, s.argument), ") % ", s.divisor, ")"));
        break;
    }
  }
  for (size_t d = 0; d < a.dims.size(); ++d) term(a.dims[d], absl::StrCat("d", d));
  if (a.constant != 0 || out.empty()) absl::StrAppend(&out, out.empty() ? "" : " + ", a.constant);
  return out;
}

std::string ToString(const Program& p, const Instr& instr) {
  const auto join = [&p](const std::vector<Operand>& operands) {
    return absl::StrJoin(operands, ", ",
                         [&p](std::string* o, const Operand& x) { absl::StrAppend(o, Text(p, x)); });
  };
  std::string out = absl::StrCat(join(instr.dst), " = ", isa::RowOf(instr.op).name);
  const Attrs& at = instr.attrs;
  if (instr.op == isa::Opcode::kActivation) absl::StrAppend(&out, ".", isa::Info(at.act).name);
  if (at.op0 != isa::AluOp::kNone) absl::StrAppend(&out, ".", isa::Info(at.op0).name);
  if (at.op1 != isa::AluOp::kNone) absl::StrAppend(&out, ".", isa::Info(at.op1).name);
  if (at.accumulate) absl::StrAppend(&out, ".accumulate");
  absl::StrAppend(&out, "(", join(instr.src), ")");
  if (!at.axes.empty()) absl::StrAppend(&out, " axes=", absl::StrJoin(at.axes, ","));
  return absl::StrCat(out, "  # line ", instr.loc.line);
}

std::string ToString(const Program& p) {
  std::string out = absl::StrCat("program ", p.kernel_name, " target=", p.target, " sdk=", p.sdk, "\n");
  for (const Tensor& t : p.tensors) {
    absl::StrAppend(&out, "  ", isa::Name(t.buffer), " ", t.name, ": ", isa::Name(t.dtype), Shape(t.shape));
    if (t.role == TensorRole::kInput) absl::StrAppend(&out, " input");
    if (t.role == TensorRole::kOutput) absl::StrAppend(&out, " output");
    if (t.role == TensorRole::kConstant) absl::StrAppend(&out, " constant");
    if (t.partition_axis != 0) absl::StrAppend(&out, " partition_axis=", t.partition_axis);
    if (t.view_of != kNoTensor)
      absl::StrAppend(&out, " view of ", p.tensors[static_cast<size_t>(t.view_of)].name);
    if (t.scope >= 0) absl::StrAppend(&out, " in loop ", p.symbols[static_cast<size_t>(t.scope)].name);
    absl::StrAppend(&out, "\n");
  }
  Body(p, p.body, 1, out);
  return out;
}

}  // namespace nkiagent::nki::ir
