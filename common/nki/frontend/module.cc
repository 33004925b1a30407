// The extension module `_nki`: the instruction table as Python values, and programs from traced kernels.
#include <pybind11/pybind11.h>

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/nki/diagnostic.h"
#include "common/nki/frontend/diagnostics_to_python.h"
#include "common/nki/frontend/program_builder.h"
#include "common/nki/ir/legality.h"
#include "common/nki/ir/print.h"
#include "common/nki/ir/serialize.h"
#include "common/nki/ir/validate.h"
#include "common/nki/isa/table.h"
#include "common/nki/isa/types.h"

namespace nkiagent::nki::frontend {
namespace {

namespace py = pybind11;

std::string Str(absl::string_view s) { return {s.data(), s.size()}; }

py::list Engines(uint8_t set) {
  py::list out;
  for (int e = 0; e < isa::kEngineCount; ++e) {
    if ((set & (1u << e)) != 0) out.append(e);
  }
  return out;
}

// name -> {value, size, is_float, is_integer}
py::dict DTypes() {
  py::dict out;
  for (int i = 0; i < isa::kDTypeCount; ++i) {
    const auto d = static_cast<isa::DType>(i);
    out[py::str(Str(isa::Name(d)))] = py::make_tuple(i, isa::SizeOf(d), isa::IsFloat(d), isa::IsInteger(d));
  }
  return out;
}

// name -> (value, arity, bitvec, comparison, reducible, isa, engines)
py::dict AluOps() {
  py::dict out;
  for (int i = 0; i < isa::kAluOpCount; ++i) {
    const isa::AluOpInfo& info = isa::Info(static_cast<isa::AluOp>(i));
    out[py::str(Str(info.name))] = py::make_tuple(i, info.arity, info.bitvec, info.comparison, info.reducible,
                                                  info.isa, Engines(info.engines));
  }
  return out;
}

// name -> (value, isa)
py::dict ActFns() {
  py::dict out;
  for (int i = 0; i < isa::kActFnCount; ++i) {
    const isa::ActFnInfo& info = isa::Info(static_cast<isa::ActFn>(i));
    out[py::str(Str(info.name))] = py::make_tuple(i, info.isa);
  }
  return out;
}

// name -> (value, in_isa, engines, preferred engine, number of destinations, number of sources)
py::dict Opcodes() {
  py::dict out;
  for (const isa::Row& row : isa::Table()) {
    out[py::str(Str(row.name))] =
        py::make_tuple(static_cast<int>(row.op), row.In("2.24"), Engines(row.engines),
                       static_cast<int>(row.preferred), row.dst.size(), row.src.size());
  }
  return out;
}

std::string Memories(uint8_t set) {
  std::string out;
  for (const auto& [bit, name] :
       {std::pair{isa::kInHbm, "hbm"}, std::pair{isa::kInSbuf, "sbuf"}, std::pair{isa::kInPsum, "psum"}}) {
    if ((set & bit) != 0) out += (out.empty() ? "" : " or ") + std::string(name);
  }
  return out;
}

py::list Operands(absl::Span<const isa::OperandRule> rules) {
  py::list out;
  for (const isa::OperandRule& rule : rules) {
    const char* kind = rule.kind == isa::OperandKind::kTile                ? "tile"
                       : rule.kind == isa::OperandKind::kVector            ? "[P, 1] tile"
                       : rule.kind == isa::OperandKind::kVectorOrImmediate ? "number or [P, 1] tile"
                                                                           : "number or tile";
    out.append(py::make_tuple(Str(rule.name), kind, Memories(rule.buffers), rule.optional));
  }
  return out;
}

// What the tables say about one instruction, for the printed reference; None for a name that is no
// instruction.
py::object Instruction(const std::string& name) {
  const std::optional<isa::Opcode> op = isa::OpcodeFromName(name);
  if (!op.has_value()) return py::none();
  const isa::Row& row = isa::RowOf(*op);
  py::dict out;
  out["summary"] = Str(row.summary);
  py::list engines;
  for (int e = 0; e < isa::kEngineCount; ++e) {
    if ((row.engines & (1u << e)) != 0) engines.append(Str(isa::Name(static_cast<isa::Engine>(e))));
  }
  out["engines"] = engines;
  out["cycles"] = Str(isa::Formula(row.cost));
  out["dst"] = Operands(row.dst);
  out["src"] = Operands(row.src);
  py::list rules;
  for (const ir::RuleSummary& rule : ir::RulesOf(*op))
    rules.append(py::make_tuple(Str(rule.name), Str(rule.fix)));
  out["rules"] = rules;
  return out;
}

py::dict Names(int count, absl::string_view (*name)(int)) {
  py::dict out;
  for (int i = 0; i < count; ++i) out[py::str(Str(name(i)))] = i;
  return out;
}

void Append(std::vector<Diagnostic> more, int line, int column, std::vector<Diagnostic>* all) {
  for (Diagnostic& d : more) {
    if (d.line == 0) {
      d.line = line;
      d.column = column;
    }
    all->push_back(std::move(d));
  }
}

std::vector<Diagnostic> Legality(const ir::Program& program) {
  std::vector<Diagnostic> all;
  for (const ir::Tensor& t : program.tensors) Append(ir::CheckTensor(t), t.loc.line, t.loc.column, &all);
  ir::ForEachInstr(program.body, [&](const ir::Instr& instr, absl::Span<const ir::Loop* const>) {
    Append(ir::CheckInstr(program, instr), instr.loc.line, instr.loc.column, &all);
  });
  return all;
}

// (diagnostics, bytes): bytes is empty if there is an error among the diagnostics. `complete` is false for
// the part of a kernel traced before it failed: then only the legality of its instructions is judged. Without
// `judge`, only what Validate demands counts: programs that the executor takes and the hardware might not.
py::tuple Build(const py::dict& spec, bool complete, bool judge) {
  const ir::Program program = BuildProgram(spec);
  const std::vector<Diagnostic> diagnostics = judge ? Legality(program) : std::vector<Diagnostic>();
  py::bytes bytes;
  bool failed = !complete;
  for (const Diagnostic& d : diagnostics) failed = failed || d.severity == Severity::kError;
  if (!failed) {
    if (const absl::Status s = ir::Validate(program); !s.ok()) throw py::value_error(Str(s.message()));
    bytes = py::bytes(ir::Serialize(program));
  }
  return py::make_tuple(ToPython(diagnostics), bytes);
}

std::string Print(const py::bytes& bytes) {
  const absl::StatusOr<ir::Program> program = ir::Parse(std::string(bytes));
  if (!program.ok()) throw py::value_error(Str(program.status().message()));
  return ir::ToString(*program);
}

}  // namespace

PYBIND11_MODULE(_nki, m) {
  m.doc() = "The instruction table and the program builder of the NKI toolchain.";
  m.attr("DTYPES") = DTypes();
  m.attr("ALU_OPS") = AluOps();
  m.attr("ACT_FNS") = ActFns();
  m.attr("OPCODES") = Opcodes();
  m.attr("BUFFERS") = Names(isa::kBufferCount, [](int i) { return isa::Name(static_cast<isa::Buffer>(i)); });
  m.attr("ENGINES") = Names(isa::kEngineCount, [](int i) { return isa::Name(static_cast<isa::Engine>(i)); });
  m.attr("LIMITS") = py::dict();
  py::dict limits = m.attr("LIMITS");
  limits["partitions"] = isa::kMaxPartitions;
  limits["stationary_free"] = isa::kMatmulStationaryFreeMax;
  limits["moving_free"] = isa::kMatmulMovingFreeMax;
  limits["bn_stats_free"] = isa::kBnStatsFreeMax;
  limits["psum_bank_bytes"] = isa::kPsumBankBytes;
  limits["psum_banks"] = isa::kPsumBanks;
  limits["sbuf_usable_bytes"] = isa::kSbufUsableBytesPerPartition;
  limits["max_free_axes"] = isa::kMaxFreeAxes;
  m.attr("FORMAT_VERSION") = ir::kFormatVersion;
  m.def("promote", [](int a, int b) {
    return static_cast<int>(isa::Promote(static_cast<isa::DType>(a), static_cast<isa::DType>(b)));
  });
  m.def("instruction", &Instruction, py::arg("name"));
  m.def("build", &Build, py::arg("spec"), py::arg("complete") = true, py::arg("judge") = true);
  m.def("to_string", &Print, py::arg("program"));
}

}  // namespace nkiagent::nki::frontend
