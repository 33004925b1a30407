#include "services/nkictl/run_file.h"

#include <fcntl.h>
#include <google/protobuf/util/json_util.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/storage/content_hash.h"
#include "common/storage/signing_key.h"
#include "services/nkictl/text.h"
#include "services/orchestrator/result_record.h"
#include "services/orchestrator/snapshot.h"

namespace nkiagent::nkictl {
namespace {

using orchestrator::v1::ResultRecord;
using orchestrator::v1::Run;
using orchestrator::v1::RunEvent;
using orchestrator::v1::RunManifest;
using orchestrator::v1::SignedText;

constexpr char kFileFormat[] = "nkiagent.run-file.v1";
// Far above any run, far below what would exhaust memory.
constexpr size_t kMaxFileBytes = size_t{1} << 30;

bool FromJson(const std::string& text, google::protobuf::Message* message) {
  google::protobuf::util::JsonParseOptions options;
  options.ignore_unknown_fields = true;  // a newer writer's
  return google::protobuf::util::JsonStringToMessage(text, message, options).ok();
}

// A member of a document as a message; false if it is absent or of another form.
bool Member(const nlohmann::json& document, const char* key, google::protobuf::Message* message) {
  const auto member = document.find(key);
  return member != document.end() && FromJson(member->dump(), message);
}

// Collects findings about one run.
class Checker {
 public:
  Checker(const RunData& data, const std::string& public_key)
      : data_(data), key_(public_key.empty() ? data.run.public_key() : public_key) {}

  std::vector<std::string> Check() {
    if (data_.run.public_key() != key_) {
      Say("the run names another public key than the one to trust");
      return std::move(findings_);
    }
    CheckManifest();
    for (const RunRowData& row : data_.rows) CheckRow(row);
    if (data_.run.state() == orchestrator::v1::RUN_STATE_FINISHED) {
      for (int row = 0; row < Total(); ++row) {
        if (!seen_.contains(row)) Say(absl::StrCat(data_.RowName(row), ": its row is missing"));
      }
    }
    return std::move(findings_);
  }

 private:
  int Total() const { return std::max(1, data_.run.spec().repeats()) * data_.run.spec().tasks_size(); }
  void Say(std::string finding) { findings_.push_back(std::move(finding)); }

  void CheckManifest() {
    if (!storage::VerifySignature(key_, data_.manifest.text(), data_.manifest.signature()).ok()) {
      Say("the manifest was changed, or signed by another key");
      return;
    }
    RunManifest manifest;
    if (!FromJson(data_.manifest.text(), &manifest) || manifest.format() != orchestrator::kManifestFormat) {
      Say("the manifest is not one of this version");
      return;
    }
    const orchestrator::v1::RunSpec& spec = data_.run.spec();
    const auto same = [this](const char* what, const auto& signed_value, const auto& value) {
      if (!(signed_value == value)) Say(absl::StrCat("the run's ", what, " is not the one in its manifest"));
    };
    same("id", manifest.run_id(), data_.run.id());
    same("name", manifest.run_name(), spec.name());
    same("suite", manifest.suite(), spec.suite());
    same("version of the suite", manifest.suite_version(), spec.suite_version());
    same("model", manifest.model(), spec.model());
    same("mode", manifest.mode(), spec.mode());
    same("number of repeats", manifest.repeats(), spec.repeats());
    same("number of tasks", manifest.task_ids_size(), spec.tasks_size());
    same("creation time", Json(manifest.create_time()), Json(data_.run.create_time()));
    same("set of options", Json(manifest.options()), Json(spec.options()));
    if (manifest.task_ids_size() != spec.tasks_size() ||
        manifest.reference_hashes_size() != spec.tasks_size())
      return;
    for (int i = 0; i < spec.tasks_size(); ++i) {
      if (manifest.task_ids(i) != spec.tasks(i).id() ||
          manifest.reference_hashes(i) != storage::Sha256Hex(spec.tasks(i).reference_source())) {
        Say(absl::StrCat("task ", spec.tasks(i).id(), ": it is not the one in the manifest"));
      }
    }
  }

  void CheckRow(const RunRowData& row) {
    const ResultRecord& record = row.record;
    if (data_.run.spec().tasks_size() == 0 || record.row() < 0) return Say("a row belongs to no task");
    const std::string name = absl::StrCat("row ", record.row(), " (", data_.RowName(record.row()), ")");
    const SignedText& text = row.signed_text;
    if (!storage::VerifySignature(key_, text.text(), text.signature()).ok())
      return Say(absl::StrCat(name, ": its record was changed, or signed by another key"));
    if (record.format() != orchestrator::kRecordFormat)
      return Say(absl::StrCat(name, ": its record is not one of this version"));
    if (record.run_id() != data_.run.id())
      return Say(absl::StrCat(name, ": it belongs to run ", record.run_id()));
    if (record.row() >= Total()) return Say(absl::StrCat(name, ": the run has only ", Total(), " rows"));
    if (!seen_.insert(record.row()).second) Say(absl::StrCat(name, ": it is there more than once"));
    const common::v1::Task& task = data_.TaskOf(record.row());
    if (record.task_id() != task.id() ||
        record.reference_hash() != storage::Sha256Hex(task.reference_source()))
      Say(absl::StrCat(name, ": its task is not the one that was recorded"));
    const auto category = task.labels().find("category");
    if (record.level() != task.level() || record.weight_seed() != task.weight_seed() ||
        record.category() != (category == task.labels().end() ? "" : category->second))
      Say(absl::StrCat(name,
                       ": the level, category or weight seed of its task is not the one that was recorded"));
    if (record.model() != data_.run.spec().model() || record.mode() != data_.run.spec().mode())
      Say(absl::StrCat(name, ": its model or mode is not the run's"));
    if (row.kernel.source().empty()) {
      if (data_.with_kernels && !record.kernel_hash().empty())
        Say(absl::StrCat(name, ": its kernel is missing"));
    } else if (record.kernel_hash() != storage::Sha256Hex(orchestrator::KernelKey(row.kernel))) {
      Say(absl::StrCat(name, ": its kernel is not the one that was recorded"));
    }
  }

  const RunData& data_;
  const std::string key_;
  std::set<int> seen_;
  std::vector<std::string> findings_;
};

}  // namespace

std::string RunData::RowName(int row) const {
  if (run.spec().tasks_size() == 0) return "no task";
  std::string name = absl::StrCat("task ", TaskOf(row).id());
  if (run.spec().repeats() > 1) absl::StrAppend(&name, ", repeat ", 1 + row / run.spec().tasks_size());
  return name;
}

absl::StatusOr<Run> FindRun(Client& client, const std::string& id_or_name) {
  absl::StatusOr<std::vector<Run>> runs = client.ListRuns();
  if (!runs.ok()) return runs.status();
  for (const Run& run : *runs) {
    if (run.id() == id_or_name || run.spec().name() == id_or_name) return run;
  }
  return absl::NotFoundError(
      absl::StrCat("no run has the id or name \"", id_or_name, "\"; nkictl bench list lists them"));
}

absl::StatusOr<RunData> FetchRun(Client& client, const std::string& id_or_name, bool with_kernels) {
  absl::StatusOr<Run> found = FindRun(client, id_or_name);
  if (!found.ok()) return found.status();
  RunData data;
  data.with_kernels = with_kernels;
  absl::StatusOr<Run> run = client.GetRun(found->id());
  if (!run.ok()) return run.status();
  data.run = *std::move(run);
  absl::StatusOr<std::vector<RunEvent>> events = client.ReadRun(data.run.id(), data.run.last_sequence());
  if (!events.ok()) return events.status();
  for (RunEvent& event : *events) {
    if (event.has_created()) data.manifest = std::move(*event.mutable_created()->mutable_manifest());
    if (!event.has_session_ended()) continue;
    RunRowData& row = data.rows.emplace_back();
    row.signed_text = std::move(*event.mutable_session_ended()->mutable_record());
    if (!FromJson(row.signed_text.text(), &row.record)) {
      row.record.Clear();
      row.record.set_row(event.session_ended().row());
    }
    if (!with_kernels || row.record.kernel_hash().empty()) continue;
    absl::StatusOr<orchestrator::v1::Session> session = client.Get(row.record.session_id());
    if (!session.ok()) return session.status();
    row.kernel = session->has_best() ? session->best().kernel() : session->last().kernel();
  }
  return data;
}

std::string RunFileText(const RunData& data) {
  nlohmann::ordered_json document;
  document["format"] = kFileFormat;
  document["run"] = JsonValue(data.run);
  document["manifest"] = JsonValue(data.manifest);
  document["rows"] = nlohmann::json::array();
  for (const RunRowData& row : data.rows) {
    nlohmann::ordered_json entry;
    entry["record"] = row.signed_text.text();
    entry["signature"] = row.signed_text.signature();
    if (!row.kernel.source().empty()) entry["kernel"] = JsonValue(row.kernel);
    document["rows"].push_back(std::move(entry));
  }
  return absl::StrCat(document.dump(1, ' ', false, nlohmann::json::error_handler_t::replace), "\n");
}

absl::StatusOr<RunData> ParseRunFile(const std::string& text) {
  nlohmann::json document;
  try {
    document = nlohmann::json::parse(text);
  } catch (const nlohmann::json::parse_error& error) {
    return absl::InvalidArgumentError(absl::StrCat("not an exported run: no valid JSON from byte ",
                                                   error.byte, " of ", text.size(),
                                                   error.byte > text.size() ? ": it is cut off" : ""));
  }
  if (!document.is_object() || document.value("format", nlohmann::json()) != kFileFormat) {
    return absl::InvalidArgumentError(
        absl::StrCat("not an exported run: a JSON document whose \"format\" is \"", kFileFormat, "\""));
  }
  RunData data;
  if (!Member(document, "run", &data.run) || data.run.spec().tasks_size() == 0)
    return absl::InvalidArgumentError("\"run\" is not a run with its tasks");
  if (!Member(document, "manifest", &data.manifest))
    return absl::InvalidArgumentError("\"manifest\" is not a signed text");
  const auto rows = document.find("rows");
  if (rows == document.end() || !rows->is_array()) return absl::InvalidArgumentError("\"rows\" is no list");
  for (const nlohmann::json& entry : *rows) {
    RunRowData& row = data.rows.emplace_back();
    if (!entry.is_object() || !entry.value("record", nlohmann::json()).is_string() ||
        !entry.value("signature", nlohmann::json()).is_string()) {
      return absl::InvalidArgumentError(
          absl::StrCat("entry ", data.rows.size() - 1, " of \"rows\" has no record and signature"));
    }
    row.signed_text.set_text(entry["record"].get<std::string>());
    row.signed_text.set_signature(entry["signature"].get<std::string>());
    if (!FromJson(row.signed_text.text(), &row.record)) row.record.Clear();
    if (entry.contains("kernel") && !Member(entry, "kernel", &row.kernel))
      return absl::InvalidArgumentError(
          absl::StrCat("entry ", data.rows.size() - 1, " of \"rows\" has no valid kernel"));
  }
  return data;
}

absl::StatusOr<RunData> ReadRunFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return absl::NotFoundError(absl::StrCat("can't read ", path));
  std::string text;
  char buffer[1 << 16];
  while (file.read(buffer, sizeof(buffer)), file.gcount() > 0) {
    text.append(buffer, static_cast<size_t>(file.gcount()));
    if (text.size() > kMaxFileBytes)
      return absl::InvalidArgumentError(absl::StrCat(path, " has more than ", kMaxFileBytes, " bytes"));
  }
  absl::StatusOr<RunData> data = ParseRunFile(text);
  if (data.ok()) return data;
  return absl::Status(data.status().code(), absl::StrCat(path, ": ", data.status().message()));
}

std::vector<std::string> CheckRun(const RunData& data, const std::string& public_key) {
  return Checker(data, public_key).Check();
}

}  // namespace nkiagent::nkictl
