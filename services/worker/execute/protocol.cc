#include "services/worker/execute/protocol.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

namespace nkiagent::worker::execute {
namespace {

using nlohmann::json;

// A reply may not make its reader work for nothing.
constexpr size_t kMaxTrials = 64;
constexpr size_t kMaxOutputs = 64;
constexpr size_t kMaxTextBytes = 2000;

json EncodePlaces(const std::vector<TensorPlace>& places) {
  json list = json::array();
  for (const TensorPlace& place : places)
    list.push_back({place.fd, place.slot.offset, place.slot.size_bytes});
  return list;
}

std::vector<TensorPlace> DecodePlaces(const json& list) {
  std::vector<TensorPlace> places;
  for (const json& place : list) {
    places.push_back({place.at(0).get<int>(), {place.at(1).get<uint64_t>(), place.at(2).get<uint64_t>()}});
  }
  return places;
}

std::string Text(const json& value) {
  std::string text = value.get<std::string>();
  if (text.size() > kMaxTextBytes) text.resize(kMaxTextBytes);
  return text;
}

// JSON wants UTF-8; names in messages come from a kernel and may be anything.
std::string Dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

json EncodeReport(const TrialReport& report) {
  json outputs = json::array();
  for (const nki::exec::OutputReport& output : report.outputs) {
    outputs.push_back({output.unwritten_elements, output.first_unwritten});
  }
  json diagnostics = json::array();
  for (const nki::Diagnostic& d : report.diagnostics) {
    diagnostics.push_back({{"severity", static_cast<int>(d.severity)},
                           {"rule", d.rule},
                           {"message", d.message},
                           {"line", d.line},
                           {"limit", d.limit},
                           {"actual", d.actual},
                           {"hint", d.hint}});
  }
  return {{"status", static_cast<int>(report.status)},
          {"message", report.message},
          {"time_ns", absl::ToInt64Nanoseconds(report.time)},
          {"outputs", std::move(outputs)},
          {"diagnostics", std::move(diagnostics)}};
}

absl::StatusOr<TrialReport> DecodeReport(const json& value) {
  TrialReport report;
  const int status = value.at("status").get<int>();
  if (status < 0 || status > static_cast<int>(TrialStatus::kNotRun)) {
    return absl::InvalidArgumentError(absl::StrCat("trial status ", status));
  }
  report.status = static_cast<TrialStatus>(status);
  report.message = Text(value.at("message"));
  report.time = absl::Nanoseconds(value.at("time_ns").get<int64_t>());
  if (value.at("outputs").size() > kMaxOutputs ||
      value.at("diagnostics").size() > static_cast<size_t>(nki::exec::kMaxDiagnostics)) {
    return absl::InvalidArgumentError("too many outputs or diagnostics");
  }
  for (const json& output : value.at("outputs")) {
    report.outputs.push_back({output.at(0).get<int64_t>(), output.at(1).get<int64_t>()});
  }
  for (const json& d : value.at("diagnostics")) {
    nki::Diagnostic diagnostic;
    const int severity = d.at("severity").get<int>();
    if (severity < 0 || severity > static_cast<int>(nki::Severity::kNote)) {
      return absl::InvalidArgumentError(absl::StrCat("severity ", severity));
    }
    diagnostic.severity = static_cast<nki::Severity>(severity);
    diagnostic.rule = Text(d.at("rule"));
    diagnostic.message = Text(d.at("message"));
    diagnostic.line = d.at("line").get<int>();
    diagnostic.limit = Text(d.at("limit"));
    diagnostic.actual = Text(d.at("actual"));
    diagnostic.hint = Text(d.at("hint"));
    report.diagnostics.push_back(std::move(diagnostic));
  }
  return report;
}

}  // namespace

std::string EncodeRequest(const Request& request) {
  json trials = json::array();
  for (const Trial& trial : request.trials) {
    trials.push_back({{"inputs", EncodePlaces(trial.inputs)}, {"outputs", EncodePlaces(trial.outputs)}});
  }
  const json header = {{"trials", std::move(trials)},
                       {"threads", request.threads},
                       {"max_bytes", request.max_bytes},
                       {"wall_limit_ns", absl::ToInt64Nanoseconds(request.wall_limit)}};
  return absl::StrCat(header.dump(), "\n", request.program);
}

absl::StatusOr<Request> DecodeRequest(absl::string_view payload) {
  const size_t end = payload.find('\n');
  if (end == absl::string_view::npos) return absl::InvalidArgumentError("execute request without a header");
  try {
    const json header = json::parse(payload.begin(), payload.begin() + end);
    Request request;
    for (const json& trial : header.at("trials")) {
      request.trials.push_back({DecodePlaces(trial.at("inputs")), DecodePlaces(trial.at("outputs"))});
    }
    request.threads = header.at("threads").get<int>();
    request.max_bytes = header.at("max_bytes").get<int64_t>();
    request.wall_limit = absl::Nanoseconds(header.at("wall_limit_ns").get<int64_t>());
    request.program = payload.substr(end + 1);
    return request;
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("execute request: ", error.what()));
  }
}

std::string EncodeReply(const std::vector<TrialReport>& reports) {
  json list = json::array();
  for (const TrialReport& report : reports) list.push_back(EncodeReport(report));
  return Dump(list);
}

absl::StatusOr<std::vector<TrialReport>> DecodeReply(absl::string_view reply) {
  try {
    const json list = json::parse(reply);
    if (!list.is_array() || list.size() > kMaxTrials) {
      return absl::InvalidArgumentError("the reply is no list of trials");
    }
    std::vector<TrialReport> reports;
    for (const json& value : list) {
      absl::StatusOr<TrialReport> report = DecodeReport(value);
      if (!report.ok()) return report.status();
      reports.push_back(*std::move(report));
    }
    return reports;
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("execute reply: ", error.what()));
  }
}

}  // namespace nkiagent::worker::execute
