#include "services/verify/judge.h"

#include <algorithm>
#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "common/contract/clean_text.h"
#include "common/contract/element_types.h"
#include "services/verify/compare.h"
#include "services/verify/elements.h"
#include "services/verify/mismatch_patterns.h"
#include "services/verify/rigor.h"
#include "services/worker/outcome_proto.h"

namespace nkiagent::verify {
namespace {

using common::v1::TensorSpec;
using contract::CleanText;
using worker::execute::TrialReport;
using worker::execute::TrialStatus;

constexpr size_t kMaxTextBytes = 2000;
constexpr int kMaxFindings = 8;

TensorSpec SpecOf(const nki::ir::Tensor& tensor) {
  TensorSpec spec;
  spec.set_name(CleanText(tensor.name, 128));
  // bool travels as uint8 (tensor.proto).
  spec.set_dtype(tensor.dtype == nki::isa::DType::kBool ? common::v1::DATA_TYPE_UINT8
                                                        : contract::FromIsa(tensor.dtype));
  spec.mutable_dims()->Add(tensor.shape.begin(), tensor.shape.end());
  return spec;
}

bool SameDims(const TensorSpec& a, const TensorSpec& b) {
  return std::equal(a.dims().begin(), a.dims().end(), b.dims().begin(), b.dims().end());
}

std::string Text(const TensorSpec& spec) {
  return absl::StrCat(spec.name(), ": ", Describe(spec.dtype(), spec.dims()));
}

using Specs = google::protobuf::RepeatedPtrField<TensorSpec>;

// The first tensor that differs, as a sentence; empty if none does. `kind` is "argument" or "output".
std::string FirstDifference(const char* kind, const Specs& expected, const Specs& actual, bool& only_dtype) {
  only_dtype = false;
  if (expected.size() != actual.size()) {
    return absl::StrCat("the kernel has ", actual.size(), " ", kind, "s, the task ", expected.size());
  }
  std::string dtype_difference;
  for (int i = 0; i < expected.size(); ++i) {
    const std::string sentence = absl::StrCat(kind, " ", i, " is ", Text(actual[i]), " in the kernel and ",
                                              Text(expected[i]), " in the task");
    if (!SameDims(expected[i], actual[i])) return sentence;
    if (expected[i].dtype() != actual[i].dtype() && dtype_difference.empty()) dtype_difference = sentence;
  }
  only_dtype = !dtype_difference.empty();
  return dtype_difference;
}

void SetMismatch(const Mismatch& mismatch, const TensorSpec& spec, v1::ElementMismatch* proto) {
  for (const int64_t index : Unravel(mismatch.index, spec.dims())) proto->add_indices(index);
  proto->set_expected(mismatch.expected);
  proto->set_actual(mismatch.actual);
  proto->set_abs_error(mismatch.abs_error);
}

v1::MismatchPatternKind ToProto(PatternKind kind) {
  switch (kind) {
    case PatternKind::kRegion:
      return v1::MISMATCH_PATTERN_KIND_REGION;
    case PatternKind::kConstant:
      return v1::MISMATCH_PATTERN_KIND_CONSTANT;
    case PatternKind::kScale:
      return v1::MISMATCH_PATTERN_KIND_SCALE;
    case PatternKind::kSign:
      return v1::MISMATCH_PATTERN_KIND_SIGN;
    case PatternKind::kOffset:
      return v1::MISMATCH_PATTERN_KIND_OFFSET;
    case PatternKind::kShift:
      return v1::MISMATCH_PATTERN_KIND_SHIFT;
    case PatternKind::kTranspose:
      return v1::MISMATCH_PATTERN_KIND_TRANSPOSE;
    case PatternKind::kRowScale:
      return v1::MISMATCH_PATTERN_KIND_ROW_SCALE;
    case PatternKind::kRowOffset:
      return v1::MISMATCH_PATTERN_KIND_ROW_OFFSET;
    case PatternKind::kPrecision:
      return v1::MISMATCH_PATTERN_KIND_PRECISION;
  }
  return v1::MISMATCH_PATTERN_KIND_UNSPECIFIED;
}

void AddPatterns(const TensorSpec& spec, absl::Span<const uint8_t> expected, absl::Span<const uint8_t> actual,
                 const common::v1::Tolerance& tolerance, NanRule nan, int64_t mismatched,
                 v1::OutputComparison& proto) {
  for (const MismatchPattern& pattern : FindMismatchPatterns({.type = *contract::ToIsa(spec.dtype()),
                                        .dims = spec.dims(),
                                        .expected = expected,
                                        .actual = actual,
                                        .atol = tolerance.atol(),
                                        .rtol = tolerance.rtol(),
                                        .nan = nan,
                                        .mismatched = mismatched})) {
    v1::MismatchPattern* added = proto.add_patterns();
    added->set_kind(ToProto(pattern.kind));
    added->set_message(pattern.text);
    added->set_axis(std::max(0, pattern.axis));
    added->set_first_index(std::max<int64_t>(0, pattern.first));
    added->set_last_index(std::max<int64_t>(0, pattern.last));
    added->set_value(pattern.kind == PatternKind::kScale ? pattern.factor : pattern.offset);
    added->set_shift(pattern.shift);
  }
}

v1::OutputComparison CompareOutput(const TensorSpec& spec, absl::Span<const uint8_t> expected,
                                   absl::Span<const uint8_t> actual, const nki::exec::OutputReport& report,
                                   const common::v1::Tolerance& tolerance, NanRule nan) {
  const Comparison result =
      Compare(*contract::ToIsa(spec.dtype()), expected, actual, tolerance.atol(), tolerance.rtol(), nan);
  v1::OutputComparison proto;
  proto.set_atol(tolerance.atol());
  proto.set_name(spec.name());
  // A count from a process that ran the program can only make things worse for it.
  const int64_t unwritten = std::clamp<int64_t>(report.unwritten_elements, 0, result.total);
  proto.set_passed(result.within_tolerance && unwritten == 0);
  proto.set_total_elements(result.total);
  proto.set_mismatched_elements(std::max(result.mismatched, unwritten));
  proto.set_max_abs_error(result.max_abs_error);
  proto.set_max_rel_error(result.max_rel_error);
  if (result.first.has_value()) SetMismatch(*result.first, spec, proto.mutable_first_mismatch());
  if (result.worst.has_value()) SetMismatch(*result.worst, spec, proto.mutable_worst_mismatch());
  for (const Mismatch& sample : result.samples) SetMismatch(sample, spec, proto.add_sample_mismatches());
  AddPatterns(spec, expected, actual, tolerance, nan, result.mismatched, proto);
  proto.set_actual_nan_count(result.actual_nan);
  proto.set_expected_nan_count(result.expected_nan);
  proto.set_actual_inf_count(result.actual_inf);
  proto.set_expected_inf_count(result.expected_inf);
  proto.set_unwritten_elements(unwritten);
  if (unwritten > 0 && report.first_unwritten >= 0 && report.first_unwritten < result.total) {
    for (const int64_t index : Unravel(report.first_unwritten, spec.dims()))
      proto.add_first_unwritten_indices(index);
  }
  return proto;
}

// The first reason, in the order of the checks, that an output of a trial gives; PASSED if none does.
v1::VerdictReason ReasonOf(const v1::TrialResult& trial) {
  const auto any = [&](auto predicate) {
    return std::any_of(trial.outputs().begin(), trial.outputs().end(), predicate);
  };
  using Output = v1::OutputComparison;
  if (any([](const Output& o) { return o.unwritten_elements() > 0; }))
    return v1::VERDICT_REASON_UNWRITTEN_ELEMENTS;
  if (any([](const Output& o) { return !o.passed() && o.actual_nan_count() > o.expected_nan_count(); }))
    return v1::VERDICT_REASON_NAN;
  if (any([](const Output& o) { return !o.passed(); })) return v1::VERDICT_REASON_MISMATCH;
  return v1::VERDICT_REASON_PASSED;
}

// The scales of a task's outputs for drawn inputs, against which those of other families are held.
class Scales {
 public:
  Scales(const v1::TaskFacts& facts, absl::Span<const TrialDataPtr> trials)
      : facts_(facts), drawn_(static_cast<size_t>(facts.outputs_size())) {
    needed_ = std::any_of(trials.begin(), trials.end(),
                          [](const TrialDataPtr& trial) { return trial->family != v1::INPUT_FAMILY_DRAWN; });
  }

  // The tolerance for an output of a trial. Trials of drawn inputs come first.
  common::v1::Tolerance ToleranceFor(const TrialData& trial, int output, absl::Span<const uint8_t> expected,
                                     const common::v1::Tolerance& tolerance) {
    if (!needed_) return tolerance;
    const auto slot = static_cast<size_t>(output);
    const double rms = RootMeanSquare(facts_.outputs(output).dtype(), expected);
    if (trial.family == v1::INPUT_FAMILY_DRAWN) {
      drawn_[slot] = std::max(drawn_[slot], rms);
      return tolerance;
    }
    common::v1::Tolerance scaled = tolerance;
    scaled.set_atol(FamilyAtol(tolerance.atol(), trial.family, drawn_[slot], rms, trial.sensitivity[slot]));
    return scaled;
  }

 private:
  const v1::TaskFacts& facts_;
  bool needed_ = false;
  std::vector<double> drawn_;  // Root mean square of each output.
};

// What a failing trial shows, from its first failing output.
std::string FailureText(const v1::TrialResult& trial, v1::VerdictReason reason) {
  for (const v1::OutputComparison& output : trial.outputs()) {
    if (output.passed()) continue;
    switch (reason) {
      case v1::VERDICT_REASON_UNWRITTEN_ELEMENTS:
        if (output.unwritten_elements() == 0) continue;
        return absl::StrCat(output.unwritten_elements(), " of ", output.total_elements(), " elements of ",
                            output.name(), " were never written");
      case v1::VERDICT_REASON_NAN:
        if (output.actual_nan_count() <= output.expected_nan_count()) continue;
        return absl::StrCat(output.actual_nan_count(), " of ", output.total_elements(), " elements of ",
                            output.name(), " are NaN");
      default:
        return absl::StrCat(output.mismatched_elements(), " of ", output.total_elements(), " elements of ",
                            output.name(),
                            absl::StrFormat(" differ, max abs error %.3g", output.max_abs_error()));
    }
  }
  return "the trial failed";
}

void AddFindings(const TrialReport& report, v1::Verdict& verdict) {
  for (const nki::Diagnostic& finding : report.diagnostics) {
    if (verdict.evidence_size() >= kMaxFindings) return;
    std::string text = absl::StrCat(finding.rule, " at line ", finding.line, ": ", finding.message);
    if (!finding.hint.empty()) absl::StrAppend(&text, " (", finding.hint, ")");
    text = CleanText(text, kMaxTextBytes);
    if (std::find(verdict.evidence().begin(), verdict.evidence().end(), text) == verdict.evidence().end()) {
      verdict.add_evidence(text);
    }
  }
}

// A child that gave no reports.
void JudgeChild(const Execution& execution, v1::Verdict& verdict) {
  v1::TrialResult* trial = verdict.add_trials();
  *trial->mutable_sandbox() = worker::ToProto(execution.outcome);
  if (!execution.bad_answer.empty()) {
    verdict.set_reason(v1::VERDICT_REASON_CRASH);
    trial->mutable_sandbox()->set_status(common::v1::SANDBOX_STATUS_BAD_ANSWER);
    verdict.set_message(CleanText(
        absl::StrCat("the executing process gave a bad answer: ", execution.bad_answer), kMaxTextBytes));
    return;
  }
  switch (execution.outcome.kind) {
    case sandbox::OutcomeKind::kWallTimeout:
    case sandbox::OutcomeKind::kCpuLimit:
      verdict.set_reason(v1::VERDICT_REASON_TIMEOUT);
      break;
    case sandbox::OutcomeKind::kMemoryLimit:
      verdict.set_reason(v1::VERDICT_REASON_MEMORY);
      break;
    default:
      verdict.set_reason(v1::VERDICT_REASON_CRASH);
  }
  verdict.set_message(absl::StrCat("executing the program did not end well: ", trial->sandbox().detail()));
}

// A trial whose execution the toolchain ended.
void JudgeIncomplete(const TrialReport& report, v1::Verdict& verdict) {
  switch (report.status) {
    case TrialStatus::kTimeout:
      verdict.set_reason(v1::VERDICT_REASON_TIMEOUT);
      break;
    case TrialStatus::kMemory:
      verdict.set_reason(v1::VERDICT_REASON_MEMORY);
      break;
    default:
      verdict.set_reason(v1::VERDICT_REASON_RUNTIME_ERROR);
  }
  verdict.set_message(CleanText(report.message, kMaxTextBytes));
  for (const nki::Diagnostic& finding : report.diagnostics) {
    if (finding.severity == nki::Severity::kError) {
      verdict.set_line(finding.line);
      verdict.set_message(CleanText(absl::StrCat(finding.rule, ": ", finding.message), kMaxTextBytes));
      break;
    }
  }
}

}  // namespace

bool ProgramFitsTask(const nki::ir::Program& program, const v1::TaskFacts& facts, v1::Verdict& verdict) {
  Specs inputs;
  for (const nki::ir::TensorId id : program.inputs)
    *inputs.Add() = SpecOf(program.tensors[static_cast<size_t>(id)]);
  Specs outputs;
  for (const nki::ir::TensorId id : program.outputs)
    *outputs.Add() = SpecOf(program.tensors[static_cast<size_t>(id)]);
  bool only_dtype = false;
  if (std::string difference = FirstDifference("argument", facts.arguments(), inputs, only_dtype);
      !difference.empty()) {
    verdict.set_reason(v1::VERDICT_REASON_ARGUMENT_MISMATCH);
    verdict.set_message(std::move(difference));
    *verdict.mutable_expected_specs() = facts.arguments();
    *verdict.mutable_actual_specs() = inputs;
    return false;
  }
  if (std::string difference = FirstDifference("output", facts.outputs(), outputs, only_dtype);
      !difference.empty()) {
    verdict.set_reason(only_dtype ? v1::VERDICT_REASON_DTYPE_MISMATCH : v1::VERDICT_REASON_SHAPE_MISMATCH);
    verdict.set_message(std::move(difference));
    *verdict.mutable_expected_specs() = facts.outputs();
    *verdict.mutable_actual_specs() = outputs;
    return false;
  }
  return true;
}

absl::Status JudgeExecution(const TaskData& data, absl::Span<const TrialDataPtr> trials,
                            const Execution& execution, bool all_trials, v1::Verdict& verdict) {
  if (execution.reports.empty()) {
    JudgeChild(execution, verdict);
    return absl::OkStatus();
  }
  int failed = 0;
  double max_abs_error = 0;
  std::string failure;
  Scales scales(data.facts, trials);
  for (size_t i = 0; i < execution.reports.size(); ++i) {
    const TrialReport& report = execution.reports[i];
    v1::TrialResult* trial = verdict.add_trials();
    trial->set_seed(trials[i]->seed);
    trial->set_family(trials[i]->family);
    *trial->mutable_execute_time() = worker::ToProto(report.time);
    *trial->mutable_reference_time() = worker::ToProto(trials[i]->reference_time);
    *trial->mutable_sandbox() = worker::ToProto(execution.outcome);
    AddFindings(report, verdict);
    if (report.status != TrialStatus::kCompleted) {
      JudgeIncomplete(report, verdict);
      return absl::OkStatus();
    }
    absl::StatusOr<sandbox::SharedMemory> reference = trials[i]->expected.Duplicate();
    if (!reference.ok()) return reference.status();
    if (absl::Status mapped = reference->Map(sandbox::SharedMemory::Access::kReadOnly); !mapped.ok())
      return mapped;
    for (int k = 0; k < data.facts.outputs_size(); ++k) {
      const auto slot = static_cast<size_t>(k);
      const auto expected = sandbox::ViewSlot(reference->bytes(), trials[i]->expected_slots[slot]);
      const auto actual = sandbox::ViewSlot(execution.outputs[i].bytes(), execution.output_slots[slot]);
      *trial->add_outputs() =
          CompareOutput(data.facts.outputs(k), *expected, *actual, report.outputs[slot],
                        scales.ToleranceFor(*trials[i], k, *expected, verdict.tolerance()),
                        MayHoldNan(trials[i]->family) ? NanRule::kPassesWhereExpected : NanRule::kFails);
      max_abs_error = std::max(max_abs_error, trial->outputs(k).max_abs_error());
    }
    const v1::VerdictReason reason = ReasonOf(*trial);
    trial->set_passed(reason == v1::VERDICT_REASON_PASSED);
    if (trial->passed()) continue;
    if (failed++ == 0) {
      verdict.set_reason(reason);
      failure = FailureText(*trial, reason);
      if (trial->family() != v1::INPUT_FAMILY_DRAWN)
        absl::StrAppend(&failure, " for ", FamilyName(trial->family()), " inputs");
    }
    if (!all_trials) break;
  }
  if (failed == 0) {
    verdict.set_passed(true);
    verdict.set_reason(v1::VERDICT_REASON_PASSED);
    verdict.set_message(absl::StrCat("all ", trials.size(), " trials are within tolerance",
                                     absl::StrFormat(", max abs error %.3g", max_abs_error)));
  } else if (all_trials) {
    verdict.set_message(absl::StrCat(failed, " of ", trials.size(), " trials fail: ", failure));
  } else {
    verdict.set_message(
        absl::StrCat("trial ", verdict.trials_size(), " of ", trials.size(), " fails: ", failure));
  }
  return absl::OkStatus();
}

}  // namespace nkiagent::verify
