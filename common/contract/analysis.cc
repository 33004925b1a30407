#include "common/contract/analysis.h"

#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/contract/clean_text.h"
#include "common/contract/element_types.h"
#include "common/nki/check/check.h"
#include "common/nki/timing/timing.h"
#include "common/nki/timing/trace.h"

namespace nkiagent::contract {
namespace {

constexpr size_t kMaxTextBytes = 2000;
constexpr size_t kMaxLineBytes = 500;

common::v1::Severity ToProto(nki::Severity severity) {
  switch (severity) {
    case nki::Severity::kError:
      return common::v1::SEVERITY_ERROR;
    case nki::Severity::kWarning:
      return common::v1::SEVERITY_WARNING;
    case nki::Severity::kNote:
      return common::v1::SEVERITY_NOTE;
  }
  return common::v1::SEVERITY_UNSPECIFIED;
}

// What the timing model says binds, as the contract splits it.
void SetBound(nki::timing::Bound bound, common::v1::LatencyEstimate& proto) {
  proto.set_binding_resource(common::v1::BINDING_RESOURCE_ENGINE);
  switch (bound) {
    case nki::timing::Bound::kTensor:
      proto.set_binding_engine(common::v1::ENGINE_TENSOR);
      return;
    case nki::timing::Bound::kVector:
      proto.set_binding_engine(common::v1::ENGINE_VECTOR);
      return;
    case nki::timing::Bound::kScalar:
      proto.set_binding_engine(common::v1::ENGINE_SCALAR);
      return;
    case nki::timing::Bound::kGpSimd:
      proto.set_binding_engine(common::v1::ENGINE_GPSIMD);
      return;
    case nki::timing::Bound::kDma:
      proto.set_binding_engine(common::v1::ENGINE_DMA);
      return;
    case nki::timing::Bound::kMemory:
      proto.set_binding_resource(common::v1::BINDING_RESOURCE_HBM_BANDWIDTH);
      return;
    case nki::timing::Bound::kLatency:
      proto.set_binding_resource(common::v1::BINDING_RESOURCE_LATENCY);
      return;
  }
}

constexpr std::pair<nki::isa::Engine, common::v1::Engine> kEngines[] = {
    {nki::isa::Engine::kTensor, common::v1::ENGINE_TENSOR},
    {nki::isa::Engine::kVector, common::v1::ENGINE_VECTOR},
    {nki::isa::Engine::kScalar, common::v1::ENGINE_SCALAR},
    {nki::isa::Engine::kGpSimd, common::v1::ENGINE_GPSIMD},
    {nki::isa::Engine::kSync, common::v1::ENGINE_SYNC},
    {nki::isa::Engine::kDma, common::v1::ENGINE_DMA},
};

// The model counts in double; a program of absurd trip counts has more bytes than an int64 holds.
int64_t Bytes(double bytes) {
  constexpr double kMost = 9.2e18;
  return static_cast<int64_t>(std::min(bytes, kMost));
}

void AddTraffic(common::v1::Memory memory, double read, double written, common::v1::LatencyEstimate& proto) {
  if (read <= 0 && written <= 0) return;
  common::v1::MemoryTraffic& traffic = *proto.add_traffic();
  traffic.set_memory(memory);
  traffic.set_bytes_read(Bytes(read));
  traffic.set_bytes_written(Bytes(written));
}

}  // namespace

common::v1::Diagnostic ToProto(const nki::Diagnostic& diagnostic) {
  common::v1::Diagnostic proto;
  proto.set_severity(ToProto(diagnostic.severity));
  // Names of tensors come from the kernel, so the texts may hold anything.
  proto.set_rule(CleanText(diagnostic.rule, kMaxTextBytes));
  proto.set_message(CleanText(diagnostic.message, kMaxTextBytes));
  proto.set_line(diagnostic.line);
  proto.set_column(diagnostic.column);
  proto.set_limit(CleanText(diagnostic.limit, kMaxTextBytes));
  proto.set_actual(CleanText(diagnostic.actual, kMaxTextBytes));
  proto.set_hint(CleanText(diagnostic.hint, kMaxTextBytes));
  return proto;
}

common::v1::TensorSpec ToProto(const nki::ir::Tensor& tensor) {
  common::v1::TensorSpec proto;
  proto.set_name(CleanText(tensor.name, kMaxTextBytes));
  proto.set_dtype(FromIsa(tensor.dtype));
  proto.mutable_dims()->Add(tensor.shape.begin(), tensor.shape.end());
  return proto;
}

std::vector<common::v1::Diagnostic> CheckProgram(const nki::ir::Program& program) {
  std::vector<common::v1::Diagnostic> findings;
  for (const nki::Diagnostic& diagnostic : nki::check::Check(program))
    findings.push_back(ToProto(diagnostic));
  return findings;
}

absl::StatusOr<common::v1::LatencyEstimate> EstimateProgram(const nki::ir::Program& program,
                                                            absl::string_view source) {
  const absl::StatusOr<nki::timing::Estimate> estimate = nki::timing::EstimateLatency(program);
  if (!estimate.ok()) {
    return absl::InternalError(absl::StrCat("the timing model failed: ", estimate.status().message()));
  }
  common::v1::LatencyEstimate proto;
  proto.set_total_us(estimate->latency_us);
  for (const auto& [own, engine] : kEngines) {
    const double busy_us = estimate->busy_us[static_cast<size_t>(own)];
    if (busy_us <= 0) continue;
    common::v1::EngineTime& time = *proto.add_engines();
    time.set_engine(engine);
    time.set_busy_us(busy_us);
    time.set_instructions(estimate->executed[static_cast<size_t>(own)]);
  }
  AddTraffic(common::v1::MEMORY_HBM, estimate->hbm_read_bytes, estimate->hbm_written_bytes, proto);
  AddTraffic(common::v1::MEMORY_SBUF, estimate->sbuf_read_bytes, estimate->sbuf_written_bytes, proto);
  AddTraffic(common::v1::MEMORY_PSUM, estimate->psum_read_bytes, estimate->psum_written_bytes, proto);
  proto.set_spill_bytes(Bytes(estimate->spill_bytes));
  proto.set_sbuf_peak_bytes(Bytes(estimate->sbuf_peak_bytes));
  proto.set_psum_peak_bytes(Bytes(estimate->psum_peak_bytes));
  proto.set_flops(estimate->flops);
  proto.set_arithmetic_intensity(estimate->arithmetic_intensity);
  proto.set_roofline_us(estimate->roofline_us);
  SetBound(estimate->bound, proto);
  const SourceLines lines(source);
  for (const nki::timing::LineCost& cost : estimate->lines) {
    common::v1::LineCost& line = *proto.add_costly_lines();
    line.set_line(cost.line);
    line.set_source_line(lines.Line(cost.line));
    for (const auto& [own, engine] : kEngines) {
      if (own == cost.engine) line.set_engine(engine);
    }
    line.set_busy_us(cost.busy_us);
    line.set_instructions(cost.instructions);
  }
  proto.set_hardware(CleanText(program.target, kMaxTextBytes));
  return proto;
}

absl::StatusOr<std::string> TimelineOf(const nki::ir::Program& program, absl::string_view source,
                                       int max_slices) {
  nki::timing::TraceOptions options;
  if (max_slices > 0) options.max_slices = static_cast<size_t>(max_slices);
  absl::StatusOr<std::string> trace = nki::timing::TraceJson(program, source, options);
  if (!trace.ok())
    return absl::InternalError(absl::StrCat("the timing model failed: ", trace.status().message()));
  return trace;
}

SourceLines::SourceLines(absl::string_view source) : lines_(absl::StrSplit(source, '\n')) {}

std::string SourceLines::Line(int32_t line) const {
  if (line < 1 || static_cast<size_t>(line) > lines_.size()) return "";
  absl::string_view text = lines_[static_cast<size_t>(line) - 1];
  if (!text.empty() && text.back() == '\r') text.remove_suffix(1);
  return CleanText(text, kMaxLineBytes);
}

}  // namespace nkiagent::contract
