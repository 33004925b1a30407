#include "services/orchestrator/run_requests.h"

#include <algorithm>
#include <map>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/storage/content_hash.h"
#include "services/orchestrator/result_record.h"

namespace nkiagent::orchestrator {
namespace {

// The bounds of run.proto.
constexpr int kMaxTasks = 10000;
constexpr int kMaxRepeats = 1000;
constexpr int kMaxLabels = 64;
constexpr size_t kMaxNameBytes = 128;
// Sessions of a run: a bound on the fold's memory.
constexpr int64_t kMaxRows = 200000;

absl::Status OutOfBounds(absl::string_view field, int64_t value, int64_t least, int64_t most) {
  return absl::InvalidArgumentError(
      absl::StrCat("spec.", field, " is ", value, "; ", least, " to ", most, " are allowed"));
}

absl::Status CheckName(absl::string_view name) {
  if (name.size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(
        absl::StrCat("spec.name has ", name.size(), " characters; at most ", kMaxNameBytes, " are allowed"));
  }
  if (!std::all_of(name.begin(), name.end(), [](unsigned char c) {
        return absl::ascii_isalnum(c) || c == '.' || c == '_' || c == '-';
      })) {
    return absl::InvalidArgumentError("spec.name may hold letters, digits and \"._-\" only");
  }
  return absl::OkStatus();
}

absl::Status CheckTasks(const v1::CreateRunRequest& request, const RequestLimits& limits) {
  std::map<std::string, int> seen;
  for (int i = 0; i < request.spec().tasks_size(); ++i) {
    const common::v1::Task& task = request.spec().tasks(i);
    if (task.id().empty()) return absl::InvalidArgumentError(absl::StrCat("spec.tasks[", i, "] has no id"));
    if (const auto [earlier, fresh] = seen.emplace(task.id(), i); !fresh) {
      return absl::InvalidArgumentError(absl::StrCat("spec.tasks[", earlier->second, "] and spec.tasks[", i,
                                                     "] have the same id \"", task.id(), "\""));
    }
    v1::SubmitTaskRequest session;
    *session.mutable_task() = task;
    session.set_model(request.spec().model());
    session.set_mode(request.spec().mode());
    *session.mutable_options() = request.spec().options();
    if (absl::Status status = CheckSubmit(session, limits); !status.ok()) {
      return absl::Status(status.code(), absl::StrCat("task \"", task.id(), "\": ", status.message()));
    }
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status CheckRun(const v1::CreateRunRequest& request, const RequestLimits& limits) {
  const v1::RunSpec& spec = request.spec();
  if (request.request_id().size() > kMaxNameBytes) {
    return absl::InvalidArgumentError(absl::StrCat("request_id has ", request.request_id().size(),
                                                   " bytes; at most ", kMaxNameBytes, " are allowed"));
  }
  if (absl::Status status = CheckName(spec.name()); !status.ok()) return status;
  if (spec.tasks_size() < 1 || spec.tasks_size() > kMaxTasks)
    return absl::InvalidArgumentError(
        absl::StrCat("spec.tasks has ", spec.tasks_size(), " entries; 1 to ", kMaxTasks, " are allowed"));
  if (spec.repeats() < 0 || spec.repeats() > kMaxRepeats)
    return OutOfBounds("repeats", spec.repeats(), 0, kMaxRepeats);
  const int64_t rows = int64_t{std::max(1, spec.repeats())} * spec.tasks_size();
  if (rows > kMaxRows) {
    return absl::InvalidArgumentError(
        absl::StrCat("the run has ", rows, " sessions; at most ", kMaxRows, " are allowed"));
  }
  if (spec.concurrency() < 0) return OutOfBounds("concurrency", spec.concurrency(), 0, 256);
  if (spec.max_cost_micro_usd() < 0)
    return absl::InvalidArgumentError("spec.max_cost_micro_usd is negative; 0 means no limit");
  if (spec.labels_size() > kMaxLabels) return OutOfBounds("labels", spec.labels_size(), 0, kMaxLabels);
  return CheckTasks(request, limits);
}

v1::Run NewRunFor(const v1::CreateRunRequest& request, const std::string& run_id) {
  v1::Run run;
  run.set_id(run_id);
  *run.mutable_spec() = request.spec();
  v1::RunSpec* spec = run.mutable_spec();
  if (spec->name().empty()) spec->set_name(run_id);
  if (spec->mode() == v1::MODE_UNSPECIFIED) spec->set_mode(v1::MODE_AGENT);
  if (spec->repeats() == 0) spec->set_repeats(1);
  run.set_state(v1::RUN_STATE_RUNNING);
  return run;
}

v1::RunManifest ManifestOf(const v1::Run& run) {
  v1::RunManifest manifest;
  manifest.set_format(kManifestFormat);
  manifest.set_run_id(run.id());
  manifest.set_run_name(run.spec().name());
  manifest.set_suite(run.spec().suite());
  manifest.set_suite_version(run.spec().suite_version());
  manifest.set_model(run.spec().model());
  manifest.set_mode(run.spec().mode());
  manifest.set_repeats(run.spec().repeats());
  for (const common::v1::Task& task : run.spec().tasks()) {
    manifest.add_task_ids(task.id());
    manifest.add_reference_hashes(storage::Sha256Hex(task.reference_source()));
  }
  *manifest.mutable_options() = run.spec().options();
  *manifest.mutable_create_time() = run.create_time();
  return manifest;
}

v1::SubmitTaskRequest SessionRequest(const std::string& run_id, const v1::RunSpec& spec, int row) {
  v1::SubmitTaskRequest request;
  request.set_request_id(absl::StrCat(run_id, "/", row));
  *request.mutable_task() = spec.tasks(row % spec.tasks_size());
  request.set_model(spec.model());
  request.set_mode(spec.mode());
  *request.mutable_options() = spec.options();
  // No session may spend more than all of them; and a model without prices is refused rather than taken for
  // free.
  if (spec.max_cost_micro_usd() > 0 && spec.options().max_cost_micro_usd() == 0)
    request.mutable_options()->set_max_cost_micro_usd(spec.max_cost_micro_usd());
  return request;
}

std::string RunRequestHash(const v1::CreateRunRequest& request) {
  return storage::Sha256Hex(DeterministicBytes(request.spec()));
}

}  // namespace nkiagent::orchestrator
