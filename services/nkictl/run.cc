// nkictl run and submit: a task becomes a session.
#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "services/nkictl/client.h"
#include "services/nkictl/connection.h"
#include "services/nkictl/progress.h"
#include "services/nkictl/session_flags.h"
#include "services/nkictl/text.h"
#include "services/nkictl/whole_file.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::Session;
using orchestrator::v1::SessionEvent;

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
  if (absl::Status status = WriteWhole(path, session.best().kernel().source()); !status.ok()) return status;
  return std::make_optional(path);
}

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

int Run(const Environment& environment, const SessionFlags& flags, const std::string& file,
        const std::string& output) {
  absl::StatusOr<orchestrator::v1::SubmitTaskRequest> request = SubmitRequestFor(flags, file);
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
    nlohmann::json document = {{"session", JsonValue(*session)}};
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

int Submit(const Environment& environment, const SessionFlags& flags, const std::string& file) {
  absl::StatusOr<orchestrator::v1::SubmitTaskRequest> request = SubmitRequestFor(flags, file);
  if (!request.ok()) return Fail(environment, request.status());
  absl::StatusOr<Connection> connection = Connect(environment, /*local=*/false);
  if (!connection.ok()) return Fail(environment, connection.status());
  absl::StatusOr<Session> session = connection->client->Submit(*request);
  if (!session.ok()) return Fail(environment, session.status());
  Print(absl::StrCat(environment.json ? Json(*session) : session->id(), "\n"));
  return kExitPass;
}

}  // namespace

void AddRun(CLI::App* app, Verb* verb) {
  auto flags = std::make_shared<SessionFlags>();
  auto file = std::make_shared<std::string>();
  auto output = std::make_shared<std::string>();
  CLI::App* run = app->add_subcommand("run", "Submit a task, follow it, write the verified kernel");
  run->add_option("FILE", *file, "KernelBench-style file: Model, get_inputs, get_init_inputs")->required();
  run->add_option("-o,--output", *output, "Where the kernel goes; <task>.nki.py by default");
  AddSessionFlags(run, flags.get());
  run->callback([=] { *verb = [=](const Environment& e) { return Run(e, *flags, *file, *output); }; });
}

void AddSubmit(CLI::App* app, Verb* verb) {
  auto flags = std::make_shared<SessionFlags>();
  auto file = std::make_shared<std::string>();
  CLI::App* submit = app->add_subcommand("submit", "Submit a task and print the session's id");
  submit->add_option("FILE", *file, "KernelBench-style file")->required();
  AddSessionFlags(submit, flags.get());
  submit->callback([=] { *verb = [=](const Environment& e) { return Submit(e, *flags, *file); }; });
}

}  // namespace nkiagent::nkictl
