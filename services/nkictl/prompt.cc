// nkictl prompt: what a model is sent.
#include <CLI/CLI.hpp>
#include <memory>

#include "absl/strings/str_cat.h"
#include "services/nkictl/client.h"
#include "services/nkictl/connection.h"
#include "services/nkictl/session_flags.h"
#include "services/nkictl/text.h"

namespace nkiagent::nkictl {
namespace {

// What the first model call of a session would carry, to the letter.
int PromptShow(const Environment& environment, const SessionFlags& flags, const std::string& file) {
  absl::StatusOr<orchestrator::v1::SubmitTaskRequest> submit = SubmitRequestFor(flags, file);
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

}  // namespace

void AddPrompt(CLI::App* app, Verb* verb) {
  CLI::App* prompt = app->add_subcommand("prompt", "What a model is sent")->require_subcommand(1);
  auto flags = std::make_shared<SessionFlags>();
  auto file = std::make_shared<std::string>();
  CLI::App* show = prompt->add_subcommand("show", "Print the first model call of a task, to the letter");
  show->add_option("FILE", *file, "KernelBench-style file")->required();
  AddSessionFlags(show, flags.get());
  show->callback([=] { *verb = [=](const Environment& e) { return PromptShow(e, *flags, *file); }; });
}

}  // namespace nkiagent::nkictl
