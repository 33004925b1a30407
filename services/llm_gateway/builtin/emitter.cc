#include "services/llm_gateway/builtin/emitter.h"

#include <memory>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/llm_gateway/builtin/attention_stage.h"
#include "services/llm_gateway/builtin/conv_stage.h"
#include "services/llm_gateway/builtin/gather_stage.h"
#include "services/llm_gateway/builtin/matmul_stage.h"
#include "services/llm_gateway/builtin/pool_stage.h"
#include "services/llm_gateway/builtin/python_writer.h"
#include "services/llm_gateway/builtin/recurrent_stage.h"
#include "services/llm_gateway/builtin/row_stage.h"

namespace nkiagent::builtin {
namespace {

// A longer kernel would take the compiler minutes, and nobody would read it.
constexpr size_t kMaxKernelLines = 20000;

KernelNames MakeNames(const KernelPlan& plan) {
  const Program& program = plan.program;
  const StagedProgram& staged = plan.staged;
  KernelNames names;
  names.hbm.resize(program.values.size());
  names.on_chip.resize(program.values.size());
  // Parameters first: they keep their names.
  for (size_t i = 0; i < program.values.size(); ++i) {
    if (program.values[i].is_argument) names.hbm[i] = names.names.Unique(program.values[i].name);
  }
  for (auto [field, text] :
       std::initializer_list<std::pair<std::string*, absl::string_view>>{{&names.i_p, "i_p"},
                                                                         {&names.i_f, "i_f"},
                                                                         {&names.i_one, "i_one"},
                                                                         {&names.i_k, "i_k"},
                                                                         {&names.i_kf, "i_kf"},
                                                                         {&names.i_m, "i_m"},
                                                                         {&names.i_n, "i_n"},
                                                                         {&names.i_kk, "i_kk"},
                                                                         {&names.i_np, "i_np"},
                                                                         {&names.i_nf, "i_nf"},
                                                                         {&names.i_bp, "i_bp"},
                                                                         {&names.i_bf, "i_bf"},
                                                                         {&names.i_pf, "i_pf"},
                                                                         {&names.row, "r"},
                                                                         {&names.square, "q"},
                                                                         {&names.piece, "j"},
                                                                         {&names.inner_piece, "j"},
                                                                         {&names.chunk, "c"},
                                                                         {&names.k, "k"}}) {
    *field = names.names.Unique(text);
  }
  for (size_t i = 0; i < program.values.size(); ++i) {
    if (plan.residences[i].has_value())
      names.on_chip[i] = names.names.Unique(absl::StrCat(program.values[i].name, "_sb"));
    if (program.values[i].is_argument || !staged.in_hbm[i]) continue;
    const bool result = staged.is_result[i];
    const std::string base =
        result ? (program.results.size() == 1 ? "out" : absl::StrCat("out_", program.values[i].name))
               : absl::StrCat(program.values[i].name, "_hbm");
    names.hbm[i] = names.names.Unique(result && program.values[i].name == "out" ? "out" : base);
  }
  return names;
}

void DeclareTensors(const KernelPlan& plan, const KernelNames& names, PythonWriter* kernel) {
  for (const bool results : {true, false}) {
    for (size_t i = 0; i < plan.program.values.size(); ++i) {
      const Value& value = plan.program.values[i];
      if (value.is_argument || !plan.staged.in_hbm[i] || plan.staged.is_result[i] != results) continue;
      kernel->Line(absl::StrCat(
          names.hbm[i], " = nl.ndarray(", TupleLiteral(value.dims.empty() ? Dims{1} : value.dims),
          ", dtype=", DTypeLiteral(value.dtype), ", buffer=", results ? "nl.shared_hbm" : "nl.hbm", ")"));
    }
  }
}

std::unique_ptr<StageEmitter> MakeWindowStage(const KernelPlan& plan, const StagePlan& stage,
                                              KernelNames& names) {
  const Window& window = *plan.program.ops[stage.stage.matmul].window;
  if (stage.window.contracts) return std::make_unique<ConvStageEmitter>(plan, stage, names);
  if (window.pools()) return std::make_unique<PoolStageEmitter>(plan, stage, names);
  return std::make_unique<DepthwiseStageEmitter>(plan, stage, names);
}

}  // namespace

absl::StatusOr<KernelText> EmitKernel(const KernelPlan& plan) {
  KernelNames names = MakeNames(plan);
  std::vector<std::string> parameters, results;
  for (size_t i = 0; i < plan.program.values.size(); ++i) {
    if (plan.program.values[i].is_argument) parameters.push_back(names.hbm[i]);
  }
  for (int value : plan.program.results) results.push_back(names.hbm[value]);

  PythonWriter body;
  DeclareTensors(plan, names, &body);
  std::vector<size_t> offsets;
  for (const StagePlan& stage : plan.stages) {
    std::unique_ptr<StageEmitter> emitter;
    if (stage.stage.recurrent) {
      emitter = std::make_unique<RecurrentStageEmitter>(plan, stage, names);
    } else if (stage.stage.attends) {
      emitter = std::make_unique<AttentionStageEmitter>(plan, stage, names);
    } else if (stage.stage.windowed) {
      emitter = MakeWindowStage(plan, stage, names);
    } else if (stage.stage.gathers) {
      emitter = std::make_unique<GatherStageEmitter>(plan, stage, names);
    } else if (stage.stage.matmul >= 0) {
      emitter = std::make_unique<MatmulStageEmitter>(plan, stage, names);
    } else {
      emitter = std::make_unique<RowStageEmitter>(plan, stage, names);
    }
    body.Blank();
    offsets.push_back(body.line_count());
    const absl::Status status = emitter->Emit(&body);
    if (!status.ok()) return status;
    if (body.line_count() > kMaxKernelLines) {
      return absl::UnimplementedError(
          absl::StrCat("the kernel would have more than ", kMaxKernelLines, " lines"));
    }
  }
  body.Blank();
  body.Line(absl::StrCat("return ", absl::StrJoin(results, ", ")));

  PythonWriter source;
  source.Line("import neuronxcc.nki as nki");
  if (body.Mentions("nisa")) source.Line("import neuronxcc.nki.isa as nisa");
  source.Line("import neuronxcc.nki.language as nl");
  source.Blank();
  source.Blank();
  source.Line("@nki.jit");
  source.Line(absl::StrCat("def nki_kernel(", absl::StrJoin(parameters, ", "), "):"));
  KernelText text;
  for (size_t offset : offsets)
    text.stage_first_line.push_back(static_cast<int>(source.line_count() + offset) + 1);
  source.Indent();
  source.Append(body);
  text.source = source.Text();
  return text;
}

}  // namespace nkiagent::builtin
