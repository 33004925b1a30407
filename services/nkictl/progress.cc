#include "services/nkictl/progress.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "services/nkictl/text.h"
#include "services/orchestrator/tool_results.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::Session;
using orchestrator::v1::SessionEvent;

std::string Indented(const std::string& text) {
  std::string indented;
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!line.empty()) absl::StrAppend(&indented, "    ", line, "\n");
  }
  return indented;
}

std::string DescribeFacts(const verify::v1::TaskFacts& facts) {
  auto list = [](const auto& specs) {
    return absl::StrJoin(specs, ", ", [](std::string* out, const common::v1::TensorSpec& spec) {
      absl::StrAppend(out, spec.name(), " ", orchestrator::TypeAndShape(spec));
    });
  };
  return absl::StrCat("task: ", list(facts.arguments()), " -> ", list(facts.outputs()), "\n");
}

std::string DescribeCompiled(const orchestrator::v1::KernelCompiled& compiled) {
  const compile::v1::CompileResult& result = compiled.result();
  const std::string turn = absl::StrCat("turn ", compiled.turn(), ": compile: ");
  if (result.outcome() != compile::v1::COMPILE_OUTCOME_COMPILED) {
    std::string details = orchestrator::DescribeCompile(result);
    // The first line says what this line says.
    details.erase(0, details.find('\n') + 1);
    return absl::StrCat(turn, "refused\n", Indented(details));
  }
  const std::string estimate = orchestrator::DescribeEstimate(result.estimate());
  return absl::StrCat(turn, "ok", estimate.empty() ? "" : ", estimate ", estimate, "\n");
}

std::string DescribeAnswer(const orchestrator::v1::ModelCallFinished& answer) {
  std::string text = absl::StrCat("turn ", answer.turn(), ": model answered in ", Seconds(answer.latency()));
  const common::v1::Usage& usage = answer.usage();
  const int64_t input = usage.input_tokens() + usage.cached_input_tokens() + usage.cache_write_tokens();
  if (input + usage.output_tokens() > 0) {
    absl::StrAppend(&text, " (", input, " tokens in, ", usage.output_tokens(), " out)");
  }
  return absl::StrCat(text, "\n");
}

}  // namespace

std::string DescribeEvent(const SessionEvent& event) {
  switch (event.event_case()) {
    case SessionEvent::kCreated: {
      const Session& session = event.created().session();
      return absl::StrCat("session ", session.id(), ": ", session.task().name(), ", model ", session.model(),
                          ", ", EnumText(orchestrator::v1::Mode_Name(session.mode()), "MODE_"),
                          " mode, at most ", session.options().max_turns(),
                          session.options().max_turns() == 1 ? " turn\n" : " turns\n");
    }
    case SessionEvent::kDescribed:
      if (event.described().has_problem()) {
        const verify::v1::TaskProblem& problem = event.described().problem();
        return absl::StrCat("task: can't be judged: ", problem.message(),
                            problem.line() > 0 ? absl::StrCat(" (line ", problem.line(), ")") : "", "\n",
                            Indented(problem.traceback()));
      }
      return DescribeFacts(event.described().facts());
    case SessionEvent::kModelCallFinished:
      return DescribeAnswer(event.model_call_finished());
    case SessionEvent::kToolCallFinished:
      if (!event.tool_call_finished().result().is_error()) return "";
      return absl::StrCat("turn ", event.tool_call_finished().turn(), ": tool call refused\n",
                          Indented(event.tool_call_finished().result().text()));
    case SessionEvent::kCompiled:
      return DescribeCompiled(event.compiled());
    case SessionEvent::kVerified: {
      std::string details = orchestrator::DescribeVerdict(event.verified().verdict());
      const size_t line_end = details.find('\n');
      const std::string first = details.substr(0, line_end);
      return absl::StrCat("turn ", event.verified().turn(), ": verify: ", first.substr(first.find(' ') + 1),
                          "\n", Indented(details.substr(std::min(details.size(), line_end + 1))));
    }
    case SessionEvent::kResumed:
      return absl::StrCat("resumed after event ", event.resumed().from_sequence(), "\n");
    case SessionEvent::kFinished:
      if (event.finished().state() == orchestrator::v1::SESSION_STATE_PASSED) return "";
      return absl::StrCat("ended: ", event.finished().message(), "\n");
    case SessionEvent::kFailed:
      return absl::StrCat("failed: ", event.failed().service(), ": ", event.failed().code(), ": ",
                          event.failed().message(), "\n");
    case SessionEvent::kCancelled:
      return absl::StrCat("cancelled", event.cancelled().reason().empty() ? "" : ": ",
                          event.cancelled().reason(), "\n");
    default:
      return "";
  }
}

std::string Trouble(const SessionEvent& event) {
  if (event.has_compiled() && event.compiled().result().outcome() != compile::v1::COMPILE_OUTCOME_COMPILED) {
    for (const common::v1::Diagnostic& diagnostic : event.compiled().result().diagnostics()) {
      if (diagnostic.severity() == common::v1::SEVERITY_ERROR) return diagnostic.rule();
    }
    return "does not compile";
  }
  if (event.has_verified() && !event.verified().verdict().passed()) {
    return orchestrator::ReasonName(event.verified().verdict().reason());
  }
  return "";
}

bool HasPassed(const Session& session) { return session.state() == orchestrator::v1::SESSION_STATE_PASSED; }

std::string VerdictWord(const Session& session) {
  switch (session.state()) {
    case orchestrator::v1::SESSION_STATE_PASSED:
      return "PASS";
    case orchestrator::v1::SESSION_STATE_NOT_SOLVED:
      return "FAIL";
    case orchestrator::v1::SESSION_STATE_FAILED:
      return "ERROR";
    case orchestrator::v1::SESSION_STATE_CANCELLED:
      return "CANCELLED";
    default:
      return EnumText(orchestrator::v1::SessionState_Name(session.state()), "SESSION_STATE_");
  }
}

std::vector<std::pair<std::string, std::string>> ResultFacts(const Session& session) {
  std::vector<std::pair<std::string, std::string>> facts;
  std::string verdict = VerdictWord(session);
  if (!session.message().empty() && session.state() != orchestrator::v1::SESSION_STATE_PASSED) {
    absl::StrAppend(&verdict, ": ", session.message());
  }
  facts.emplace_back("verdict", verdict);
  if (session.has_best()) {
    const verify::v1::Verdict& judged = session.best().verdict();
    facts.emplace_back("verified",
                       absl::StrCat("turn ", session.best().turn(), ", ", judged.trials_size(), " trials"));
    const std::string estimate = orchestrator::DescribeEstimate(session.best().estimate());
    if (!estimate.empty()) facts.emplace_back("latency", absl::StrCat(estimate, " (estimate)"));
  }
  facts.emplace_back("turns", absl::StrCat(session.turns_used(), " of ", session.options().max_turns()));
  facts.emplace_back("compiled",
                     absl::StrCat(session.compilations(), session.compilations() == 1 ? " time" : " times"));
  const common::v1::Usage& usage = session.usage();
  facts.emplace_back(
      "tokens", absl::StrCat(usage.input_tokens() + usage.cached_input_tokens() + usage.cache_write_tokens(),
                             " in, ", usage.output_tokens(), " out"));
  facts.emplace_back("cost", Dollars(usage.cost_micro_usd()));
  if (session.has_end_time()) {
    facts.emplace_back("time", Seconds(ToSeconds(session.end_time()) - ToSeconds(session.create_time())));
  }
  return facts;
}

int HighestRank(const verify::v1::TaskFacts& facts) {
  int rank = 0;
  for (const common::v1::TensorSpec& spec : facts.arguments()) {
    if (spec.role() == common::v1::TENSOR_ROLE_INPUT) rank = std::max(rank, spec.dims_size());
  }
  return rank;
}

std::string Ranks(const verify::v1::TaskFacts& facts) {
  std::set<int> ranks;
  for (const common::v1::TensorSpec& spec : facts.arguments()) {
    if (spec.role() == common::v1::TENSOR_ROLE_INPUT) ranks.insert(spec.dims_size());
  }
  return absl::StrJoin(ranks, ", ", [](std::string* out, int rank) { absl::StrAppend(out, rank, "-D"); });
}

}  // namespace nkiagent::nkictl
