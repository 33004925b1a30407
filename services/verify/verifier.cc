#include "services/verify/verifier.h"

#include <algorithm>
#include <iterator>
#include <optional>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/time/clock.h"
#include "common/contract/analysis.h"
#include "common/contract/clean_text.h"
#include "common/nki/ir/serialize.h"
#include "common/storage/content_hash.h"
#include "services/verify/judge.h"
#include "services/verify/rigor.h"
#include "services/worker/outcome_proto.h"

namespace nkiagent::verify {
namespace {

// What a cached problem counts as; it is a few sentences.
constexpr int64_t kProblemBytes = 8192;

// Each entry holds descriptors: one for a task, two for a trial. Together far below the usual limit of 1024.
constexpr size_t kMaxCachedTasks = 128;
constexpr size_t kMaxCachedTrials = 128;

// "forward_raises" for TASK_PROBLEM_KIND_FORWARD_RAISES: a label value.
std::string Label(const std::string& enum_name, absl::string_view prefix) {
  std::string label = enum_name.substr(std::min(prefix.size(), enum_name.size()));
  std::transform(label.begin(), label.end(), label.begin(),
                 [](char c) { return static_cast<char>(tolower(c)); });
  return label;
}

absl::Status ValidateVerify(const v1::VerifyRequest& request) {
  if (!request.has_task()) return absl::InvalidArgumentError("task is missing");
  if (absl::Status valid = ValidateTask(request.task()); !valid.ok()) return valid;
  if (request.has_tolerance()) {
    if (absl::Status valid = ValidateTolerance(request.tolerance()); !valid.ok()) return valid;
  }
  if (request.program_case() == v1::VerifyRequest::PROGRAM_NOT_SET) {
    return absl::InvalidArgumentError("neither program_bytes nor program_id is set");
  }
  if (request.trials() < 0 || request.trials() > kMaxTrials) {
    return absl::InvalidArgumentError(
        absl::StrCat("trials is ", request.trials(), ", outside 0..", kMaxTrials));
  }
  if (!v1::Rigor_IsValid(request.rigor())) {
    return absl::InvalidArgumentError(absl::StrCat("rigor is ", request.rigor(), ", which is none"));
  }
  const int trials = request.trials() == 0 ? kDefaultTrials : request.trials();
  if (request.seeds_size() != 0 && request.seeds_size() != trials) {
    return absl::InvalidArgumentError(
        absl::StrCat("there are ", request.seeds_size(), " seeds for ", trials, " trials"));
  }
  if (request.has_wall_limit() && request.wall_limit().seconds() <= 0 && request.wall_limit().nanos() <= 0) {
    return absl::InvalidArgumentError("wall_limit is not positive");
  }
  return absl::OkStatus();
}

void SetProblem(v1::TaskProblem problem, v1::Verdict& verdict) {
  verdict.set_reason(v1::VERDICT_REASON_TASK_PROBLEM);
  verdict.set_message(absl::StrCat("the task can't be judged: ", problem.message()));
  *verdict.mutable_task_problem() = std::move(problem);
}

}  // namespace

VerifyMetrics::VerifyMetrics(metrics::Metrics& metrics)
    : verdicts_total(metrics.Counter("verdicts_total", "Verdicts given, by reason.")),
      descriptions_total(
          metrics.Counter("descriptions_total", "Tasks described: facts, or the kind of problem.")),
      cache_lookups_total(
          metrics.Counter("cache_lookups_total", "Look-ups of tasks and of trials, by result.")),
      cache_bytes(metrics.Gauge("cache_bytes", "Shared memory held by the caches of tasks and of trials.")),
      phase_duration_seconds(metrics.Histogram(
          "phase_duration_seconds", "Time of a verification's phases: children and comparison.")) {}

Verifier::Verifier(VerifierOptions options, ReferenceRole& reference, ExecuteRole& execute,
                   ProgramStore programs, DrawSeed draw_seed, VerifyMetrics& metrics)
    : options_(std::move(options)),
      reference_(reference),
      execute_(execute),
      programs_(std::move(programs)),
      draw_seed_(std::move(draw_seed)),
      metrics_(metrics),
      tasks_(options_.task_cache_bytes, kMaxCachedTasks),
      trials_(options_.trial_cache_bytes, kMaxCachedTrials) {}

void Verifier::ObservePhase(const char* phase, absl::Time start) {
  metrics_.phase_duration_seconds.Add({{"phase", phase}}, metrics::CallDurationBuckets())
      .Observe(absl::ToDoubleSeconds(absl::Now() - start));
}

absl::StatusOr<Verifier::Known> Verifier::Task(const rpc::CallContext& call, const common::v1::Task& task,
                                               const std::string& hash, bool& cached) {
  const auto known = tasks_.Get(hash);
  cached = known != nullptr;
  metrics_.cache_lookups_total.Add({{"cache", "task"}, {"result", cached ? "hit" : "miss"}}).Increment();
  if (cached) return *known;
  const absl::Time start = absl::Now();
  absl::StatusOr<Known> described = reference_.Describe(call, task);
  if (!described.ok()) return described.status();
  ObservePhase("reference", start);
  int64_t bytes = kProblemBytes;
  if (auto* data = std::get_if<TaskDataPtr>(&*described)) {
    bytes = (*data)->bytes;
  } else if (!IsLasting(std::get<v1::TaskProblem>(*described))) {
    return described;
  }
  tasks_.Put(hash, std::make_shared<const Known>(*described), bytes);
  metrics_.cache_bytes.Add({{"cache", "task"}}).Set(static_cast<double>(tasks_.bytes()));
  return described;
}

absl::StatusOr<v1::DescribeTaskResponse> Verifier::DescribeTask(const rpc::CallContext& call,
                                                                const v1::DescribeTaskRequest& request) {
  if (!request.has_task()) return absl::InvalidArgumentError("task is missing");
  if (absl::Status valid = ValidateTask(request.task()); !valid.ok()) return valid;
  const std::string hash = TaskHash(request.task());
  bool cached = false;
  absl::StatusOr<Known> known = Task(call, request.task(), hash, cached);
  if (!known.ok()) return known.status();
  v1::DescribeTaskResponse response;
  response.set_cached(cached);
  std::string result = "facts";
  if (const auto* problem = std::get_if<v1::TaskProblem>(&*known)) {
    *response.mutable_problem() = *problem;
    result = Label(v1::TaskProblemKind_Name(problem->kind()), "TASK_PROBLEM_KIND_");
  } else {
    v1::TaskFacts& facts = *response.mutable_facts();
    facts = std::get<TaskDataPtr>(*known)->facts;
    facts.set_task_hash(hash);
    *facts.mutable_tolerance() = ToleranceOf(request.task());
    const std::string torch_version = facts.toolchain().torch_version();
    *facts.mutable_toolchain() = options_.toolchain;
    facts.mutable_toolchain()->set_torch_version(torch_version);
  }
  metrics_.descriptions_total.Add({{"result", result}}).Increment();
  call.Log("verify").Info("described", {{"result", result}, {"cached", cached}, {"task", hash}});
  return response;
}

absl::StatusOr<std::string> Verifier::ProgramBytes(const v1::VerifyRequest& request) {
  if (request.program_case() == v1::VerifyRequest::kProgramBytes) return request.program_bytes();
  return programs_(request.program_id());
}

std::vector<uint64_t> Verifier::Seeds(const v1::VerifyRequest& request) {
  if (request.seeds_size() > 0) return {request.seeds().begin(), request.seeds().end()};
  std::vector<uint64_t> seeds;
  for (int i = 0; i < (request.trials() == 0 ? kDefaultTrials : request.trials()); ++i)
    seeds.push_back(draw_seed_());
  return seeds;
}

absl::StatusOr<OrProblem<std::vector<TrialDataPtr>>> Verifier::Trials(const rpc::CallContext& call,
                                                                      const common::v1::Task& task,
                                                                      const TaskData& data,
                                                                      absl::Span<const TrialPlan> plans,
                                                                      bool keep, v1::Verdict& verdict) {
  const auto key = [&verdict](const TrialPlan& plan) {
    return absl::StrCat(verdict.task_hash(), "/", plan.seed, "/", FamilyName(plan.family));
  };
  std::vector<TrialDataPtr> trials(plans.size());
  std::vector<TrialPlan> missing;
  std::vector<uint64_t> found;
  for (size_t i = 0; i < plans.size(); ++i) {
    trials[i] = trials_.Get(key(plans[i]));
    const bool hit = trials[i] != nullptr;
    metrics_.cache_lookups_total.Add({{"cache", "trial"}, {"result", hit ? "hit" : "miss"}}).Increment();
    if (!hit) missing.push_back(plans[i]);
    if (hit && plans[i].family == v1::INPUT_FAMILY_DRAWN) found.push_back(plans[i].seed);
  }
  if (!found.empty()) {
    verdict.add_evidence(
        absl::StrCat("reference outputs from the cache for seeds ", absl::StrJoin(found, ", ")));
  }
  if (missing.empty()) return trials;
  const absl::Time start = absl::Now();
  absl::StatusOr<OrProblem<std::vector<TrialDataPtr>>> run = reference_.RunTrials(call, task, data, missing);
  if (!run.ok()) return run.status();
  ObservePhase("reference", start);
  if (std::holds_alternative<v1::TaskProblem>(*run)) return run;
  size_t next = 0;
  for (size_t i = 0; i < plans.size(); ++i) {
    if (trials[i] != nullptr) continue;
    trials[i] = std::get<std::vector<TrialDataPtr>>(*run)[next++];
    if (keep) trials_.Put(key(plans[i]), trials[i], trials[i]->bytes);
  }
  metrics_.cache_bytes.Add({{"cache", "trial"}}).Set(static_cast<double>(trials_.bytes()));
  return trials;
}

absl::Status Verifier::Judge(const rpc::CallContext& call, const v1::VerifyRequest& request,
                             v1::Verdict& verdict) {
  absl::StatusOr<std::string> bytes = ProgramBytes(request);
  if (!bytes.ok()) return bytes.status();
  verdict.set_program_id(storage::Sha256Hex(*bytes));
  absl::StatusOr<nki::ir::Program> program = nki::ir::Parse(*bytes);
  if (!program.ok()) {
    verdict.set_reason(v1::VERDICT_REASON_INVALID_PROGRAM);
    verdict.set_message(contract::CleanText(
        absl::StrCat("the bytes are no valid program: ", program.status().message()), 1000));
    return absl::OkStatus();
  }
  // A cost of the program, whatever the judgement. Lines go without their text: the source isn't here.
  if (auto estimate = contract::EstimateProgram(*program, ""); estimate.ok()) {
    *verdict.mutable_estimate() = *std::move(estimate);
  }
  bool cached = false;
  absl::StatusOr<Known> known = Task(call, request.task(), verdict.task_hash(), cached);
  if (!known.ok()) return known.status();
  if (auto* problem = std::get_if<v1::TaskProblem>(&*known)) {
    SetProblem(std::move(*problem), verdict);
    return absl::OkStatus();
  }
  const TaskDataPtr data = std::get<TaskDataPtr>(*known);
  verdict.mutable_toolchain()->set_torch_version(data->facts.toolchain().torch_version());
  if (!ProgramFitsTask(*program, data->facts, verdict)) return absl::OkStatus();

  const bool rigorous = request.rigor() == v1::RIGOR_HIGH;
  verdict.set_rigor(rigorous ? v1::RIGOR_HIGH : v1::RIGOR_STANDARD);
  const std::vector<TrialPlan> plans = PlanTrials(Seeds(request), request.rigor());
  absl::StatusOr<OrProblem<std::vector<TrialDataPtr>>> trials =
      Trials(call, request.task(), *data, plans, request.seeds_size() > 0, verdict);
  if (!trials.ok()) return trials.status();
  if (auto* problem = std::get_if<v1::TaskProblem>(&*trials)) {
    SetProblem(std::move(*problem), verdict);
    return absl::OkStatus();
  }
  const auto& all = std::get<std::vector<TrialDataPtr>>(*trials);
  std::vector<TrialDataPtr> ready;
  std::copy_if(all.begin(), all.end(), std::back_inserter(ready),
               [](const TrialDataPtr& trial) { return trial->skipped.empty(); });
  std::optional<absl::Duration> wall_limit;
  if (request.has_wall_limit()) {
    wall_limit =
        absl::Seconds(request.wall_limit().seconds()) + absl::Nanoseconds(request.wall_limit().nanos());
  }
  const absl::Time execute_start = absl::Now();
  absl::StatusOr<Execution> execution = execute_.Execute(call, *bytes, *data, ready, wall_limit);
  if (!execution.ok()) return execution.status();
  ObservePhase("execute", execute_start);
  const absl::Time compare_start = absl::Now();
  if (absl::Status judged =
          JudgeExecution(*data, ready, *execution, request.run_all_trials() || rigorous, verdict);
      !judged.ok()) {
    return judged;
  }
  if (rigorous) SummarizeFamilies(all, verdict);
  ObservePhase("compare", compare_start);
  return absl::OkStatus();
}

absl::StatusOr<v1::VerifyResponse> Verifier::Verify(const rpc::CallContext& call,
                                                    const v1::VerifyRequest& request) {
  if (absl::Status valid = ValidateVerify(request); !valid.ok()) return valid;
  const absl::Time start = absl::Now();
  v1::VerifyResponse response;
  v1::Verdict& verdict = *response.mutable_verdict();
  verdict.set_task_hash(TaskHash(request.task()));
  verdict.set_weight_seed(request.task().weight_seed());
  *verdict.mutable_tolerance() = request.has_tolerance() ? request.tolerance() : ToleranceOf(request.task());
  *verdict.mutable_toolchain() = options_.toolchain;
  if (absl::Status judged = Judge(call, request, verdict); !judged.ok()) return judged;
  *verdict.mutable_total_time() = worker::ToProto(absl::Now() - start);
  const std::string reason = Label(v1::VerdictReason_Name(verdict.reason()), "VERDICT_REASON_");
  metrics_.verdicts_total.Add({{"reason", reason}}).Increment();
  call.Log("verify").Info("judged", {{"reason", reason},
                                     {"task", verdict.task_hash()},
                                     {"program", verdict.program_id()},
                                     {"trials", verdict.trials_size()},
                                     {"ms", absl::ToDoubleMilliseconds(absl::Now() - start)}});
  return response;
}

}  // namespace nkiagent::verify
