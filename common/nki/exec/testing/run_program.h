// Runs a program on tensors given as vectors, for tests.
#ifndef NKIAGENT_COMMON_NKI_EXEC_TESTING_RUN_PROGRAM_H_
#define NKIAGENT_COMMON_NKI_EXEC_TESTING_RUN_PROGRAM_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "absl/status/statusor.h"
#include "common/nki/exec/execute.h"
#include "common/nki/exec/machine.h"
#include "common/nki/ir/program.h"

namespace nkiagent::nki::exec::testing {

// A tensor's elements, row-major.
class HostTensor {
 public:
  HostTensor() = default;
  HostTensor(isa::DType dtype, std::vector<int64_t> shape);
  // Rounded to the dtype.
  static HostTensor Of(isa::DType dtype, std::vector<int64_t> shape, const std::vector<float>& values);
  // Reproducible values: floats in [low, high), integers rounded.
  static HostTensor Random(isa::DType dtype, std::vector<int64_t> shape, uint64_t seed, float low = -2.0f,
                           float high = 2.0f);

  std::vector<float> Floats() const;
  absl::Span<std::byte> bytes() { return {storage_.data(), byte_count_}; }
  absl::Span<const std::byte> bytes() const { return {storage_.data(), byte_count_}; }
  isa::DType dtype() const { return dtype_; }
  const std::vector<int64_t>& shape() const { return shape_; }
  int64_t elements() const;

 private:
  isa::DType dtype_ = isa::DType::kFloat32;
  std::vector<int64_t> shape_;
  size_t byte_count_ = 0;
  std::vector<std::byte> storage_;
};

struct RunResult {
  std::vector<HostTensor> outputs;
  ExecReport report;
};

absl::StatusOr<RunResult> RunProgram(const ir::Program& program, const std::vector<HostTensor>& inputs,
                                     const ExecOptions& options = {}, Mode mode = Mode::kFast);

}  // namespace nkiagent::nki::exec::testing

#endif  // NKIAGENT_COMMON_NKI_EXEC_TESTING_RUN_PROGRAM_H_
