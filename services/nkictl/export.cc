// nkictl export: sessions as training episodes, a JSON object a line (services/orchestrator/episode.h).
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/nkictl/commands.h"
#include "services/nkictl/connection.h"
#include "services/orchestrator/episode.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::SessionEvent;

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
  request.set_run_id(flags.run);
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

// Writes to a file beside the wanted one, which appears only when it is whole.
class Output {
 public:
  explicit Output(std::string path) : path_(std::move(path)) {
    if (!path_.empty()) file_.open(path_ + ".part", std::ios::binary | std::ios::trunc);
  }
  void Line(const std::string& line) {
    if (path_.empty()) {
      fputs(absl::StrCat(line, "\n").c_str(), stdout);
    } else {
      file_ << line << '\n';
    }
  }
  absl::Status Close() {
    if (path_.empty())
      return fflush(stdout) == 0 ? absl::OkStatus() : absl::UnavailableError("can't write to stdout");
    file_.close();
    std::error_code error;
    if (file_) std::filesystem::rename(path_ + ".part", path_, error);
    if (!file_ || error) return absl::UnavailableError(absl::StrCat("can't write ", path_));
    return absl::OkStatus();
  }

 private:
  const std::string path_;
  std::ofstream file_;
};

}  // namespace

int Export(const Environment& environment, const ExportFlags& flags) {
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/false);
  if (!connection.ok()) return Fail(environment, connection.status());
  std::vector<std::string> ids = flags.sessions;
  if (ids.empty()) {
    absl::StatusOr<std::vector<std::string>> found = Find(*connection->client, flags);
    if (!found.ok()) return Fail(environment, found.status());
    ids = *std::move(found);
  }
  Output output(flags.output);
  for (const std::string& id : ids) {
    const absl::StatusOr<std::string> episode = Episode(*connection->client, id);
    if (!episode.ok()) return Fail(environment, episode.status());
    output.Line(*episode);
  }
  if (const absl::Status written = output.Close(); !written.ok()) return Fail(environment, written);
  fprintf(stderr, "%zu %s\n", ids.size(), ids.size() == 1 ? "episode" : "episodes");
  return kExitPass;
}

}  // namespace nkiagent::nkictl
