// nkictl export: sessions as training episodes, a JSON object a line (services/orchestrator/episode.h).
#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/nkictl/bench.h"
#include "services/nkictl/run_file.h"
#include "services/nkictl/whole_file.h"
#include "services/orchestrator/episode.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::SessionEvent;

struct ExportFlags {
  std::vector<std::string> sessions;  // none: those that the filters name
  std::string model;
  std::string run;
  bool passed_only = false;
  int limit = 1000;
  std::string output;  // empty: stdout
};

absl::StatusOr<std::string> Episode(Client& client, const std::string& session_id) {
  std::vector<SessionEvent> events;
  orchestrator::Snapshot snapshot;
  absl::Status folded;
  const absl::StatusOr<orchestrator::v1::Session> session = client.Get(session_id);
  if (!session.ok()) return session.status();
  if (!orchestrator::IsEnded(session->state())) {
    return absl::FailedPreconditionError(
        absl::StrCat("session ", session_id, " has not ended; an episode is of a whole session"));
  }
  const absl::Status watched = client.Watch(session_id, 1, [&](const SessionEvent& event) {
    if (folded.ok()) folded = orchestrator::Apply(event, &snapshot);
    events.push_back(event);
  });
  if (!watched.ok()) return watched;
  if (!folded.ok()) return folded;
  return orchestrator::EpisodeJson(snapshot, events)
      .dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

// Ids of the ended sessions that the filters name, oldest first.
absl::StatusOr<std::vector<std::string>> Find(Client& client, const ExportFlags& flags) {
  orchestrator::v1::ListSessionsRequest request;
  request.set_model(flags.model);
  if (!flags.run.empty()) {
    const absl::StatusOr<orchestrator::v1::Run> run = FindRun(client, flags.run);
    if (!run.ok()) return run.status();
    request.set_run_id(run->id());
  }
  request.add_states(orchestrator::v1::SESSION_STATE_PASSED);
  if (!flags.passed_only) request.add_states(orchestrator::v1::SESSION_STATE_NOT_SOLVED);
  std::vector<std::string> ids;
  do {
    request.set_page_size(
        static_cast<int32_t>(std::min<size_t>(500, static_cast<size_t>(flags.limit) - ids.size())));
    absl::StatusOr<orchestrator::v1::ListSessionsResponse> page = client.List(request);
    if (!page.ok()) return page.status();
    for (const auto& session : page->sessions()) ids.push_back(session.id());
    request.set_page_token(page->next_page_token());
  } while (!request.page_token().empty() && ids.size() < static_cast<size_t>(flags.limit));
  std::reverse(ids.begin(), ids.end());
  return ids;
}

int ExportFrom(const Environment& environment, Client& client, const ExportFlags& flags) {
  std::vector<std::string> ids = flags.sessions;
  if (ids.empty()) {
    absl::StatusOr<std::vector<std::string>> found = Find(client, flags);
    if (!found.ok()) return Fail(environment, found.status());
    ids = *std::move(found);
  }
  // Without a file, episodes go to stdout as they come.
  std::optional<WholeFile> file;
  if (!flags.output.empty()) file.emplace(flags.output);
  absl::Status status = file.has_value() ? file->Open() : absl::OkStatus();
  for (auto id = ids.begin(); id != ids.end() && status.ok(); ++id) {
    absl::StatusOr<std::string> episode = Episode(client, *id);
    status = episode.status();
    if (!status.ok()) break;
    episode->push_back('\n');
    if (file.has_value()) {
      status = file->Write(*episode);
    } else if (fwrite(episode->data(), 1, episode->size(), stdout) != episode->size()) {
      status = absl::UnavailableError("can't write to stdout");
    }
  }
  if (status.ok() && file.has_value()) status = file->Commit();
  if (status.ok() && fflush(stdout) != 0) status = absl::UnavailableError("can't write to stdout");
  if (!status.ok()) return Fail(environment, status);
  fprintf(stderr, "%zu %s\n", ids.size(), ids.size() == 1 ? "episode" : "episodes");
  return kExitPass;
}

int Export(const Environment& environment, const ExportFlags& flags) {
  // The sessions of a run are where the run is.
  absl::StatusOr<Connection> connection = flags.run.empty() ? Connect(environment, /*local=*/false)
                                                            : ConnectBench(environment, /*read_only=*/true);
  if (!connection.ok()) return Fail(environment, connection.status());
  const int exit_code = ExportFrom(environment, *connection->client, flags);
  connection->Close(/*failed=*/false).IgnoreError();
  return exit_code;
}

}  // namespace

void AddExport(CLI::App* app, Verb* verb) {
  auto flags = std::make_shared<ExportFlags>();
  CLI::App* command =
      app->add_subcommand("export", "Write sessions as training episodes, JSON lines in chat format");
  command->add_option("SESSION", flags->sessions, "Their ids; none: the newest that the filters name");
  command->add_option("--model", flags->model, "Only sessions of this model");
  command->add_option("--run", flags->run, "Only sessions of this benchmark run, by its name or id");
  command->add_flag("--passed", flags->passed_only, "Only sessions with a verified kernel");
  command->add_option("--limit", flags->limit, "Most sessions")
      ->check(CLI::Range(1, 1000000))
      ->capture_default_str();
  command->add_option("-o,--output", flags->output, "File to write; stdout by default");
  command->callback([=] { *verb = [=](const Environment& e) { return Export(e, *flags); }; });
}

}  // namespace nkiagent::nkictl
