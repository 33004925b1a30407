#include "common/nki/exec/testing/run_program.h"

#include <utility>

#include "common/nki/exec/dtype_convert.h"
#include "common/nki/exec/scalar_math.h"

namespace nkiagent::nki::exec::testing {

HostTensor::HostTensor(isa::DType dtype, std::vector<int64_t> shape)
    : dtype_(dtype), shape_(std::move(shape)) {
  byte_count_ = static_cast<size_t>(elements()) * static_cast<size_t>(isa::SizeOf(dtype));
  storage_.resize(byte_count_);
}

HostTensor HostTensor::Of(isa::DType dtype, std::vector<int64_t> shape, const std::vector<float>& values) {
  HostTensor t(dtype, std::move(shape));
  const auto size = static_cast<size_t>(isa::SizeOf(dtype));
  for (size_t i = 0; i < values.size(); ++i) StoreFloat(dtype, t.storage_.data() + i * size, values[i]);
  return t;
}

HostTensor HostTensor::Random(isa::DType dtype, std::vector<int64_t> shape, uint64_t seed, float low,
                              float high) {
  HostTensor t(dtype, std::move(shape));
  const auto size = static_cast<size_t>(isa::SizeOf(dtype));
  for (size_t i = 0; i < static_cast<size_t>(t.elements()); ++i) {
    StoreFloat(dtype, t.storage_.data() + i * size, low + (high - low) * UniformAt(seed, i));
  }
  return t;
}

std::vector<float> HostTensor::Floats() const {
  std::vector<float> out;
  const auto size = static_cast<size_t>(isa::SizeOf(dtype_));
  for (size_t i = 0; i < static_cast<size_t>(elements()); ++i) {
    out.push_back(LoadFloat(dtype_, storage_.data() + i * size));
  }
  return out;
}

int64_t HostTensor::elements() const {
  int64_t n = 1;
  for (const int64_t s : shape_) n *= s;
  return n;
}

absl::StatusOr<RunResult> RunProgram(const ir::Program& program, const std::vector<HostTensor>& inputs,
                                     const ExecOptions& options, Mode mode) {
  RunResult result;
  std::vector<InputView> input_views;
  for (const HostTensor& t : inputs) input_views.push_back({t.bytes(), t.dtype(), t.shape()});
  for (const ir::TensorId id : program.outputs) {
    const ir::Tensor& t = program.tensors[static_cast<size_t>(id)];
    result.outputs.emplace_back(t.dtype, t.shape);
  }
  std::vector<OutputView> output_views;
  for (HostTensor& t : result.outputs) output_views.push_back({t.bytes(), t.dtype(), t.shape()});
  absl::StatusOr<ExecReport> report = ExecuteAs(mode, program, input_views, output_views, options);
  if (!report.ok()) return report.status();
  result.report = *std::move(report);
  return result;
}

}  // namespace nkiagent::nki::exec::testing
