// nki_exec_bench [repetitions] [threads]: times hand-built programs and prints one JSON object. Each result
// is checked against a direct computation first; a wrong one ends the run with status 1.
#include <time.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "common/nki/exec/bench/bench_programs.h"
#include "common/nki/exec/execute.h"
#include "common/nki/exec/kernels.h"

namespace nkiagent::nki::exec {
namespace {

struct Case {
  std::string name;
  ir::Program program;
  std::vector<std::vector<float>> inputs;
  std::vector<float> output;
  // The largest error of a few sampled elements.
  std::function<double(const Case&)> error;
};

std::vector<float> Random(size_t n, uint32_t seed) {
  std::vector<float> v(n);
  uint32_t state = seed;
  for (float& f : v) {
    state = state * 1664525u + 1013904223u;
    f = static_cast<float>(state >> 8) * 0x1p-24f - 0.5f;
  }
  return v;
}

Case Make(std::string name, ir::Program program, std::function<double(const Case&)> error) {
  Case c;
  c.name = std::move(name);
  for (const ir::TensorId id : program.inputs) {
    const int64_t n = program.tensors[static_cast<size_t>(id)].ElementCount();
    c.inputs.push_back(Random(static_cast<size_t>(n), static_cast<uint32_t>(id) + 1));
  }
  c.output.resize(
      static_cast<size_t>(program.tensors[static_cast<size_t>(program.outputs[0])].ElementCount()));
  c.program = std::move(program);
  c.error = std::move(error);
  return c;
}

// Processor time of all threads so far, in milliseconds: what a crowded machine disturbs least.
double CpuMs() {
  timespec t{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) * 1e-6;
}

absl::StatusOr<ExecReport> RunOnce(Case& c, int threads) {
  std::vector<InputView> inputs;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const ir::Tensor& t = c.program.tensors[static_cast<size_t>(c.program.inputs[i])];
    inputs.push_back({absl::MakeConstSpan(reinterpret_cast<const std::byte*>(c.inputs[i].data()),
                                          c.inputs[i].size() * sizeof(float)),
                      t.dtype, t.shape});
  }
  const ir::Tensor& t = c.program.tensors[static_cast<size_t>(c.program.outputs[0])];
  const OutputView output{
      absl::MakeSpan(reinterpret_cast<std::byte*>(c.output.data()), c.output.size() * sizeof(float)), t.dtype,
      t.shape};
  ExecOptions options;
  options.threads = threads;
  return Execute(c.program, inputs, {output}, options);
}

double MatmulError(const Case& c, size_t m, size_t k, size_t n) {
  double worst = 0;
  for (size_t s = 0; s < 64; ++s) {
    const size_t i = s * 131 % m, j = s * 577 % n;
    double want = 0;
    for (size_t l = 0; l < k; ++l)
      want += static_cast<double>(c.inputs[0][l * m + i]) * c.inputs[1][l * n + j];
    worst = std::max(worst, std::fabs(want - c.output[i * n + j]));
  }
  return worst;
}

double SoftmaxError(const Case& c, size_t rows, size_t columns) {
  double worst = 0;
  for (size_t s = 0; s < 16; ++s) {
    const float* x = c.inputs[0].data() + s * 97 % rows * columns;
    const float* y = c.output.data() + s * 97 % rows * columns;
    double sum = 0;
    for (size_t j = 0; j < columns; ++j) sum += std::exp(static_cast<double>(x[j]));
    for (size_t j = 0; j < columns; ++j)
      worst = std::max(worst, std::fabs(std::exp(static_cast<double>(x[j])) / sum - y[j]));
  }
  return worst;
}

double AddError(const Case& c) {
  double worst = 0;
  for (size_t i = 0; i < c.output.size(); i += 997) {
    worst = std::max(worst, std::fabs(static_cast<double>(c.inputs[0][i]) + c.inputs[1][i] - c.output[i]));
  }
  return worst;
}

int Main(int argc, char** argv) {
  const int repetitions = argc > 1 ? std::max(1, std::atoi(argv[1])) : 10;
  const int threads = argc > 2 ? std::max(1, std::atoi(argv[2])) : 2;
  std::vector<Case> cases;
  cases.push_back(Make("matmul_1024x1024x1024", MatmulProgram(1024, 1024, 1024),
                       [](const Case& c) { return MatmulError(c, 1024, 1024, 1024); }));
  cases.push_back(Make("softmax_4096x1024", SoftmaxProgram(4096, 1024),
                       [](const Case& c) { return SoftmaxError(c, 4096, 1024); }));
  cases.push_back(Make("add_4096x1024", AddProgram(4096, 1024), AddError));
  std::printf("{\"threads\": %d, \"kernels\": \"%s\", \"cases\": [", threads, BestKernels().name);
  for (size_t i = 0; i < cases.size(); ++i) {
    Case& c = cases[i];
    std::vector<double> times;
    double cpu = 1e300;
    int64_t instructions = 0, peak = 0;
    for (int r = 0; r <= repetitions; ++r) {
      const double cpu_start = CpuMs();
      const absl::Time start = absl::Now();
      const absl::StatusOr<ExecReport> report = RunOnce(c, threads);
      const double ms = absl::ToDoubleMilliseconds(absl::Now() - start);
      if (!report.ok() || !report->completed) {
        std::fprintf(stderr, "%s: %s\n", c.name.c_str(), report.status().ToString().c_str());
        return 1;
      }
      instructions = report->instructions;
      peak = report->peak_bytes;
      if (r > 0) cpu = std::min(cpu, CpuMs() - cpu_start);
      if (r > 0) times.push_back(ms);  // the first run pays for page faults
    }
    if (const double error = c.error(c); !(error < 1e-4)) {
      std::fprintf(stderr, "%s: error %g\n", c.name.c_str(), error);
      return 1;
    }
    std::sort(times.begin(), times.end());
    std::printf(
        "%s{\"name\": \"%s\", \"median_ms\": %.4f, \"min_ms\": %.4f, \"min_cpu_ms\": %.4f, \"instructions\": "
        "%lld, \"peak_bytes\": "
        "%lld}",
        i == 0 ? "" : ", ", c.name.c_str(), times[times.size() / 2], times.front(), cpu,
        static_cast<long long>(instructions), static_cast<long long>(peak));
  }
  std::printf("]}\n");
  return 0;
}

}  // namespace
}  // namespace nkiagent::nki::exec

int main(int argc, char** argv) { return nkiagent::nki::exec::Main(argc, argv); }
