// nkictl profile: what one kernel costs on the hardware, by the timing model, with the engine timeline as a
// file.
#include "services/nkictl/profile.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "absl/time/clock.h"
#include "common/rpc/channel.h"
#include "common/rpc/context.h"
#include "common/rpc/status.h"
#include "nkiagent/compile/v1/compile_service.grpc.pb.h"
#include "nkiagent/verify/v1/verify_service.grpc.pb.h"
#include "services/nkictl/client.h"
#include "services/nkictl/commands.h"
#include "services/nkictl/connection.h"
#include "services/nkictl/text.h"
#include "services/nkictl/whole_file.h"
#include "services/orchestrator/tool_results.h"

namespace nkiagent::nkictl {
namespace {

using common::v1::LatencyEstimate;

struct ProfileFlags {
  std::string file;                    // the kernel's Python
  std::string entry;                   // its @nki.jit function; empty: nki_kernel
  std::vector<std::string> arguments;  // ParseArgument
  std::string task;                    // a KernelBench-style file that says the arguments instead
  std::vector<std::string> constants;  // NAME=LITERAL
  std::vector<int> grid;
  std::string trace;  // where the timeline goes; empty: nowhere
  int max_slices = 0;
  std::string compile_server;  // empty: local services
  std::string verify_server;   // for `task`
};

// Deadlines of the calls, as the contract suggests.
constexpr absl::Duration kCompileTimeout = absl::Seconds(120);
constexpr absl::Duration kDescribeTimeout = absl::Seconds(60);

constexpr const char* kArgumentForm = "; an argument is written float32[128,512] or x:bfloat16[64]";

// Where the two services are, and the local ones if they are ours.
struct Backends {
  std::unique_ptr<LocalCluster> cluster;
  std::shared_ptr<grpc::Channel> compile;
  std::shared_ptr<grpc::Channel> verify;
};

absl::StatusOr<std::shared_ptr<grpc::Channel>> ChannelTo(const Environment& environment, std::string target) {
  rpc::ChannelOptions options = environment.server;
  options.target = std::move(target);
  return rpc::CreateChannel(options);
}

absl::StatusOr<Backends> Connect(const Environment& environment, const ProfileFlags& flags) {
  Backends backends;
  std::string compile = flags.compile_server, verify = flags.verify_server;
  const bool local_compile = compile.empty(), local_verify = verify.empty() && !flags.task.empty();
  if (local_compile || local_verify) {
    ClusterOptions options = environment.cluster;
    options.enabled = {local_compile, local_verify, false, false};
    absl::StatusOr<std::unique_ptr<LocalCluster>> cluster =
        LocalCluster::Start(options, environment.interrupt->token());
    if (!cluster.ok()) return cluster.status();
    backends.cluster = *std::move(cluster);
    if (local_compile) compile = backends.cluster->target(Service::kCompile);
    if (local_verify) verify = backends.cluster->target(Service::kVerify);
  }
  absl::StatusOr<std::shared_ptr<grpc::Channel>> channel = ChannelTo(environment, compile);
  if (!channel.ok()) return channel.status();
  backends.compile = *std::move(channel);
  if (!flags.task.empty()) {
    channel = ChannelTo(environment, verify);
    if (!channel.ok()) return channel.status();
    backends.verify = *std::move(channel);
  }
  return backends;
}

// The kernel's arguments as the task's module has them.
absl::Status AddTaskArguments(const Environment& environment, const ProfileFlags& flags, Backends& backends,
                              compile::v1::CompileRequest& request) {
  absl::StatusOr<common::v1::Task> task = ReadTaskFile(flags.task);
  if (!task.ok()) return task.status();
  verify::v1::DescribeTaskRequest describe;
  *describe.mutable_task() = *std::move(task);
  verify::v1::DescribeTaskResponse response;
  rpc::ClientCall call(rpc::CallContext("", absl::Now() + kDescribeTimeout, environment.interrupt->token()));
  const absl::Status status = rpc::FromGrpcStatus(
      verify::v1::VerifyService::NewStub(backends.verify)->DescribeTask(call.context(), describe, &response));
  if (!status.ok()) return status;
  if (response.has_problem()) {
    return absl::InvalidArgumentError(absl::StrCat(flags.task, ": ", response.problem().message()));
  }
  *request.mutable_arguments() = response.facts().arguments();
  return absl::OkStatus();
}

absl::StatusOr<compile::v1::CompileRequest> MakeCompileRequest(const ProfileFlags& flags) {
  compile::v1::CompileRequest request;
  // The same limits as for a task's file.
  absl::StatusOr<common::v1::Task> file = ReadTaskFile(flags.file);
  if (!file.ok()) return file.status();
  request.mutable_kernel()->set_source(file->reference_source());
  request.mutable_kernel()->set_entry_name(flags.entry);
  for (const int extent : flags.grid) request.mutable_kernel()->add_grid_dims(extent);
  for (size_t i = 0; i < flags.arguments.size(); ++i) {
    absl::StatusOr<common::v1::TensorSpec> spec = ParseArgument(flags.arguments[i], static_cast<int>(i));
    if (!spec.ok()) return spec.status();
    *request.add_arguments() = *std::move(spec);
  }
  for (const std::string& text : flags.constants) {
    const std::pair<std::string, std::string> parts = absl::StrSplit(text, absl::MaxSplits('=', 1));
    if (parts.first.empty() || parts.second.empty()) {
      return absl::InvalidArgumentError(absl::StrCat("constant \"", text, "\" is not NAME=LITERAL"));
    }
    common::v1::KernelConstant& constant = *request.add_constants();
    constant.set_name(parts.first);
    constant.set_literal(parts.second);
  }
  request.set_include_timeline(!flags.trace.empty());
  request.set_timeline_max_slices(flags.max_slices);
  return request;
}

absl::StatusOr<compile::v1::CompileResponse> Compile(const Environment& environment,
                                                     const ProfileFlags& flags) {
  absl::StatusOr<compile::v1::CompileRequest> request = MakeCompileRequest(flags);
  if (!request.ok()) return request.status();
  absl::StatusOr<Backends> backends = Connect(environment, flags);
  if (!backends.ok()) return backends.status();
  if (!flags.task.empty()) {
    const absl::Status described = AddTaskArguments(environment, flags, *backends, *request);
    if (!described.ok()) return described;
  }
  compile::v1::CompileResponse response;
  rpc::ClientCall call(rpc::CallContext("", absl::Now() + kCompileTimeout, environment.interrupt->token()));
  const absl::Status status = rpc::FromGrpcStatus(
      compile::v1::CompileService::NewStub(backends->compile)->Compile(call.context(), *request, &response));
  if (!status.ok()) return status;
  return response;
}

std::string Percent(double part) { return absl::StrFormat("%.0f %%", 100 * part); }

std::string BytesText(double bytes) {
  constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  size_t unit = 0;
  while (bytes >= 1024 && unit + 1 < std::size(kUnits)) {
    bytes /= 1024;
    ++unit;
  }
  return absl::StrFormat(unit == 0 ? "%.0f %s" : "%.1f %s", bytes, kUnits[unit]);
}

std::string BoundText(const LatencyEstimate& e) {
  switch (e.binding_resource()) {
    case common::v1::BINDING_RESOURCE_ENGINE:
      return absl::StrCat("the ", orchestrator::EngineName(e.binding_engine()), " engine");
    case common::v1::BINDING_RESOURCE_HBM_BANDWIDTH:
      return "HBM bandwidth";
    case common::v1::BINDING_RESOURCE_LATENCY:
      return "latency: dependent instructions, no engine is busy half of the time";
    default:
      return "-";
  }
}

std::string MemoryName(common::v1::Memory memory) {
  return absl::AsciiStrToUpper(EnumText(common::v1::Memory_Name(memory), "MEMORY_"));
}

}  // namespace

absl::StatusOr<common::v1::TensorSpec> ParseArgument(const std::string& text, int position) {
  const auto wrong = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("argument \"", text, "\": ", why, kArgumentForm));
  };
  absl::string_view rest = absl::StripAsciiWhitespace(text);
  common::v1::TensorSpec spec;
  spec.set_name(absl::StrCat("arg", position));
  if (const size_t colon = rest.find(':'); colon != absl::string_view::npos) {
    spec.set_name(std::string(absl::StripAsciiWhitespace(rest.substr(0, colon))));
    rest.remove_prefix(colon + 1);
  }
  const size_t open = rest.find('[');
  if (open == absl::string_view::npos || !absl::ConsumeSuffix(&rest, "]")) return wrong("no [shape]");
  const std::string dtype(absl::StripAsciiWhitespace(rest.substr(0, open)));
  common::v1::DataType type;
  const std::string name = dtype == "bool_" ? "BOOL" : absl::AsciiStrToUpper(dtype);
  if (dtype.empty() || !common::v1::DataType_Parse(absl::StrCat("DATA_TYPE_", name), &type) ||
      type == common::v1::DATA_TYPE_UNSPECIFIED) {
    return wrong(absl::StrCat("no type is named \"", dtype, "\""));
  }
  spec.set_dtype(type);
  for (const absl::string_view extent : absl::StrSplit(rest.substr(open + 1), ',', absl::SkipWhitespace())) {
    int64_t size = 0;
    if (!absl::SimpleAtoi(extent, &size) || size < 1) return wrong("an extent is not a positive number");
    spec.add_dims(size);
  }
  if (spec.dims_size() == 0) return wrong("no extents");
  return spec;
}

std::string DescribeProfile(const compile::v1::CompileResult& result) {
  const LatencyEstimate& e = result.estimate();
  const auto specs = [](const auto& list) {
    return absl::StrJoin(list, ", ", [](std::string* out, const common::v1::TensorSpec& spec) {
      absl::StrAppend(out, spec.name(), " ", orchestrator::TypeAndShape(spec));
    });
  };
  double hbm = 0;
  for (const common::v1::MemoryTraffic& t : e.traffic()) {
    if (t.memory() == common::v1::MEMORY_HBM) {
      hbm = static_cast<double>(t.bytes_read()) + static_cast<double>(t.bytes_written());
    }
  }
  const double us = std::max(e.total_us(), 1e-9);
  std::string text = Facts({
      {"kernel", absl::StrCat(specs(result.inputs()), " -> ", specs(result.outputs()))},
      {"latency", absl::StrCat(Microseconds(e.total_us()), " on ", e.hardware(),
                               e.measured() ? " (measured)" : " (estimated, without launch overhead)")},
      {"bound by", BoundText(e)},
      {"roofline",
       absl::StrCat(Microseconds(e.roofline_us()), ", ", Percent(e.roofline_us() / us), " of the latency")},
      {"FLOPs", absl::StrFormat("%.4g, %.3g TFLOP/s", e.flops(), e.flops() / us * 1e-6)},
      {"intensity", absl::StrFormat("%.4g FLOPs for each HBM byte; %s, %.3g GB/s", e.arithmetic_intensity(),
                                    BytesText(hbm), hbm / us * 1e-3)},
      {"on chip", absl::StrCat("at most ", BytesText(static_cast<double>(e.sbuf_peak_bytes())), " of SBUF, ",
                               BytesText(static_cast<double>(e.psum_peak_bytes())), " of PSUM; ",
                               BytesText(static_cast<double>(e.spill_bytes())), " spilled")},
  });
  std::vector<std::vector<std::string>> rows;
  for (const common::v1::EngineTime& t : e.engines()) {
    rows.push_back({orchestrator::EngineName(t.engine()), Microseconds(t.busy_us()),
                    Percent(t.busy_us() / us), absl::StrCat(t.instructions())});
  }
  absl::StrAppend(&text, "\n", Table({"engine", "busy", "share", "instructions"}, rows));
  rows.clear();
  for (const common::v1::MemoryTraffic& t : e.traffic()) {
    rows.push_back({MemoryName(t.memory()), BytesText(static_cast<double>(t.bytes_read())),
                    BytesText(static_cast<double>(t.bytes_written()))});
  }
  absl::StrAppend(&text, "\n", Table({"memory", "read", "written"}, rows));
  rows.clear();
  for (const common::v1::LineCost& line : e.costly_lines()) {
    rows.push_back({absl::StrCat(line.line()), Microseconds(line.busy_us()),
                    orchestrator::EngineName(line.engine()), absl::StrCat(line.instructions()),
                    std::string(absl::StripAsciiWhitespace(line.source_line()))});
  }
  absl::StrAppend(&text, "\n", Table({"line", "busy", "engine", "executed", "source"}, rows));
  for (const common::v1::Diagnostic& diagnostic : result.diagnostics()) {
    absl::StrAppend(&text, "\n", orchestrator::DescribeDiagnostic(diagnostic));
  }
  return text;
}

namespace {

// 0: the kernel compiles. 1: it does not (the findings are printed), or something failed.
int Profile(const Environment& environment, const ProfileFlags& flags) {
  absl::StatusOr<compile::v1::CompileResponse> response = Compile(environment, flags);
  if (!response.ok()) return Fail(environment, response.status());
  const compile::v1::CompileResult& result = response->result();
  const bool compiled = result.outcome() == compile::v1::COMPILE_OUTCOME_COMPILED;
  const bool trace = compiled && !flags.trace.empty();
  if (trace) {
    if (absl::Status written = WriteWhole(flags.trace, response->timeline()); !written.ok())
      return Fail(environment, written);
  }
  std::string text;
  if (environment.json) {
    nlohmann::json document = {{"result", JsonValue(result)}};
    if (trace) document["trace_file"] = flags.trace;
    text = absl::StrCat(document.dump(), "\n");
  } else if (compiled) {
    text = DescribeProfile(result);
    if (trace) absl::StrAppend(&text, "\ntimeline: ", flags.trace, " (open it in ui.perfetto.dev)\n");
  } else {
    text = orchestrator::DescribeCompile(result);
  }
  std::fputs(text.c_str(), stdout);
  return compiled ? kExitPass : kExitFail;
}

}  // namespace

void AddProfile(CLI::App* app, Verb* verb) {
  auto flags = std::make_shared<ProfileFlags>();
  CLI::App* profile = app->add_subcommand("profile", "Estimate what a kernel costs, without a device");
  profile->add_option("KERNEL", flags->file, "Python file with the @nki.jit function")->required();
  auto* arguments =
      profile
          ->add_option("-a,--arg", flags->arguments,
                       "Its tensor arguments in order, each as float32[128,512] or x:bfloat16[64]")
          ->allow_extra_args(false)
          // Brackets would mean a list to the parser.
          ->delimiter('\0');
  profile->add_option("--task", flags->task, "Take the arguments from this KernelBench-style file")
      ->excludes(arguments);
  profile->add_option("--entry", flags->entry, "Name of the function; nki_kernel by default");
  profile->add_option("--constant", flags->constants, "Keyword argument of the kernel, NAME=LITERAL")
      ->allow_extra_args(false);
  profile->add_option("--grid", flags->grid, "Extents of the SPMD launch grid, as 2,4")
      ->delimiter(',')
      ->check(CLI::Range(1, 65536));
  profile->add_option("--trace", flags->trace,
                      "Write the engine timeline here, for ui.perfetto.dev or chrome://tracing");
  profile
      ->add_option("--max-slices", flags->max_slices,
                   "Most instruction executions that the timeline shows; 0: 10000")
      ->check(CLI::Range(0, 50000));
  profile->add_option("--compile-server", flags->compile_server,
                      "A running compile-service, host:port; a local one by default");
  profile->add_option("--verify-server", flags->verify_server,
                      "A running verify-service, for --task; a local one by default");
  profile->callback([=] { *verb = [=](const Environment& e) { return Profile(e, *flags); }; });
}

}  // namespace nkiagent::nkictl
