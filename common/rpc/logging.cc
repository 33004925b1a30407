#include "common/rpc/logging.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <mutex>
#include <nlohmann/json.hpp>
#include <shared_mutex>

#include "absl/strings/escaping.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"

namespace nkiagent::rpc {
namespace {

// The process's log: replaced whole by InitLogging, read by every line.
struct State {
  std::string component = "nkiagent";
  std::string format = "text";
  std::shared_ptr<spdlog::logger> sink;
};

std::shared_ptr<spdlog::logger> Wrap(const std::shared_ptr<spdlog::sinks::sink>& sink) {
  auto logger = std::make_shared<spdlog::logger>("nkiagent", sink);
  logger->set_pattern("%v");
  logger->flush_on(spdlog::level::info);
  return logger;
}

std::shared_mutex state_mutex;

// Never destroyed: threads may still log while the process exits.
State& GlobalState() {
  static State& state = *new State{.sink = Wrap(std::make_shared<spdlog::sinks::stderr_sink_mt>())};
  return state;
}

// A value as it stands in a text line: quoted when a reader (or grep) would otherwise take it for two.
std::string TextValue(const LogField::Value& value) {
  if (const auto* text = std::get_if<std::string>(&value)) {
    const bool plain = !text->empty() && text->find_first_of(" \"=\n\r\t\\") == std::string::npos;
    return plain ? absl::Utf8SafeCEscape(*text) : absl::StrCat("\"", absl::Utf8SafeCEscape(*text), "\"");
  }
  if (const auto* integer = std::get_if<int64_t>(&value)) return absl::StrCat(*integer);
  if (const auto* real = std::get_if<double>(&value)) return absl::StrFormat("%.6g", *real);
  return std::get<bool>(value) ? "true" : "false";
}

}  // namespace

std::string FormatLogLine(absl::string_view format, absl::string_view time, absl::string_view level,
                          absl::string_view component, absl::string_view message,
                          const std::vector<LogField>& fields) {
  if (format == "json") {
    nlohmann::ordered_json line;
    line["time"] = std::string(time);
    line["level"] = std::string(level);
    line["component"] = std::string(component);
    line["message"] = std::string(message);
    for (const LogField& field : fields) {
      std::visit([&](const auto& value) { line[field.key] = value; }, field.value);
    }
    // Values may hold any bytes (a child's output, say); a log line must not throw.
    return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  }
  std::string line = absl::StrFormat("%s %-5s %s %s", time, level == "warning" ? "warn" : level, component,
                                     absl::Utf8SafeCEscape(message));
  for (const LogField& field : fields) absl::StrAppend(&line, " ", field.key, "=", TextValue(field.value));
  return line;
}

absl::Status InitLogging(const LoggingOptions& options) {
  if (options.format != "text" && options.format != "json") {
    return absl::InvalidArgumentError(absl::StrCat("log format '", options.format, "' is not text or json"));
  }
  const spdlog::level::level_enum level = spdlog::level::from_str(options.level);
  if (level == spdlog::level::off && options.level != "off") {
    return absl::InvalidArgumentError(
        absl::StrCat("log level '", options.level, "' is not debug, info, warn or error"));
  }
  std::shared_ptr<spdlog::sinks::sink> sink;
  try {
    if (options.file.empty()) {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    } else {
      sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file);
    }
  } catch (const spdlog::spdlog_ex& error) {
    return absl::UnavailableError(absl::StrCat("log file ", options.file, ": ", error.what()));
  }
  auto logger = Wrap(sink);
  logger->set_level(level);
  std::unique_lock lock(state_mutex);
  GlobalState() = State{options.component, options.format, std::move(logger)};
  return absl::OkStatus();
}

Logger Logger::Get(absl::string_view name) {
  Logger logger;
  logger.name_ = std::string(name);
  return logger;
}

Logger Logger::With(Fields fields) const {
  Logger logger = *this;
  logger.bound_.insert(logger.bound_.end(), fields.begin(), fields.end());
  return logger;
}

void Logger::Write(spdlog::level::level_enum level, absl::string_view message, Fields fields) const {
  std::shared_lock lock(state_mutex);
  const State& state = GlobalState();
  if (!state.sink->should_log(level)) return;
  std::vector<LogField> all(fields);
  all.insert(all.end(), bound_.begin(), bound_.end());
  const std::string time = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", absl::Now(), absl::UTCTimeZone());
  const std::string component = name_.empty() ? state.component : absl::StrCat(state.component, "/", name_);
  const auto level_name = spdlog::level::to_string_view(level);
  state.sink->log(level, FormatLogLine(state.format, time, {level_name.data(), level_name.size()}, component,
                                       message, all));
}

}  // namespace nkiagent::rpc
