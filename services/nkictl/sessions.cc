// nkictl watch, list, show and cancel: sessions that are there already.
#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "services/nkictl/client.h"
#include "services/nkictl/commands.h"
#include "services/nkictl/connection.h"
#include "services/nkictl/progress.h"
#include "services/nkictl/text.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::Session;
using orchestrator::v1::SessionEvent;
using orchestrator::v1::SessionState;

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
      if (environment.json) sessions.push_back(JsonValue(session));
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

}  // namespace

void AddWatch(CLI::App* app, Verb* verb) {
  auto id = std::make_shared<std::string>();
  auto from_sequence = std::make_shared<int64_t>(1);
  CLI::App* watch = app->add_subcommand("watch", "Follow a session to its end");
  watch->add_option("SESSION", *id, "Its id")->required();
  watch->add_option("--from", *from_sequence, "First event wanted")->check(CLI::NonNegativeNumber);
  watch->callback([=] { *verb = [=](const Environment& e) { return Watch(e, *id, *from_sequence); }; });
}

void AddList(CLI::App* app, Verb* verb) {
  auto state = std::make_shared<std::string>();
  auto model = std::make_shared<std::string>();
  auto limit = std::make_shared<int>(50);
  CLI::App* list = app->add_subcommand("list", "List sessions, newest first");
  list->add_option("--state", *state, "queued, running, passed, not-solved, failed or cancelled");
  list->add_option("--model", *model, "Only sessions of this model");
  list->add_option("--limit", *limit, "Most sessions")->check(CLI::Range(1, 100000))->capture_default_str();
  list->callback([=] { *verb = [=](const Environment& e) { return List(e, *state, *model, *limit); }; });
}

void AddShow(CLI::App* app, Verb* verb) {
  auto id = std::make_shared<std::string>();
  auto kernel_only = std::make_shared<bool>(false);
  CLI::App* show = app->add_subcommand("show", "Show a session and its kernel");
  show->add_option("SESSION", *id, "Its id")->required();
  show->add_flag("--kernel", *kernel_only, "Print the kernel's source alone");
  show->callback([=] { *verb = [=](const Environment& e) { return Show(e, *id, *kernel_only); }; });
}

void AddCancel(CLI::App* app, Verb* verb) {
  auto id = std::make_shared<std::string>();
  auto reason = std::make_shared<std::string>();
  CLI::App* cancel = app->add_subcommand("cancel", "End a session");
  cancel->add_option("SESSION", *id, "Its id")->required();
  cancel->add_option("--reason", *reason, "For the record");
  cancel->callback([=] { *verb = [=](const Environment& e) { return Cancel(e, *id, *reason); }; });
}

}  // namespace nkiagent::nkictl
