#include "services/nkictl/commands.h"

#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/time/clock.h"
#include "services/nkictl/client.h"
#include "services/nkictl/connection.h"
#include "services/nkictl/progress.h"
#include "services/nkictl/text.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::Session;
using orchestrator::v1::SessionEvent;
using orchestrator::v1::SessionState;

absl::StatusOr<orchestrator::v1::SubmitTaskRequest> MakeRequest(const SessionFlags& flags,
                                                                const std::string& file) {
  absl::StatusOr<common::v1::Task> task = ReadTaskFile(file);
  if (!task.ok()) return task.status();
  orchestrator::v1::SubmitTaskRequest request;
  request.set_request_id(flags.request_id);
  *request.mutable_task() = *std::move(task);
  if (!flags.name.empty()) request.mutable_task()->set_name(flags.name);
  request.mutable_task()->set_weight_seed(flags.weight_seed);
  request.mutable_task()->set_level(flags.level);
  request.set_model(flags.model);
  request.set_mode(ParseMode(flags.mode));
  *request.mutable_options() = OptionsFor(flags);
  return request;
}

// A file name made of a task's name, which may hold anything.
std::string SafeFileName(const std::string& name) {
  std::string safe;
  for (const char c : name.substr(0, 100)) {
    safe.push_back(
        absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '-' || c == '.' ? c : '_');
  }
  return safe.empty() || safe[0] == '.' ? absl::StrCat("kernel", safe) : safe;
}

// Writes the verified kernel; tells the path, or nothing when there is no kernel.
absl::StatusOr<std::optional<std::string>> WriteKernel(const Session& session, const std::string& output) {
  if (!session.has_best()) return std::nullopt;
  const std::string path =
      output.empty() ? absl::StrCat(SafeFileName(session.task().name()), ".nki.py") : output;
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << session.best().kernel().source();
  file.close();
  if (!file) return absl::UnavailableError(absl::StrCat("can't write ", path));
  return std::make_optional(path);
}

void Print(const std::string& text) {
  fputs(text.c_str(), stdout);
  fflush(stdout);
}

nlohmann::json ToJson(const google::protobuf::Message& message) {
  return nlohmann::json::parse(Json(message), nullptr, false);
}

bool HasPassed(const Session& session) { return session.state() == orchestrator::v1::SESSION_STATE_PASSED; }

// Submits, shows progress, and returns the session after its end.
absl::StatusOr<Session> Follow(const Environment& environment, Client& client,
                               const orchestrator::v1::SubmitTaskRequest& request, std::string* session_id) {
  absl::StatusOr<Session> session = client.Submit(request);
  if (!session.ok()) return session.status();
  *session_id = session->id();
  const absl::Status watched = client.Watch(session->id(), 1, [&](const SessionEvent& event) {
    if (!environment.json) Print(DescribeEvent(event));
  });
  if (!watched.ok()) return watched;
  return client.Get(session->id());
}

}  // namespace

std::vector<std::string> ModeNames() { return {"single-shot", "multi-turn", "agent"}; }

orchestrator::v1::Mode ParseMode(const std::string& name) {
  if (name == "single-shot") return orchestrator::v1::MODE_SINGLE_SHOT;
  if (name == "multi-turn") return orchestrator::v1::MODE_MULTI_TURN;
  return orchestrator::v1::MODE_AGENT;
}

orchestrator::v1::SessionOptions OptionsFor(const SessionFlags& flags) {
  orchestrator::v1::SessionOptions options;
  options.set_max_turns(flags.max_turns);
  options.set_trials(flags.trials);
  if (flags.rigor == "high") options.set_rigor(verify::v1::RIGOR_HIGH);
  for (const uint64_t seed : flags.seeds) options.add_seeds(seed);
  options.set_optimize(flags.optimize);
  options.set_prompt_name(flags.prompt);
  options.set_max_cost_micro_usd(std::llround(flags.max_cost_usd * 1e6));
  if (flags.wall_limit_s > 0) {
    options.mutable_wall_limit()->set_seconds(static_cast<int64_t>(flags.wall_limit_s));
    options.mutable_wall_limit()->set_nanos(
        static_cast<int32_t>(1e9 * (flags.wall_limit_s - std::floor(flags.wall_limit_s))));
  }
  for (const std::string& tool : flags.tools) options.add_tools(tool);
  if (flags.temperature >= 0) options.mutable_sampling()->set_temperature(flags.temperature);
  return options;
}

int Run(const Environment& environment, const SessionFlags& flags, const std::string& file,
        const std::string& output) {
  absl::StatusOr<orchestrator::v1::SubmitTaskRequest> request = MakeRequest(flags, file);
  if (!request.ok()) return Fail(environment, request.status());
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/true);
  if (!connection.ok()) return Fail(environment, connection.status());
  std::string session_id;
  absl::StatusOr<Session> session = Follow(environment, *connection->client, *request, &session_id);
  if (!session.ok()) {
    const bool interrupted = environment.interrupt->requested();
    if (interrupted && connection->cluster == nullptr && !session_id.empty()) {
      fprintf(stderr, "session %s goes on; nkictl watch %s, or nkictl cancel %s\n", session_id.c_str(),
              session_id.c_str(), session_id.c_str());
    }
    connection->Close(/*failed=*/!interrupted).IgnoreError();
    return Fail(environment, session.status());
  }
  const absl::StatusOr<std::optional<std::string>> kernel = WriteKernel(*session, output);
  if (environment.json) {
    nlohmann::json document = {{"session", ToJson(*session)}};
    if (kernel.ok() && kernel->has_value()) document["kernel_file"] = **kernel;
    Print(absl::StrCat(document.dump(), "\n"));
  } else {
    std::vector<std::pair<std::string, std::string>> facts = ResultFacts(*session);
    if (kernel.ok() && kernel->has_value()) facts.emplace_back("kernel", **kernel);
    Print(absl::StrCat("\n", Facts(facts)));
  }
  // A failure of the system leaves its logs; one of the model does not need them.
  const absl::Status closed = connection->Close(session->state() == orchestrator::v1::SESSION_STATE_FAILED);
  if (!kernel.ok()) return Fail(environment, kernel.status());
  if (!closed.ok()) fprintf(stderr, "nkictl: %s\n", std::string(closed.message()).c_str());
  return HasPassed(*session) ? kExitPass : kExitFail;
}

int PromptShow(const Environment& environment, const SessionFlags& flags, const std::string& file) {
  absl::StatusOr<orchestrator::v1::SubmitTaskRequest> submit = MakeRequest(flags, file);
  if (!submit.ok()) return Fail(environment, submit.status());
  orchestrator::v1::RenderPromptRequest request;
  *request.mutable_task() = submit->task();
  request.set_mode(submit->mode());
  *request.mutable_options() = submit->options();
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/true);
  if (!connection.ok()) return Fail(environment, connection.status());
  const absl::StatusOr<orchestrator::v1::PromptBuilt> prompt = connection->client->RenderPrompt(request);
  connection->Close(/*failed=*/false).IgnoreError();
  if (!prompt.ok()) return Fail(environment, prompt.status());
  if (environment.json) {
    Print(absl::StrCat(Json(*prompt), "\n"));
    return kExitPass;
  }
  Print(absl::StrCat("==== prompt ", prompt->name(), "@", prompt->hash(), "\n==== system\n", prompt->system(),
                     "\n==== user\n", prompt->user().content(0).text()));
  for (const llm::v1::Tool& tool : prompt->tools()) {
    Print(absl::StrCat("\n==== tool ", tool.name(), "\n", tool.description(), "\n",
                       tool.parameters_json_schema(), "\n"));
  }
  return kExitPass;
}

int Submit(const Environment& environment, const SessionFlags& flags, const std::string& file) {
  absl::StatusOr<orchestrator::v1::SubmitTaskRequest> request = MakeRequest(flags, file);
  if (!request.ok()) return Fail(environment, request.status());
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/false);
  if (!connection.ok()) return Fail(environment, connection.status());
  absl::StatusOr<Session> session = connection->client->Submit(*request);
  if (!session.ok()) return Fail(environment, session.status());
  Print(absl::StrCat(environment.json ? Json(*session) : session->id(), "\n"));
  return kExitPass;
}

int Watch(const Environment& environment, const std::string& session_id, int64_t from_sequence) {
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/false);
  if (!connection.ok()) return Fail(environment, connection.status());
  const absl::Status watched =
      connection->client->Watch(session_id, from_sequence, [&](const SessionEvent& event) {
        Print(environment.json ? absl::StrCat(Json(event), "\n") : DescribeEvent(event));
      });
  if (!watched.ok()) return Fail(environment, watched);
  absl::StatusOr<Session> session = connection->client->Get(session_id);
  if (!session.ok()) return Fail(environment, session.status());
  if (!environment.json) Print(absl::StrCat("\n", Facts(ResultFacts(*session))));
  return HasPassed(*session) ? kExitPass : kExitFail;
}

int List(const Environment& environment, const std::string& state, const std::string& model, int limit) {
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/false);
  if (!connection.ok()) return Fail(environment, connection.status());
  orchestrator::v1::ListSessionsRequest request;
  request.set_model(model);
  if (!state.empty()) {
    SessionState value;
    const std::string name =
        absl::StrCat("SESSION_STATE_", absl::StrReplaceAll(absl::AsciiStrToUpper(state), {{"-", "_"}}));
    if (!orchestrator::v1::SessionState_Parse(name, &value)) {
      return Fail(environment, absl::InvalidArgumentError(absl::StrCat(
                                   "no state is named \"", state,
                                   "\"; states are queued, running, passed, not-solved, failed, cancelled")));
    }
    request.add_states(value);
  }
  std::vector<std::vector<std::string>> rows;
  nlohmann::json sessions = nlohmann::json::array();
  int count = 0;
  do {
    request.set_page_size(std::min(limit - count, 500));
    absl::StatusOr<orchestrator::v1::ListSessionsResponse> page = connection->client->List(request);
    if (!page.ok()) return Fail(environment, page.status());
    for (const Session& session : page->sessions()) {
      ++count;
      if (environment.json) sessions.push_back(ToJson(session));
      rows.push_back(
          {session.id(), EnumText(orchestrator::v1::SessionState_Name(session.state()), "SESSION_STATE_"),
           session.task().name(), session.model(),
           EnumText(orchestrator::v1::Mode_Name(session.mode()), "MODE_"), absl::StrCat(session.turns_used()),
           Dollars(session.usage().cost_micro_usd()), Time(session.create_time())});
    }
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && count < limit);
  if (environment.json) {
    Print(absl::StrCat(nlohmann::json{{"sessions", sessions}}.dump(), "\n"));
  } else {
    Print(Table({"session", "state", "task", "model", "mode", "turns", "cost", "created (UTC)"}, rows));
  }
  return kExitPass;
}

int Show(const Environment& environment, const std::string& session_id, bool kernel_only) {
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/false);
  if (!connection.ok()) return Fail(environment, connection.status());
  absl::StatusOr<Session> session = connection->client->Get(session_id);
  if (!session.ok()) return Fail(environment, session.status());
  if (environment.json) {
    Print(absl::StrCat(Json(*session), "\n"));
    return kExitPass;
  }
  const orchestrator::v1::KernelCandidate& candidate =
      session->has_best() ? session->best() : session->last();
  if (kernel_only) {
    if (candidate.kernel().source().empty()) {
      return Fail(environment,
                  absl::NotFoundError(absl::StrCat("session ", session_id, " has no kernel yet")));
    }
    Print(candidate.kernel().source());
    return kExitPass;
  }
  std::vector<std::pair<std::string, std::string>> facts = {
      {"session", session->id()},
      {"task", session->task().name()},
      {"model", session->model()},
      {"mode", EnumText(orchestrator::v1::Mode_Name(session->mode()), "MODE_")},
      {"prompt", session->prompt_version()},
      {"created", absl::StrCat(Time(session->create_time()), " UTC")},
      {"updated", absl::StrCat(Time(session->update_time()), " UTC")}};
  for (auto& fact : ResultFacts(*session)) facts.push_back(std::move(fact));
  Print(Facts(facts));
  if (!candidate.kernel().source().empty()) {
    Print(absl::StrCat("\n# ", session->has_best() ? "the verified kernel" : "the last kernel, not verified",
                       " (turn ", candidate.turn(), ")\n", candidate.kernel().source()));
  }
  return kExitPass;
}

int Cancel(const Environment& environment, const std::string& session_id, const std::string& reason) {
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/false);
  if (!connection.ok()) return Fail(environment, connection.status());
  absl::StatusOr<Session> session = connection->client->Cancel(session_id, reason);
  if (!session.ok()) return Fail(environment, session.status());
  Print(absl::StrCat(
      environment.json
          ? Json(*session)
          : absl::StrCat(session->id(), " ",
                         EnumText(orchestrator::v1::SessionState_Name(session->state()), "SESSION_STATE_")),
      "\n"));
  return kExitPass;
}

int Up(const Environment& environment) {
  absl::StatusOr<std::unique_ptr<LocalCluster>> cluster =
      LocalCluster::Start(environment.cluster, environment.interrupt->token());
  if (!cluster.ok()) return Fail(environment, cluster.status());
  std::vector<std::vector<std::string>> rows;
  nlohmann::json services = nlohmann::json::object();
  for (const Service service : kServices) {
    const std::string metrics = absl::StrCat("http://", (*cluster)->metrics_target(service), "/metrics");
    rows.push_back(
        {ServiceName(service), (*cluster)->target(service), metrics, (*cluster)->log_path(service)});
    services[ServiceName(service)] = {{"grpc", (*cluster)->target(service)},
                                      {"metrics", metrics},
                                      {"pid", (*cluster)->pid(service)},
                                      {"log", (*cluster)->log_path(service)}};
  }
  Print(environment.json
            ? absl::StrCat(nlohmann::json{{"services", services}}.dump(), "\n")
            : absl::StrCat(Table({"service", "grpc", "metrics", "log"}, rows), "Ctrl-C drains\n"));
  std::string ended;
  // A child's end can't wake this thread: SIGCHLD would be one more signal to mask in every library's thread.
  while (!environment.interrupt->requested() && ended.empty()) {
    absl::SleepFor(absl::Milliseconds(100));
    ended = (*cluster)->EndedService();
  }
  const absl::Status stopped = (*cluster)->Stop();
  if (!ended.empty()) {
    fprintf(stderr, "nkictl: %s ended by itself; logs are in %s/logs\n", ended.c_str(),
            (*cluster)->work_dir().c_str());
    return kExitFail;
  }
  if (!stopped.ok()) fprintf(stderr, "nkictl: %s\n", std::string(stopped.message()).c_str());
  return stopped.ok() ? kExitPass : kExitFail;
}

}  // namespace nkiagent::nkictl
