#include "services/orchestrator/requests.h"

#include <google/protobuf/io/coded_stream.h>
#include <google/protobuf/io/zero_copy_stream_impl_lite.h>

#include <algorithm>
#include <cmath>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/storage/content_hash.h"
#include "services/orchestrator/next_action.h"
#include "services/orchestrator/prompts.h"
#include "services/orchestrator/tools.h"

namespace nkiagent::orchestrator {
namespace {

// The bounds of the contract (orchestrator_service.proto, session.proto, task.proto, llm_service.proto).
constexpr size_t kMaxIdBytes = 128;
constexpr size_t kMaxNameBytes = 256;
constexpr int kMaxTurns = 100;
constexpr int kMaxTrials = 64;
constexpr int kMaxLabels = 64;
constexpr size_t kMaxLabelBytes = 1024;
constexpr int kDefaultTrials = 3;
constexpr int kDefaultPageSize = 50;
constexpr int kMaxPageSize = 500;

absl::Status TooLong(absl::string_view field, size_t size, size_t limit) {
  return absl::InvalidArgumentError(
      absl::StrCat(field, " has ", size, " bytes; at most ", limit, " are allowed"));
}

absl::Status CheckTolerance(absl::string_view field, const common::v1::Tolerance& tolerance) {
  for (const double value : {tolerance.atol(), tolerance.rtol()}) {
    if (!std::isfinite(value) || value < 0) {
      return absl::InvalidArgumentError(absl::StrCat(field, " must be finite and not negative, not ", value));
    }
  }
  return absl::OkStatus();
}

absl::Status CheckTask(const common::v1::Task& task) {
  if (task.reference_source().empty()) return absl::InvalidArgumentError("task.reference_source is empty");
  if (static_cast<int64_t>(task.reference_source().size()) > kMaxSourceBytes) {
    return TooLong("task.reference_source", task.reference_source().size(), kMaxSourceBytes);
  }
  if (task.id().size() > kMaxNameBytes) return TooLong("task.id", task.id().size(), kMaxNameBytes);
  if (task.name().size() > kMaxNameBytes) return TooLong("task.name", task.name().size(), kMaxNameBytes);
  if (task.level() < 0 || task.level() > 3) {
    return absl::InvalidArgumentError(
        absl::StrCat("task.level is ", task.level(), "; levels are 0 (none) to 3"));
  }
  if (task.labels_size() > kMaxLabels) {
    return absl::InvalidArgumentError(absl::StrCat("task.labels has ", task.labels_size(),
                                                   " entries; at most ", kMaxLabels, " are allowed"));
  }
  for (const auto& [key, value] : task.labels()) {
    if (key.size() + value.size() > kMaxLabelBytes) {
      return TooLong("an entry of task.labels", key.size() + value.size(), kMaxLabelBytes);
    }
  }
  return task.has_tolerance() ? CheckTolerance("task.tolerance", task.tolerance()) : absl::OkStatus();
}

absl::Status CheckOptions(const v1::SessionOptions& options, const RequestLimits& limits) {
  if (options.max_turns() < 0 || options.max_turns() > kMaxTurns) {
    return absl::InvalidArgumentError(absl::StrCat("options.max_turns is ", options.max_turns(),
                                                   "; 0 (default) to ", kMaxTurns, " are allowed"));
  }
  if (options.trials() < 0 || options.trials() > kMaxTrials) {
    return absl::InvalidArgumentError(absl::StrCat("options.trials is ", options.trials(),
                                                   "; 0 (default) to ", kMaxTrials, " are allowed"));
  }
  if (!verify::v1::Rigor_IsValid(options.rigor())) {
    return absl::InvalidArgumentError(absl::StrCat("options.rigor is ", options.rigor(), ", which is none"));
  }
  const int trials = options.trials() == 0 ? kDefaultTrials : options.trials();
  if (options.seeds_size() != 0 && options.seeds_size() != trials) {
    return absl::InvalidArgumentError(
        absl::StrCat("options.seeds has ", options.seeds_size(), " entries for ", trials, " trials"));
  }
  if (options.has_tolerance()) {
    if (absl::Status status = CheckTolerance("options.tolerance", options.tolerance()); !status.ok())
      return status;
  }
  if (options.max_cost_micro_usd() < 0) {
    return absl::InvalidArgumentError("options.max_cost_micro_usd is negative; 0 means no limit");
  }
  if (options.has_wall_limit()) {
    const absl::Duration limit =
        absl::Seconds(options.wall_limit().seconds()) + absl::Nanoseconds(options.wall_limit().nanos());
    if (limit <= absl::ZeroDuration() || limit > limits.max_wall_limit) {
      return absl::InvalidArgumentError(
          absl::StrCat("options.wall_limit is ", absl::FormatDuration(limit), "; over 0 and at most ",
                       absl::FormatDuration(limits.max_wall_limit), " are allowed"));
    }
  }
  for (const std::string& tool : options.tools()) {
    if (!IsTool(tool)) {
      return absl::InvalidArgumentError(
          absl::StrCat("options.tools names \"", tool.substr(0, 64),
                       "\"; the tools are: ", absl::StrJoin(ToolNames(), ", ")));
    }
  }
  return MakeSystemPrompt(options.prompt_name(), v1::MODE_AGENT, 1).status();
}

}  // namespace

absl::Status CheckSubmit(const v1::SubmitTaskRequest& request, const RequestLimits& limits) {
  if (request.request_id().size() > kMaxIdBytes)
    return TooLong("request_id", request.request_id().size(), kMaxIdBytes);
  if (request.model().empty())
    return absl::InvalidArgumentError("model is empty; \"builtin\" needs no network");
  if (request.model().size() > kMaxNameBytes) return TooLong("model", request.model().size(), kMaxNameBytes);
  if (!v1::Mode_IsValid(request.mode())) {
    return absl::InvalidArgumentError(
        absl::StrCat("mode ", static_cast<int>(request.mode()), " is not known"));
  }
  if (absl::Status status = CheckTask(request.task()); !status.ok()) return status;
  return CheckOptions(request.options(), limits);
}

v1::Session NewSessionFor(const v1::SubmitTaskRequest& request, const std::string& session_id,
                          const RequestLimits& limits) {
  v1::Session session;
  session.set_id(session_id);
  *session.mutable_task() = request.task();
  session.set_model(request.model());
  session.set_mode(request.mode() == v1::MODE_UNSPECIFIED ? v1::MODE_AGENT : request.mode());
  *session.mutable_options() = request.options();
  v1::SessionOptions* options = session.mutable_options();
  options->set_max_turns(MaxTurns(session.mode(), request.options()));
  if (options->trials() == 0) options->set_trials(kDefaultTrials);
  if (!options->has_wall_limit()) {
    options->mutable_wall_limit()->set_seconds(absl::ToInt64Seconds(limits.default_wall_limit));
  }
  if (options->prompt_name().empty()) options->set_prompt_name(kDefaultPrompt);
  session.set_state(v1::SESSION_STATE_QUEUED);
  return session;
}

std::string DeterministicBytes(const google::protobuf::Message& message) {
  std::string bytes;
  google::protobuf::io::StringOutputStream stream(&bytes);
  google::protobuf::io::CodedOutputStream coded(&stream);
  coded.SetSerializationDeterministic(true);
  message.SerializeToCodedStream(&coded);
  coded.Trim();
  return bytes;
}

std::string RequestHash(const v1::SubmitTaskRequest& request) {
  v1::SubmitTaskRequest nameless = request;
  nameless.clear_request_id();
  return storage::Sha256Hex(DeterministicBytes(nameless));
}

absl::StatusOr<int> PageSize(int requested) {
  if (requested < 0)
    return absl::InvalidArgumentError(absl::StrCat("page_size is ", requested, "; it can't be negative"));
  return requested == 0 ? kDefaultPageSize : std::min(requested, kMaxPageSize);
}

std::string ListFilterText(const v1::ListSessionsRequest& request) {
  std::vector<int> states(request.states().begin(), request.states().end());
  std::sort(states.begin(), states.end());
  return absl::StrCat(absl::StrJoin(states, ","), "\n", request.model(), "\n", request.run_id());
}

std::string MakePageToken(absl::string_view filter, int64_t before) {
  return absl::StrCat(before, "-", storage::Sha256Hex(filter).substr(0, 16));
}

absl::StatusOr<int64_t> ReadPageToken(absl::string_view filter, absl::string_view token) {
  if (token.empty()) return 0;
  int64_t before = 0;
  if (!absl::SimpleAtoi(token.substr(0, token.find('-')), &before) || before <= 0) {
    return absl::InvalidArgumentError("page_token was not given by this service");
  }
  if (token != MakePageToken(filter, before)) {
    return absl::InvalidArgumentError("page_token belongs to a list with other filters");
  }
  return before;
}

}  // namespace nkiagent::orchestrator
