#include "common/nki/ir/legality.h"

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/nki/ir/legality_rules.h"

namespace nkiagent::nki::ir {
namespace legality {

std::string ShapeText(absl::Span<const int64_t> shape) {
  return absl::StrCat("[", absl::StrJoin(shape, ", "), "]");
}

int64_t OperandView::FreeElements() const {
  int64_t n = 1;
  for (size_t d = 1; d < access->shape.size(); ++d) n *= access->shape[d];
  return n;
}

std::string OperandView::Describe() const {
  if (!IsTile()) return absl::StrCat("'", rule->name, "'");
  return absl::StrCat("'", rule->name, "' (", isa::Name(tensor->buffer), " tensor '", tensor->name, "', ",
                      isa::Name(tensor->dtype), ", tile ", ShapeText(access->shape), ")");
}

namespace {

OperandView ViewOf(const Program& p, const isa::OperandRule& rule, const Operand& operand, bool is_dst) {
  OperandView v;
  v.rule = &rule;
  v.is_dst = is_dst;
  v.access = std::get_if<Access>(&operand);
  v.immediate = std::get_if<Immediate>(&operand);
  if (v.access != nullptr) v.tensor = &p.tensors[static_cast<size_t>(v.access->tensor)];
  return v;
}

// The Vector engine transposes inside 32 x 32 blocks only; whatever is larger goes to the Tensor engine.
constexpr int64_t kVectorTransposeMax = 32;

isa::Engine EngineOf(const InstrView& v) {
  if (v.instr.engine != isa::Engine::kUnknown) return v.instr.engine;
  if (v.instr.op == isa::Opcode::kNcTranspose) {
    const bool tensor_ports = v.src[0].InSbuf() && v.dst[0].InPsum();
    const bool small =
        v.src[0].partitions() <= kVectorTransposeMax && v.src[0].FreeElements() <= kVectorTransposeMax;
    return small && !tensor_ports ? isa::Engine::kVector : isa::Engine::kTensor;
  }
  return v.row.preferred;
}

}  // namespace

InstrView::InstrView(const Program& p, const Instr& i) : program(p), instr(i), row(isa::RowOf(i.op)) {
  for (size_t k = 0; k < i.dst.size(); ++k) dst.push_back(ViewOf(p, row.dst[k], i.dst[k], true));
  for (size_t k = 0; k < i.src.size(); ++k) src.push_back(ViewOf(p, row.src[k], i.src[k], false));
  engine = EngineOf(*this);
}

}  // namespace legality

std::vector<RuleSummary> RulesOf(isa::Opcode op) {
  std::vector<RuleSummary> rules;
  for (const legality::Rule& rule : legality::OpRules()) {
    if ((rule.ops & legality::OneOf(op)) != 0) rules.push_back({rule.name, rule.hint});
  }
  return rules;
}

std::vector<Diagnostic> CheckInstr(const Program& program, const Instr& instr) {
  const legality::InstrView view(program, instr);
  const legality::OpSet bit = legality::OneOf(instr.op);
  std::vector<Diagnostic> found;
  for (const absl::Span<const legality::Rule> rules : {legality::OpRules(), legality::GeneralRules()}) {
    for (const legality::Rule& rule : rules) {
      if ((rule.ops & bit) == 0) continue;
      legality::Verdict verdict = rule.broken(view);
      if (!verdict.has_value()) continue;
      Diagnostic d;
      d.rule = std::string(rule.name);
      d.message = std::move(verdict->message);
      d.limit = std::move(verdict->limit);
      d.actual = std::move(verdict->actual);
      d.hint = std::string(rule.hint);
      d.line = instr.loc.line;
      d.column = instr.loc.column;
      found.push_back(std::move(d));
    }
  }
  return found;
}

std::vector<Diagnostic> CheckTensor(const Tensor& tensor) {
  std::vector<Diagnostic> found;
  const auto report = [&](absl::string_view rule, std::string message, std::string limit, std::string actual,
                          absl::string_view hint) {
    found.push_back({Severity::kError, std::string(rule), std::move(message), tensor.loc.line,
                     tensor.loc.column, std::move(limit), std::move(actual), std::string(hint)});
  };
  if (isa::IsHbm(tensor.buffer)) return found;
  const absl::string_view memory = isa::Name(tensor.buffer);
  if (tensor.shape.size() < 2) {
    report("err_insufficient_rank",
           absl::StrCat("Insufficient rank: tensor '", tensor.name, "' in ", memory, " has shape ",
                        legality::ShapeText(tensor.shape), "; it needs a partition axis and a free axis"),
           "rank >= 2", absl::StrCat("rank ", tensor.shape.size()),
           "add a free axis of size 1: shape (P, 1)");
    return found;
  }
  const auto axis = static_cast<size_t>(tensor.partition_axis);
  const int64_t partitions = tensor.shape[axis];
  if (partitions > isa::kMaxPartitions) {
    report("err_num_partition_exceed_arch_limit",
           absl::StrCat("number of partitions ", partitions, " of tensor '", tensor.name, "' ",
                        legality::ShapeText(tensor.shape), " in ", memory,
                        " exceeds the architecture limit of ", isa::kMaxPartitions),
           absl::StrCat(isa::kMaxPartitions, " partitions"), absl::StrCat(partitions, " partitions"),
           "tile the first axis by nl.tile_size.pmax (128) and loop over the tiles");
  }
  int64_t bytes = isa::SizeOf(tensor.dtype);
  for (size_t k = axis + 1; k < tensor.shape.size(); ++k) bytes *= tensor.shape[k];
  const int64_t most = tensor.buffer == isa::Buffer::kPsum ? int64_t{isa::kPsumBanks} * isa::kPsumBankBytes
                                                           : int64_t{isa::kSbufBytesPerPartition};
  if (bytes > most) {
    report("err_size_of_dimension_exceed_arch_limit",
           absl::StrCat("one tile of tensor '", tensor.name, "' ", legality::ShapeText(tensor.shape), " ",
                        isa::Name(tensor.dtype), " needs ", bytes, " bytes per partition of ", memory,
                        ", which has ", most),
           absl::StrCat(most, " bytes per partition"), absl::StrCat(bytes, " bytes per partition"),
           "use a smaller free size and loop over the pieces");
  }
  return found;
}

int64_t PartitionStartGranule(int64_t partitions) {
  return partitions > 64 ? isa::kMaxPartitions : partitions > 32 ? 64 : 32;
}

}  // namespace nkiagent::nki::ir
