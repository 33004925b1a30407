// Python's door to common/sandbox: `connect` and `serve` for the mains of warm parents, `WarmParent` for
// tests and tools.
#include <pybind11/pybind11.h>
#include <pybind11/stl.h>
#include <unistd.h>

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "common/sandbox/parent_server.h"
#include "common/sandbox/warm_parent.h"

namespace py = pybind11;

namespace nkiagent::sandbox {
namespace {

void ThrowIfError(const absl::Status& status) {
  if (!status.ok()) {
    throw std::runtime_error(status.ToString());
  }
}

// The traceback of a Python exception as text, or its type and value if that fails too.
std::string Describe(py::error_already_set& error) {
  try {
    py::object format = py::module_::import("traceback").attr("format_exception");
    py::list lines = format(error.type(), error.value(), error.trace());
    std::string text;
    for (py::handle line : lines) {
      text += py::cast<std::string>(line);
    }
    return text;
  } catch (const std::exception&) {
    return error.what();
  }
}

// Whatever Python still buffers belongs to the child's output.
void FlushOutput() {
  for (const char* name : {"stdout", "stderr"}) {
    try {
      py::object stream = py::module_::import("sys").attr(name);
      if (!stream.is_none()) {
        stream.attr("flush")();
      }
    } catch (const std::exception&) {
      // The request's own code may have closed or replaced it.
    }
  }
}

HandlerResult CallHandler(const py::function& handler, absl::string_view payload, absl::Span<const int> fds) {
  HandlerResult result;
  try {
    py::object reply =
        handler(py::bytes(payload.data(), payload.size()), std::vector<int>(fds.begin(), fds.end()));
    result = {ReplyState::kOk, py::cast<std::string>(py::bytes(reply))};
  } catch (py::error_already_set& error) {
    if (error.matches(PyExc_MemoryError)) {
      result = {ReplyState::kMemory, ""};
    } else {
      result = {ReplyState::kException, Describe(error)};
    }
  }
  FlushOutput();
  return result;
}

void Serve(ParentServer& server, const py::function& handler, const py::object& prepare) {
  ForkHooks hooks;
  hooks.before = PyOS_BeforeFork;
  hooks.after_in_parent = PyOS_AfterFork_Parent;
  hooks.after_in_child = PyOS_AfterFork_Child;
  const Preparation preparation = [&prepare] {
    if (!prepare.is_none()) {
      prepare();
    }
  };
  ThrowIfError(
      server.Serve([&handler](absl::string_view payload,
                              absl::Span<const int> fds) { return CallHandler(handler, payload, fds); },
                   preparation, hooks));
}

py::dict ToDict(const Outcome& outcome) {
  py::dict result;
  result["kind"] = std::string(OutcomeKindName(outcome.kind));
  result["detail"] = outcome.detail;
  result["reply"] = py::bytes(outcome.reply);
  result["signal"] = outcome.signal;
  result["exit_code"] = outcome.exit_code;
  result["output"] = py::bytes(outcome.output);
  result["output_bytes"] = outcome.output_bytes;
  result["wall_ms"] = absl::ToDoubleMilliseconds(outcome.wall_time);
  result["cpu_ms"] = absl::ToDoubleMilliseconds(outcome.cpu_time);
  result["peak_memory_bytes"] = outcome.peak_memory_bytes;
  return result;
}

std::unique_ptr<WarmParent> StartParent(std::string name, std::vector<std::string> argv,
                                        std::vector<std::string> environment,
                                        const std::string& maximum_level, uint32_t ready_children) {
  WarmParentOptions options;
  options.name = std::move(name);
  options.argv = std::move(argv);
  options.environment = std::move(environment);
  options.minimum_level = Level::kRlimits;
  absl::StatusOr<Level> level = ParseLevel(maximum_level);
  ThrowIfError(level.status());
  options.maximum_level = *level;
  options.ready_children = ready_children;
  py::gil_scoped_release release;
  absl::StatusOr<std::unique_ptr<WarmParent>> parent = WarmParent::Start(std::move(options));
  ThrowIfError(parent.status());
  return *std::move(parent);
}

py::dict Run(WarmParent& parent, const std::string& payload, std::vector<int> fds, double wall_limit_s,
             uint64_t cpu_seconds, uint64_t address_space_bytes, uint64_t file_size_bytes) {
  Request request;
  request.payload = payload;
  request.fds = std::move(fds);
  request.wall_limit = absl::Seconds(wall_limit_s);
  request.limits.cpu_seconds = cpu_seconds;
  request.limits.address_space_bytes = address_space_bytes;
  request.limits.file_size_bytes = file_size_bytes;
  absl::StatusOr<Outcome> outcome;
  {
    py::gil_scoped_release release;
    outcome = parent.Run(request, absl::Now() + absl::Seconds(wall_limit_s + 30));
  }
  ThrowIfError(outcome.status());
  return ToDict(*outcome);
}

}  // namespace

PYBIND11_MODULE(nki_sandbox, module) {
  module.doc() = "Warm parents that fork one confined child for each request; see common/sandbox/README.md.";

  py::class_<ParentServer>(module, "ParentServer")
      .def_property_readonly("level", [](const ParentServer& s) { return std::string(LevelName(s.level())); })
      .def(
          "serve", &Serve, py::arg("handler"), py::arg("prepare") = py::none(),
          "Forks a child for each request, in which `handler(payload: bytes, fds: list[int]) -> bytes` runs, "
          "after `prepare()`, which runs before the request is known. Returns when the service has gone. "
          "Every "
          "import must have happened and no thread may run.");
  module.def(
      "connect",
      [](const std::string& policy, std::vector<std::string> readonly_paths) {
        ParentOptions options;
        absl::StatusOr<Policy> parsed = ParsePolicy(policy);
        ThrowIfError(parsed.status());
        options.policy = *parsed;
        options.readonly_paths = std::move(readonly_paths);
        absl::StatusOr<std::unique_ptr<ParentServer>> server = ParentServer::Connect(options);
        ThrowIfError(server.status());
        return *std::move(server);
      },
      py::arg("policy"), py::arg("readonly_paths"),
      "Takes the service's greeting and enters the jail. `policy` is 'native', 'python' or 'torch'; "
      "`readonly_paths` are "
      "the folders that imports need beside the system's.");

  py::class_<WarmParent>(module, "WarmParent", "The service's side, for tests and tools.")
      .def(py::init(&StartParent), py::arg("name"), py::arg("argv"), py::arg("environment"),
           py::arg("maximum_level") = "namespaces", py::arg("ready_children") = 2)
      .def(
          "run", &Run, py::arg("payload"), py::arg("fds") = std::vector<int>(),
          py::arg("wall_limit_s") = 10.0, py::arg("cpu_seconds") = 60,
          py::arg("address_space_bytes") = uint64_t{4} << 30, py::arg("file_size_bytes") = uint64_t{64} << 20,
          "Runs one request; returns the outcome as a dict. Raises RuntimeError when no answer could be had.")
      .def_property_readonly("level",
                             [](const WarmParent& p) { return std::string(LevelName(p.Health().level)); })
      .def_property_readonly("pid", [](const WarmParent& p) { return p.Health().pid; });
}

}  // namespace nkiagent::sandbox
