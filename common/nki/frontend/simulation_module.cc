// The extension module `_nki_exec`: execution, whole-program rules and the timing model for kernels that run
// in the caller's own process (nki.simulate_kernel, tests). The services do not load it: there, programs and
// data never meet in a Python process.
#include <pybind11/pybind11.h>

#include <cstddef>
#include <string>
#include <vector>

#include "common/nki/check/check.h"
#include "common/nki/diagnostic.h"
#include "common/nki/exec/execute.h"
#include "common/nki/frontend/diagnostics_to_python.h"
#include "common/nki/ir/serialize.h"
#include "common/nki/timing/timing.h"
#include "common/nki/timing/trace.h"

namespace nkiagent::nki::frontend {
namespace {

namespace py = pybind11;

ir::Program ParseOrThrow(const py::bytes& bytes) {
  absl::StatusOr<ir::Program> program = ir::Parse(std::string(bytes));
  if (!program.ok()) throw py::value_error(std::string(program.status().message()));
  return *std::move(program);
}

py::list CheckProgram(const py::bytes& bytes) {
  const ir::Program program = ParseOrThrow(bytes);
  std::vector<Diagnostic> found;
  {
    py::gil_scoped_release release;
    found = check::Check(program);
  }
  return ToPython(found);
}

// Keeps the buffers of a list of flat uint8 arrays alive while their views are used.
std::vector<py::buffer_info> Buffers(const py::list& arrays, size_t expected, bool writable) {
  if (arrays.size() != expected) throw py::value_error("wrong number of arrays");
  std::vector<py::buffer_info> out;
  for (const py::handle a : arrays) out.push_back(py::cast<py::buffer>(a).request(writable));
  return out;
}

py::dict Execute(const py::bytes& bytes, const py::list& inputs, const py::list& outputs, int threads,
                 uint64_t seed) {
  const ir::Program program = ParseOrThrow(bytes);
  const std::vector<py::buffer_info> in = Buffers(inputs, program.inputs.size(), false);
  const std::vector<py::buffer_info> out = Buffers(outputs, program.outputs.size(), true);
  std::vector<exec::InputView> in_views;
  for (size_t i = 0; i < in.size(); ++i) {
    const ir::Tensor& t = program.tensors[static_cast<size_t>(program.inputs[i])];
    in_views.push_back({absl::MakeConstSpan(static_cast<const std::byte*>(in[i].ptr),
                                            static_cast<size_t>(in[i].size * in[i].itemsize)),
                        t.dtype, t.shape});
  }
  std::vector<exec::OutputView> out_views;
  for (size_t i = 0; i < out.size(); ++i) {
    const ir::Tensor& t = program.tensors[static_cast<size_t>(program.outputs[i])];
    out_views.push_back({absl::MakeSpan(static_cast<std::byte*>(out[i].ptr),
                                        static_cast<size_t>(out[i].size * out[i].itemsize)),
                         t.dtype, t.shape});
  }
  exec::ExecOptions options;
  options.threads = threads;
  options.seed = seed;
  absl::StatusOr<exec::ExecReport> report = absl::UnknownError("");
  {
    py::gil_scoped_release release;
    report = exec::Execute(program, in_views, out_views, options);
  }
  if (!report.ok()) throw py::value_error(report.status().ToString());
  py::dict result;
  result["completed"] = report->completed;
  result["fault_element"] = report->fault_element;
  result["fault_elements"] = report->fault_elements;
  result["instructions"] = report->instructions;
  result["peak_bytes"] = report->peak_bytes;
  py::list unwritten;
  for (const exec::OutputReport& o : report->outputs) unwritten.append(o.unwritten_elements);
  result["unwritten"] = unwritten;
  result["diagnostics"] = ToPython(report->diagnostics);
  return result;
}

// The timing model's answer, in microseconds.
py::dict Estimate(const py::bytes& bytes) {
  const ir::Program program = ParseOrThrow(bytes);
  absl::StatusOr<timing::Estimate> estimate = absl::UnknownError("");
  {
    py::gil_scoped_release release;
    estimate = timing::EstimateLatency(program);
  }
  if (!estimate.ok()) throw py::value_error(std::string(estimate.status().message()));
  py::dict result;
  result["latency_us"] = estimate->latency_us;
  result["roofline_us"] = estimate->roofline_us;
  result["bound"] = std::string(timing::Name(estimate->bound));
  return result;
}

// The timeline as JSON of the Trace Event Format.
std::string Timeline(const py::bytes& bytes) {
  const ir::Program program = ParseOrThrow(bytes);
  absl::StatusOr<std::string> trace = absl::UnknownError("");
  {
    py::gil_scoped_release release;
    trace = timing::TraceJson(program, "");
  }
  if (!trace.ok()) throw py::value_error(std::string(trace.status().message()));
  return *std::move(trace);
}

}  // namespace

PYBIND11_MODULE(_nki_exec, m) {
  m.doc() = "Checks, executes and times programs in this process.";
  m.def("check", &CheckProgram, py::arg("program"));
  m.def("execute", &Execute, py::arg("program"), py::arg("inputs"), py::arg("outputs"),
        py::arg("threads") = 2, py::arg("seed") = 0);
  m.def("estimate", &Estimate, py::arg("program"));
  m.def("timeline", &Timeline, py::arg("program"));
}

}  // namespace nkiagent::nki::frontend
