#include "services/orchestrator/tool_results.h"

#include <algorithm>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "services/orchestrator/enum_name.h"
#include "services/orchestrator/utf8.h"

namespace nkiagent::orchestrator {
namespace {

using common::v1::Diagnostic;
using common::v1::TensorSpec;
using verify::v1::ElementMismatch;
using verify::v1::OutputComparison;
using verify::v1::TrialResult;
using verify::v1::Verdict;

// Longest single line of foreign text (source lines, messages) that is quoted.
constexpr size_t kMaxLineBytes = 400;
// Findings that are spelled out; the rest is counted.
constexpr int kMaxDiagnostics = 8;
// Rows of the side-by-side table.
constexpr int kMaxValueRows = 6;
// What a kernel printed, quoted at most.
constexpr size_t kMaxPrintedBytes = 1024;

std::string OneLine(absl::string_view text) {
  std::string line = absl::StrReplaceAll(text, {{"\r", ""}, {"\n", " "}, {"\t", " "}});
  if (line.size() <= kMaxLineBytes) return line;
  return absl::StrCat(CutUtf8(line, kMaxLineBytes), "...");
}

std::string Index(const google::protobuf::RepeatedField<int64_t>& index) {
  return absl::StrCat("[", absl::StrJoin(index, ", "), "]");
}

std::string Value(double value) { return absl::StrFormat("%.6g", value); }

void AppendSpecs(const char* title, const google::protobuf::RepeatedPtrField<TensorSpec>& specs,
                 std::string* text) {
  if (specs.empty()) return;
  absl::StrAppend(text, "  ", title, ": ",
                  absl::StrJoin(specs, ", ",
                                [](std::string* out, const TensorSpec& spec) {
                                  absl::StrAppend(out, spec.name(), spec.name().empty() ? "" : ": ",
                                                  TypeAndShape(spec));
                                }),
                  "\n");
}

void AppendValues(const OutputComparison& output, std::string* text) {
  std::vector<const ElementMismatch*> rows;
  if (output.has_first_mismatch()) rows.push_back(&output.first_mismatch());
  for (const ElementMismatch& sample : output.sample_mismatches()) {
    if (static_cast<int>(rows.size()) >= kMaxValueRows) break;
    rows.push_back(&sample);
  }
  if (rows.empty()) return;
  absl::StrAppend(text, absl::StrFormat("    %-24s %14s %14s\n", "index", "expected", "kernel"));
  std::string previous;
  for (const ElementMismatch* row : rows) {
    std::string line = absl::StrFormat("    %-24s %14s %14s\n", Index(row->indices()), Value(row->expected()),
                                       Value(row->actual()));
    if (line == previous) continue;
    absl::StrAppend(text, line);
    previous = std::move(line);
  }
  if (output.has_worst_mismatch()) {
    const ElementMismatch& worst = output.worst_mismatch();
    absl::StrAppend(text, "    worst at ", Index(worst.indices()), ": expected ", Value(worst.expected()),
                    ", kernel ", Value(worst.actual()), "\n");
  }
}

void AppendOutput(const OutputComparison& output, std::string* text) {
  absl::StrAppend(text, "  output `", output.name(), "`: ", output.mismatched_elements(), " of ",
                  output.total_elements(), " elements differ; max abs error ", Value(output.max_abs_error()),
                  ", max rel error ", Value(output.max_rel_error()), "\n");
  if (output.unwritten_elements() > 0) {
    absl::StrAppend(text, "    unwritten: ", output.unwritten_elements(), " elements, the first at ",
                    Index(output.first_unwritten_indices()),
                    "; every element must be written by an nl.store\n");
  }
  if (output.actual_nan_count() > 0) {
    absl::StrAppend(text, "    NaN: ", output.actual_nan_count(), " elements of the kernel's output, ",
                    output.expected_nan_count(), " of the reference's\n");
  }
  if (output.actual_inf_count() != output.expected_inf_count()) {
    absl::StrAppend(text, "    infinite: ", output.actual_inf_count(), " elements of the kernel's output, ",
                    output.expected_inf_count(), " of the reference's\n");
  }
  for (const verify::v1::MismatchPattern& pattern : output.patterns()) {
    absl::StrAppend(text, "    pattern: ", OneLine(pattern.message()), "\n");
  }
  AppendValues(output, text);
}

// What to try first, by what binds.
absl::string_view Advice(const common::v1::LatencyEstimate& estimate) {
  switch (estimate.binding_resource()) {
    case common::v1::BINDING_RESOURCE_HBM_BANDWIDTH:
      return "move each byte once: keep intermediate tiles in SBUF, fuse stages, load whole rows in long "
             "contiguous runs";
    case common::v1::BINDING_RESOURCE_LATENCY:
      return "fewer, larger instructions (all 128 partitions, 512 and more elements each), and loops whose "
             "iterations "
             "don't wait for each other (nl.affine_range)";
    default:
      break;
  }
  switch (estimate.binding_engine()) {
    case common::v1::ENGINE_TENSOR:
      return "bfloat16 operands (float32 costs four passes), moving tiles of 512 columns, fewer transposes";
    case common::v1::ENGINE_VECTOR:
      return "move work to the Scalar engine (nisa.activation does func(x * scale + bias) at once), fuse "
             "operations with "
             "nisa.tensor_scalar and nisa.scalar_tensor_tensor, 16-bit tiles";
    case common::v1::ENGINE_SCALAR:
      return "move plain arithmetic to the Vector engine; keep the Scalar engine for exp, gelu and the like";
    case common::v1::ENGINE_GPSIMD:
      return "replace GpSimd instructions (iota, affine_select, partition reductions) by matmul with ones or "
             "by masks "
             "that are made once";
    case common::v1::ENGINE_DMA:
      return "fewer and larger transfers: all 128 partitions, contiguous runs of 512 bytes and more";
    default:
      return "fewer and larger instructions";
  }
}

}  // namespace

std::string DtypeName(common::v1::DataType dtype) {
  return EnumName(common::v1::DataType_Name(dtype), "DATA_TYPE_");
}

std::string TypeAndShape(const TensorSpec& spec) {
  return absl::StrCat(DtypeName(spec.dtype()), Index(spec.dims()));
}

std::string ReasonName(verify::v1::VerdictReason reason) {
  return EnumName(verify::v1::VerdictReason_Name(reason), "VERDICT_REASON_");
}

std::string EngineName(common::v1::Engine engine) {
  return EnumName(common::v1::Engine_Name(engine), "ENGINE_");
}

std::string DescribeDiagnostic(const Diagnostic& diagnostic) {
  std::string text = EnumName(common::v1::Severity_Name(diagnostic.severity()), "SEVERITY_");
  if (!diagnostic.rule().empty()) absl::StrAppend(&text, "[", OneLine(diagnostic.rule()), "]");
  if (diagnostic.line() > 0) {
    absl::StrAppend(&text, " line ", diagnostic.line());
    if (diagnostic.column() > 0) absl::StrAppend(&text, ", col ", diagnostic.column());
  }
  absl::StrAppend(&text, ": ", OneLine(diagnostic.message()), "\n");
  if (!diagnostic.source_line().empty()) {
    absl::StrAppend(&text, "  ", OneLine(diagnostic.source_line()), "\n");
    const int caret = diagnostic.column() - 1;
    if (caret >= 0 && caret < static_cast<int>(std::min(diagnostic.source_line().size(), kMaxLineBytes))) {
      absl::StrAppend(&text, "  ", std::string(caret, ' '), "^\n");
    }
  }
  if (!diagnostic.limit().empty() || !diagnostic.actual().empty()) {
    absl::StrAppend(&text, "  ");
    if (!diagnostic.limit().empty()) absl::StrAppend(&text, "limit: ", OneLine(diagnostic.limit()), " ");
    if (!diagnostic.actual().empty()) absl::StrAppend(&text, "actual: ", OneLine(diagnostic.actual()));
    absl::StripTrailingAsciiWhitespace(&text);
    absl::StrAppend(&text, "\n");
  }
  if (!diagnostic.hint().empty()) absl::StrAppend(&text, "  fix: ", OneLine(diagnostic.hint()), "\n");
  return text;
}

std::string DescribeCompile(const compile::v1::CompileResult& result) {
  std::string text;
  int errors = 0;
  for (const Diagnostic& diagnostic : result.diagnostics()) {
    errors += diagnostic.severity() == common::v1::SEVERITY_ERROR ? 1 : 0;
  }
  if (result.outcome() == compile::v1::COMPILE_OUTCOME_COMPILED) {
    text = "compiled: yes\n";
  } else if (result.outcome() == compile::v1::COMPILE_OUTCOME_REJECTED) {
    text = absl::StrCat("compiled: no (", errors, errors == 1 ? " error" : " errors", ")\n");
  } else {
    text = absl::StrCat(
        "compiled: no (the kernel's Python did not end well: ", OneLine(result.sandbox().detail()), ")\n");
  }
  int shown = 0;
  for (const Diagnostic& diagnostic : result.diagnostics()) {
    if (shown == kMaxDiagnostics) break;
    absl::StrAppend(&text, DescribeDiagnostic(diagnostic));
    ++shown;
  }
  const int more = result.diagnostics_size() - shown + result.diagnostics_dropped();
  if (more > 0) absl::StrAppend(&text, "(", more, " more findings are not shown)\n");
  if (!result.printed().empty()) {
    absl::StrAppend(&text, "printed by the kernel's Python:\n", Bounded(result.printed(), kMaxPrintedBytes));
    if (!absl::EndsWith(text, "\n")) absl::StrAppend(&text, "\n");
  }
  return Bounded(text);
}

namespace {

// "constant rows" for INPUT_FAMILY_CONSTANT_ROWS.
std::string FamilyName(verify::v1::InputFamily family) {
  const std::string name = verify::v1::InputFamily_Name(family).substr(sizeof("INPUT_FAMILY_") - 1);
  return absl::StrReplaceAll(absl::AsciiStrToLower(name), {{"_", " "}});
}

// One line for the families that passed, one for each of the others.
void AppendFamilies(const Verdict& verdict, std::string* text) {
  std::vector<std::string> passed;
  for (const verify::v1::FamilyResult& result : verdict.families())
    if (result.passed()) passed.push_back(FamilyName(result.family()));
  if (!passed.empty()) absl::StrAppend(text, "  inputs that pass: ", absl::StrJoin(passed, ", "), "\n");
  for (const verify::v1::FamilyResult& result : verdict.families()) {
    if (result.passed()) continue;
    absl::StrAppend(text, "  ", FamilyName(result.family()), " inputs: ",
                    result.skipped().empty() ? result.message() : "not tried: " + OneLine(result.skipped()),
                    "\n");
  }
}

}  // namespace

std::string DescribeVerdict(const Verdict& verdict) {
  std::string text;
  int passed = 0;
  for (const TrialResult& trial : verdict.trials()) passed += trial.passed() ? 1 : 0;
  const std::string tolerance =
      absl::StrFormat("atol=%g rtol=%g", verdict.tolerance().atol(), verdict.tolerance().rtol());
  if (verdict.passed()) {
    text = absl::StrCat("verified: PASS, ", passed, " of ", verdict.trials_size(), " trials within ",
                        tolerance, "\n");
    AppendFamilies(verdict, &text);
    return text;
  }
  text =
      absl::StrCat("verified: FAIL (", ReasonName(verdict.reason()), "): ", OneLine(verdict.message()), "\n");
  if (verdict.line() > 0) absl::StrAppend(&text, "  at line ", verdict.line(), " of the kernel\n");
  AppendSpecs("expected", verdict.expected_specs(), &text);
  AppendSpecs("kernel has", verdict.actual_specs(), &text);
  AppendFamilies(verdict, &text);
  for (const TrialResult& trial : verdict.trials()) {
    if (trial.passed()) continue;
    // One failing trial tells what the others would repeat.
    const std::string inputs =
        trial.family() > verify::v1::INPUT_FAMILY_DRAWN ? FamilyName(trial.family()) + " inputs, " : "";
    absl::StrAppend(&text, "  trial with seed ", trial.seed(), ", ", inputs, tolerance, ":\n");
    for (const OutputComparison& output : trial.outputs()) {
      if (!output.passed()) AppendOutput(output, &text);
    }
    if (trial.outputs().empty() && !trial.sandbox().detail().empty()) {
      absl::StrAppend(&text, "  execution ended: ", OneLine(trial.sandbox().detail()), "\n");
    }
    break;
  }
  return Bounded(text);
}

std::string DescribeEstimate(const common::v1::LatencyEstimate& estimate) {
  if (estimate.total_us() <= 0) return "";
  std::string text = absl::StrFormat("%.4g us", estimate.total_us());
  switch (estimate.binding_resource()) {
    case common::v1::BINDING_RESOURCE_ENGINE:
      absl::StrAppend(&text, ", bound by the ", EngineName(estimate.binding_engine()), " engine");
      break;
    case common::v1::BINDING_RESOURCE_HBM_BANDWIDTH:
      absl::StrAppend(&text, ", bound by HBM bandwidth");
      break;
    case common::v1::BINDING_RESOURCE_LATENCY:
      absl::StrAppend(&text, ", bound by dependent instructions");
      break;
    default:
      break;
  }
  return text;
}

std::string DescribeProfile(const common::v1::LatencyEstimate& estimate) {
  const double total = estimate.total_us();
  if (total <= 0) return "There is no estimate for this kernel.\n";
  std::string text = absl::StrCat("estimated latency: ", DescribeEstimate(estimate), "\n");
  if (estimate.roofline_us() > 0) {
    absl::StrAppend(
        &text, absl::StrFormat("roofline: %.4g us by peak compute and HBM bandwidth, so %.0f %% of it is "
                               "reached; %.4g FLOPs, %.3g for each HBM byte\n",
                               estimate.roofline_us(), 100 * estimate.roofline_us() / total, estimate.flops(),
                               estimate.arithmetic_intensity()));
  }
  std::vector<std::string> parts;
  for (const common::v1::EngineTime& engine : estimate.engines()) {
    parts.push_back(absl::StrFormat("%s %.0f %% (%d instructions)", EngineName(engine.engine()),
                                    100 * engine.busy_us() / total, engine.instructions()));
  }
  if (!parts.empty()) absl::StrAppend(&text, "busy: ", absl::StrJoin(parts, ", "), "\n");
  parts.clear();
  for (const common::v1::MemoryTraffic& memory : estimate.traffic()) {
    parts.push_back(absl::StrCat(EnumName(common::v1::Memory_Name(memory.memory()), "MEMORY_"), " ",
                                 memory.bytes_read(), " read and ", memory.bytes_written(), " written"));
  }
  if (!parts.empty()) absl::StrAppend(&text, "bytes: ", absl::StrJoin(parts, ", "), "\n");
  if (estimate.spill_bytes() > 0) {
    absl::StrAppend(&text, "spill: ", estimate.spill_bytes(),
                    " bytes would go to HBM and back, since the live tiles exceed the on-chip memory: use "
                    "smaller tiles\n");
  }
  if (!estimate.costly_lines().empty())
    absl::StrAppend(&text, "costliest lines, by busy time of their engines:\n");
  for (const common::v1::LineCost& line : estimate.costly_lines()) {
    absl::StrAppend(&text,
                    absl::StrFormat("  line %d: %.4g us, mostly %s, %d instructions: %s\n", line.line(),
                                    line.busy_us(), EngineName(line.engine()), line.instructions(),
                                    OneLine(absl::StripAsciiWhitespace(line.source_line()))));
  }
  absl::StrAppend(&text, "usually helps: ", Advice(estimate), "\n");
  return Bounded(text);
}

std::string DescribeApi(const std::string& name, const compile::v1::LookupApiResponse& response) {
  if (response.found()) return Bounded(response.text());
  std::string text = absl::StrCat("NKI of this SDK has no `", OneLine(name), "`.");
  if (!response.similar_names().empty()) {
    absl::StrAppend(&text, " Near names: ", absl::StrJoin(response.similar_names(), ", "), ".");
  }
  return Bounded(absl::StrCat(text, "\n"));
}

std::string Bounded(absl::string_view text, size_t max_bytes) {
  if (text.size() <= max_bytes) return std::string(text);
  // Room for the sentence that tells about the cut.
  constexpr size_t kNoticeBytes = 48;
  absl::string_view kept = CutUtf8(text, max_bytes > kNoticeBytes ? max_bytes - kNoticeBytes : 0);
  if (const size_t line_end = kept.rfind('\n');
      line_end != absl::string_view::npos && line_end > kept.size() / 2) {
    kept = kept.substr(0, line_end + 1);
  }
  return absl::StrCat(kept, absl::EndsWith(kept, "\n") ? "" : "\n", "(", text.size() - kept.size(),
                      " more bytes are not shown)\n");
}

}  // namespace nkiagent::orchestrator
