#include "services/compile/trace_protocol.h"

#include <algorithm>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/contract/clean_text.h"
#include "common/contract/element_types.h"
#include "services/compile/compile_request.h"

namespace nkiagent::compile {
namespace {

using nlohmann::json;

constexpr size_t kMaxHeaderBytes = size_t{4} << 20;

std::string Text(const json& object, const char* key) {
  const auto found = object.find(key);
  return found != object.end() && found->is_string()
             ? contract::CleanText(found->get_ref<const std::string&>(), kMaxDiagnosticText)
             : std::string();
}

int32_t Position(const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number_integer()) return 0;
  return static_cast<int32_t>(
      std::clamp<int64_t>(found->get<int64_t>(), 0, std::numeric_limits<int32_t>::max()));
}

absl::StatusOr<common::v1::Diagnostic> ReadDiagnostic(const json& object) {
  if (!object.is_object()) return absl::InvalidArgumentError("a diagnostic is not an object");
  common::v1::Diagnostic diagnostic;
  const std::string severity = Text(object, "severity");
  if (severity == "error") {
    diagnostic.set_severity(common::v1::SEVERITY_ERROR);
  } else if (severity == "warning") {
    diagnostic.set_severity(common::v1::SEVERITY_WARNING);
  } else if (severity == "note") {
    diagnostic.set_severity(common::v1::SEVERITY_NOTE);
  } else {
    return absl::InvalidArgumentError(
        absl::StrCat("a diagnostic's severity is '", severity.substr(0, 20), "'"));
  }
  diagnostic.set_rule(Text(object, "rule"));
  diagnostic.set_message(Text(object, "message"));
  diagnostic.set_line(Position(object, "line"));
  diagnostic.set_column(Position(object, "column"));
  diagnostic.set_limit(Text(object, "limit"));
  diagnostic.set_actual(Text(object, "actual"));
  diagnostic.set_hint(Text(object, "hint"));
  diagnostic.set_function(Text(object, "function"));
  return diagnostic;
}

}  // namespace

std::string TraceRequestJson(const v1::CompileRequest& request, int64_t max_instructions) {
  json arguments = json::array();
  for (const common::v1::TensorSpec& spec : request.arguments()) {
    arguments.push_back({{"name", spec.name()},
                         {"dtype", contract::NameOf(spec.dtype())},
                         {"shape", std::vector<int64_t>(spec.dims().begin(), spec.dims().end())}});
  }
  json constants = json::object();
  for (const common::v1::KernelConstant& constant : request.constants()) {
    constants[constant.name()] = constant.literal();
  }
  const json message = {{"source", request.kernel().source()},
                        {"entry", EntryName(request.kernel())},
                        {"arguments", std::move(arguments)},
                        {"constants", std::move(constants)},
                        {"grid", std::vector<int32_t>(request.kernel().grid_dims().begin(),
                                                      request.kernel().grid_dims().end())},
                        {"target", TargetName(request.target())},
                        {"sdk", SdkName(request.target())},
                        {"max_instructions", max_instructions}};
  return message.dump();
}

absl::StatusOr<TraceReply> ParseTraceReply(absl::string_view reply) {
  const size_t newline = reply.find('\n');
  if (newline == absl::string_view::npos) return absl::InvalidArgumentError("the reply has no header line");
  // A parsed value takes many times the room of its text.
  if (newline > kMaxHeaderBytes) return absl::InvalidArgumentError("the reply's header is over 4 MiB");
  const json header =
      json::parse(reply.begin(), reply.begin() + newline, /*cb=*/nullptr, /*allow_exceptions=*/false);
  if (!header.is_object()) return absl::InvalidArgumentError("the reply's header is not a JSON object");
  const auto ok = header.find("ok");
  const auto diagnostics = header.find("diagnostics");
  if (ok == header.end() || !ok->is_boolean() || diagnostics == header.end() || !diagnostics->is_array()) {
    return absl::InvalidArgumentError("the reply's header lacks ok or diagnostics");
  }
  TraceReply result;
  bool any_error = false;
  for (const json& object : *diagnostics) {
    if (result.diagnostics.size() == kMaxReplyDiagnostics) break;
    absl::StatusOr<common::v1::Diagnostic> diagnostic = ReadDiagnostic(object);
    if (!diagnostic.ok()) return diagnostic.status();
    any_error |= diagnostic->severity() == common::v1::SEVERITY_ERROR;
    result.diagnostics.push_back(*std::move(diagnostic));
  }
  const absl::string_view program = reply.substr(newline + 1);
  if (ok->get<bool>() == program.empty() || ok->get<bool>() == any_error) {
    return absl::InvalidArgumentError("the reply's verdict, program and diagnostics contradict each other");
  }
  result.program = std::string(program);
  return result;
}

}  // namespace nkiagent::compile
