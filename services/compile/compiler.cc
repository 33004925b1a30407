#include "services/compile/compiler.h"

#include <algorithm>
#include <tuple>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/contract/analysis.h"
#include "common/contract/clean_text.h"
#include "common/contract/element_types.h"
#include "common/nki/ir/serialize.h"
#include "common/storage/content_hash.h"
#include "services/compile/compile_request.h"
#include "services/compile/trace_protocol.h"
#include "services/worker/outcome_proto.h"

namespace nkiagent::compile {
namespace {

using common::v1::Diagnostic;
using contract::CleanText;

// Limits of CompileResult (compile_service.proto).
constexpr int kMaxDiagnostics = 50;
constexpr size_t kMaxPrintedBytes = 4096;
// A child's reply: a program and its header line.
constexpr uint64_t kMaxReplyBytes = nki::ir::kMaxProgramBytes;
// A child that prints more is killed.
constexpr uint64_t kMaxOutputBytes = uint64_t{16} << 20;

absl::Duration FromProto(const google::protobuf::Duration& proto) {
  return absl::Seconds(proto.seconds()) + absl::Nanoseconds(proto.nanos());
}

bool IsProgramId(absl::string_view id) {
  return id.size() == 64 && id.find_first_not_of("0123456789abcdef") == absl::string_view::npos;
}

const char* OutcomeLabel(v1::CompileOutcome outcome) {
  switch (outcome) {
    case v1::COMPILE_OUTCOME_COMPILED:
      return "compiled";
    case v1::COMPILE_OUTCOME_REJECTED:
      return "rejected";
    default:
      return "sandbox_failure";
  }
}

bool HasError(const std::vector<Diagnostic>& diagnostics) {
  return std::any_of(diagnostics.begin(), diagnostics.end(),
                     [](const Diagnostic& d) { return d.severity() == common::v1::SEVERITY_ERROR; });
}

// The rule and the usual fix for a child that did not end well, as the reader of the kernel sees it.
Diagnostic SandboxDiagnostic(const common::v1::SandboxOutcome& outcome) {
  Diagnostic diagnostic;
  diagnostic.set_severity(common::v1::SEVERITY_ERROR);
  diagnostic.set_message(absl::StrCat("tracing the kernel did not end well: ", outcome.detail()));
  switch (outcome.status()) {
    case common::v1::SANDBOX_STATUS_WALL_TIMEOUT:
    case common::v1::SANDBOX_STATUS_CPU_LIMIT:
      diagnostic.set_rule("err_trace_timeout");
      diagnostic.set_hint(
          "the kernel's Python runs while it is traced: use nl.affine_range or nl.sequential_range for "
          "long loops, and look for one that never ends");
      break;
    case common::v1::SANDBOX_STATUS_MEMORY_LIMIT:
      diagnostic.set_rule("err_trace_memory");
      diagnostic.set_hint(
          "the kernel's Python allocates too much while it is traced; tensors belong in nl.ndarray");
      break;
    case common::v1::SANDBOX_STATUS_OUTPUT_FLOOD:
      diagnostic.set_rule("err_trace_output");
      diagnostic.set_hint("remove the print calls");
      break;
    case common::v1::SANDBOX_STATUS_POLICY_VIOLATION:
      diagnostic.set_rule("err_trace_forbidden_call");
      diagnostic.set_hint("a kernel may not open files, sockets or processes");
      break;
    case common::v1::SANDBOX_STATUS_CRASH:
    case common::v1::SANDBOX_STATUS_EXIT:
      diagnostic.set_rule("err_trace_crash");
      diagnostic.set_hint("a kernel may not end the process or reach into the interpreter");
      break;
    default:
      diagnostic.set_rule("err_trace_bad_answer");
      diagnostic.set_hint("a kernel may only use neuronxcc.nki and plain Python");
      break;
  }
  return diagnostic;
}

// Errors first, then by line; cut to what a response may hold; each with its source line.
void SetDiagnostics(std::vector<Diagnostic> diagnostics, absl::string_view source,
                    v1::CompileResult& result) {
  std::stable_sort(diagnostics.begin(), diagnostics.end(), [](const Diagnostic& a, const Diagnostic& b) {
    return std::make_tuple(a.severity(), a.line()) < std::make_tuple(b.severity(), b.line());
  });
  const contract::SourceLines lines(source);
  for (Diagnostic& diagnostic : diagnostics) {
    if (result.diagnostics_size() == kMaxDiagnostics) break;
    if (diagnostic.line() > 0) diagnostic.set_source_line(lines.Line(diagnostic.line()));
    *result.add_diagnostics() = std::move(diagnostic);
  }
  result.set_diagnostics_dropped(static_cast<int32_t>(diagnostics.size()) - result.diagnostics_size());
}

// The program must be one of the kernel that was asked for: the child may have been made to answer otherwise.
absl::Status CheckProgramAnswersRequest(const nki::ir::Program& program, const v1::CompileRequest& request) {
  const auto mismatch = [](absl::string_view what) {
    return absl::InvalidArgumentError(absl::StrCat("the program's ", what, " are not those of the request"));
  };
  if (program.target != TargetName(request.target()) || program.sdk != SdkName(request.target())) {
    return mismatch("target and SDK");
  }
  if (!std::equal(program.grid.begin(), program.grid.end(), request.kernel().grid_dims().begin(),
                  request.kernel().grid_dims().end())) {
    return mismatch("grid extents");
  }
  if (static_cast<int>(program.inputs.size()) != request.arguments_size()) return mismatch("arguments");
  for (int i = 0; i < request.arguments_size(); ++i) {
    const nki::ir::Tensor& tensor =
        program.tensors[static_cast<size_t>(program.inputs[static_cast<size_t>(i)])];
    const common::v1::TensorSpec& spec = request.arguments(i);
    if (contract::ToIsa(spec.dtype()) != tensor.dtype ||
        !std::equal(tensor.shape.begin(), tensor.shape.end(), spec.dims().begin(), spec.dims().end())) {
      return mismatch("arguments");
    }
  }
  return absl::OkStatus();
}

int64_t CountInstructions(const nki::ir::Program& program) {
  int64_t count = 0;
  nki::ir::ForEachInstr(program.body, [&](const nki::ir::Instr&, auto) { ++count; });
  return count;
}

// Times a phase and adds it to `total` when it ends.
class PhaseTimer {
 public:
  explicit PhaseTimer(google::protobuf::Duration* out) : out_(out) {}
  ~PhaseTimer() { *out_ = worker::ToProto(absl::Now() - start_); }
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

 private:
  google::protobuf::Duration* const out_;
  const absl::Time start_ = absl::Now();
};

}  // namespace

CompileMetrics::CompileMetrics(metrics::Metrics& metrics)
    : results_total(metrics.Counter("results_total", "Compilations answered, by how they ended.")),
      store_lookups_total(
          metrics.Counter("store_lookups_total", "Look-ups in the store: hit, miss or bypass.")),
      children_total(metrics.Counter("children_total", "Trace children that ended, by kind of outcome.")),
      phase_duration_seconds(metrics.Histogram(
          "phase_duration_seconds", "Time of one phase of a compilation that was not in the store.")) {}

Compiler::Compiler(CompilerOptions options, TraceFn trace, storage::ContentStore& store,
                   CompileMetrics& metrics)
    : options_(std::move(options)), trace_(std::move(trace)), store_(store), metrics_(metrics) {}

absl::StatusOr<v1::CompileResponse> Compiler::Compile(const rpc::CallContext& call,
                                                      const v1::CompileRequest& request) {
  const absl::Time start = absl::Now();
  absl::Status valid = ValidateCompileRequest(request);
  if (!valid.ok()) return valid;
  const std::string key = Key(request);
  v1::CompileResponse response;
  const bool hit = !request.bypass_cache() && Lookup(key, response);
  metrics_.store_lookups_total.Add({{"result", request.bypass_cache() ? "bypass"
                                               : hit                  ? "hit"
                                                                      : "miss"}})
      .Increment();
  if (!hit) {
    absl::StatusOr<Fresh> fresh = CompileFresh(call, request);
    if (!fresh.ok()) return fresh.status();
    Keep(key, request, *fresh);
    *response.mutable_result() = std::move(fresh->result);
    response.set_program(std::move(fresh->program));
  }
  if (request.include_timeline() && !response.program().empty()) {
    // Drawn anew for each request: it is cheap beside its size in the store.
    absl::StatusOr<nki::ir::Program> program = nki::ir::Parse(response.program());
    if (!program.ok()) return absl::InternalError("a stored program is not valid");
    absl::StatusOr<std::string> timeline =
        contract::TimelineOf(*program, request.kernel().source(), request.timeline_max_slices());
    if (!timeline.ok()) return timeline.status();
    response.set_timeline(*std::move(timeline));
  }
  if (!request.include_program()) response.clear_program();
  v1::CompileResult& result = *response.mutable_result();
  *result.mutable_timings()->mutable_total() = worker::ToProto(absl::Now() - start);
  metrics_.results_total.Add({{"outcome", OutcomeLabel(result.outcome())}}).Increment();
  call.Log("compile").Info("compiled", {{"outcome", OutcomeLabel(result.outcome())},
                                        {"cached", hit},
                                        {"program", result.program_id()},
                                        {"diagnostics", result.diagnostics_size()},
                                        {"ms", absl::ToDoubleMilliseconds(absl::Now() - start)}});
  return response;
}

absl::StatusOr<Compiler::Fresh> Compiler::CompileFresh(const rpc::CallContext& call,
                                                       const v1::CompileRequest& request) {
  const std::string payload = TraceRequestJson(request, MaxInstructions(request));
  sandbox::Request child;
  child.payload = payload;
  // A little less than what is left, so that a caller who waits to the end still learns that the child hung.
  const absl::Duration left = call.Remaining();
  child.wall_limit = std::min(options_.max_wall_time, left - std::min(left / 20, absl::Milliseconds(200)));
  if (request.limits().has_wall_time()) {
    child.wall_limit = std::min(child.wall_limit, FromProto(request.limits().wall_time()));
  }
  child.max_reply_bytes = kMaxReplyBytes;
  child.limits.address_space_bytes = static_cast<uint64_t>(options_.max_address_space_bytes);
  child.limits.cpu_seconds =
      static_cast<uint64_t>(absl::ToInt64Seconds(absl::Ceil(options_.max_cpu_time, absl::Seconds(1))));
  child.limits.output_bytes = kMaxOutputBytes;

  const absl::Time start = absl::Now();
  absl::StatusOr<sandbox::Outcome> outcome = trace_(child, call);
  if (!outcome.ok()) return outcome.status();
  const absl::Duration queued = std::max(absl::ZeroDuration(), absl::Now() - start - outcome->wall_time);
  metrics_.children_total.Add({{"kind", std::string(sandbox::OutcomeKindName(outcome->kind))}}).Increment();
  ObservePhase("queue", queued);
  ObservePhase("trace", outcome->wall_time);

  Fresh fresh;
  v1::CompileResult& result = fresh.result;
  *result.mutable_toolchain() = options_.toolchain;
  *result.mutable_timings()->mutable_queue() = worker::ToProto(queued);
  *result.mutable_timings()->mutable_trace() = worker::ToProto(outcome->wall_time);
  *result.mutable_sandbox() = worker::ToProto(*outcome);
  result.set_printed(CleanText(outcome->output, kMaxPrintedBytes));
  if (outcome->ok()) {
    const absl::Status judged = Judge(request, outcome->reply, fresh);
    if (judged.ok()) return fresh;
    if (!absl::IsInvalidArgument(judged)) return judged;
    result.mutable_sandbox()->set_status(common::v1::SANDBOX_STATUS_BAD_ANSWER);
    result.mutable_sandbox()->set_detail(CleanText(judged.message(), kMaxPrintedBytes));
  } else if (outcome->kind == sandbox::OutcomeKind::kException) {
    call.Log("compile").Error("the trace role failed",
                              {{"text", absl::string_view(outcome->reply).substr(0, 2000)}});
  }
  fresh.program.clear();
  result.set_outcome(v1::COMPILE_OUTCOME_SANDBOX_FAILURE);
  result.clear_diagnostics();
  SetDiagnostics({SandboxDiagnostic(result.sandbox())}, request.kernel().source(), result);
  return fresh;
}

absl::Status Compiler::Judge(const v1::CompileRequest& request, const std::string& reply, Fresh& fresh) {
  v1::CompileResult& result = fresh.result;
  const std::string& source = request.kernel().source();
  absl::StatusOr<TraceReply> trace = ParseTraceReply(reply);
  if (!trace.ok()) return trace.status();
  result.set_outcome(v1::COMPILE_OUTCOME_REJECTED);
  if (trace->program.empty()) {
    SetDiagnostics(std::move(trace->diagnostics), source, result);
    return absl::OkStatus();
  }
  absl::StatusOr<nki::ir::Program> program = nki::ir::Parse(trace->program);
  if (!program.ok())
    return absl::InvalidArgumentError(absl::StrCat("not a program: ", program.status().message()));
  const absl::Status answers = CheckProgramAnswersRequest(*program, request);
  if (!answers.ok()) return answers;
  const int64_t instructions = CountInstructions(*program);
  if (instructions > MaxInstructions(request)) {
    return absl::InvalidArgumentError(
        absl::StrCat("the program lists ", instructions, " instructions > ", MaxInstructions(request)));
  }

  std::vector<Diagnostic> diagnostics = std::move(trace->diagnostics);
  {
    const PhaseTimer timer(result.mutable_timings()->mutable_check());
    for (Diagnostic& finding : contract::CheckProgram(*program)) diagnostics.push_back(std::move(finding));
  }
  ObservePhase("check", FromProto(result.timings().check()));
  const bool refused = HasError(diagnostics);
  SetDiagnostics(std::move(diagnostics), source, result);
  if (refused) return absl::OkStatus();

  {
    const PhaseTimer timer(result.mutable_timings()->mutable_estimate());
    absl::StatusOr<common::v1::LatencyEstimate> estimate = contract::EstimateProgram(*program, source);
    if (!estimate.ok()) return estimate.status();
    *result.mutable_estimate() = *std::move(estimate);
  }
  ObservePhase("estimate", FromProto(result.timings().estimate()));
  // Written anew, so that equal programs have equal bytes whatever the child sent.
  fresh.program = nki::ir::Serialize(*program);
  result.set_outcome(v1::COMPILE_OUTCOME_COMPILED);
  result.set_program_id(storage::Sha256Hex(fresh.program));
  result.set_program_bytes(static_cast<int64_t>(fresh.program.size()));
  *result.mutable_inputs() = request.arguments();
  for (const nki::ir::TensorId id : program->outputs) {
    *result.add_outputs() = contract::ToProto(program->tensors[static_cast<size_t>(id)]);
  }
  return absl::OkStatus();
}

bool Compiler::Lookup(const std::string& key, v1::CompileResponse& response) {
  const auto stored = store_.Get(absl::StrCat("result-", key));
  v1::CompileResult& result = *response.mutable_result();
  if (stored == nullptr || !result.ParseFromString(*stored)) return false;
  if (!result.program_id().empty()) {
    // An answer whose program is gone would send its reader to GetProgram for nothing.
    const auto program = store_.Get(absl::StrCat("program-", result.program_id()));
    v1::GetProgramResponse stored_program;
    if (program == nullptr || !stored_program.ParseFromString(*program)) return false;
    response.set_program(std::move(*stored_program.mutable_program()));
  }
  result.set_cached(true);
  return true;
}

void Compiler::Keep(const std::string& key, const v1::CompileRequest& request, const Fresh& fresh) {
  // How a child died may be the machine's fault or the limit's; only what the toolchain said of the kernel is
  // kept.
  if (fresh.result.outcome() == v1::COMPILE_OUTCOME_SANDBOX_FAILURE) return;
  if (!fresh.program.empty()) {
    v1::GetProgramResponse program;
    program.set_program(fresh.program);
    *program.mutable_inputs() = fresh.result.inputs();
    *program.mutable_outputs() = fresh.result.outputs();
    *program.mutable_target() = request.target();
    *program.mutable_toolchain() = fresh.result.toolchain();
    store_.Put(absl::StrCat("program-", fresh.result.program_id()), program.SerializeAsString());
  }
  v1::CompileResult result = fresh.result;
  result.clear_sandbox();
  store_.Put(absl::StrCat("result-", key), result.SerializeAsString());
}

absl::StatusOr<v1::GetProgramResponse> Compiler::GetProgram(const v1::GetProgramRequest& request) {
  if (!IsProgramId(request.program_id())) {
    return absl::InvalidArgumentError("program_id is not 64 lower-case hexadecimal digits");
  }
  const auto stored = store_.Get(absl::StrCat("program-", request.program_id()));
  v1::GetProgramResponse response;
  if (stored == nullptr || !response.ParseFromString(*stored)) {
    return absl::NotFoundError(
        absl::StrCat("program ", request.program_id(), " is not in this store; compile again"));
  }
  return response;
}

std::string Compiler::Key(const v1::CompileRequest& request) const {
  // What the answer depends on and nothing else: the JSON of the trace request has all of the kernel's side,
  // in one order. The roles of arguments come back in the answer, so they count too.
  std::string text = TraceRequestJson(request, MaxInstructions(request));
  for (const common::v1::TensorSpec& spec : request.arguments()) {
    absl::StrAppend(&text, "\n", spec.SerializeAsString());
  }
  absl::StrAppend(&text, "\n", options_.toolchain.version(), "\n", options_.toolchain.commit(), "\n",
                  options_.toolchain.table_version());
  return storage::Sha256Hex(text);
}

int64_t Compiler::MaxInstructions(const v1::CompileRequest& request) const {
  const int64_t asked = request.limits().max_instructions();
  return asked == 0 ? options_.max_instructions : std::min(asked, options_.max_instructions);
}

void Compiler::ObservePhase(const char* phase, absl::Duration duration) {
  metrics_.phase_duration_seconds.Add({{"phase", phase}}, metrics::CallDurationBuckets())
      .Observe(absl::ToDoubleSeconds(duration));
}

}  // namespace nkiagent::compile
