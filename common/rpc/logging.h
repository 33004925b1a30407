// Logs: one line for each event, a message and key=value fields, with the request id on every line of a call.
//
//   rpc::InitLogging({.component = "compile-service"});
//   rpc::Logger log = rpc::Logger::Get("store");
//   log.Info("program stored", {{"id", id}, {"bytes", size}});
//   log.With({{"request_id", request_id}}).Warn("child killed", {{"reason", "wall_timeout"}});
//
// text: 2026-01-31T12:00:00.123Z INFO  compile-service/store program stored id=ab12 bytes=4096
// json:
// {"time":"2026-01-31T12:00:00.123Z","level":"info","component":"compile-service/store","message":…,"id":…}
//
// Fields go to stderr unless a file is named. Never put kernel sources, prompts, keys or tokens into a field.
#ifndef COMMON_RPC_LOGGING_H_
#define COMMON_RPC_LOGGING_H_

#include <spdlog/spdlog.h>

#include <concepts>
#include <cstdint>
#include <initializer_list>
#include <memory>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nkiagent::rpc {

struct LoggingOptions {
  // The service's name, first on every line; a logger's own name follows after a slash.
  std::string component = "nkiagent";
  // debug, info, warn, error.
  std::string level = "info";
  // text or json.
  std::string format = "text";
  // Empty: stderr. Otherwise a file that is appended to.
  std::string file;
};

// Sets up the process's logging; INVALID_ARGUMENT for an unknown level or format, UNAVAILABLE for an
// unwritable file. Call once at start, before threads log. Without it, lines go to stderr as text from level
// info.
absl::Status InitLogging(const LoggingOptions& options);

// One key and its value; a cheap temporary.
struct LogField {
  using Value = std::variant<std::string, int64_t, double, bool>;
  template <std::integral T>
  LogField(absl::string_view k, T v)  // NOLINT(google-explicit-constructor): written as {"key", value}
      : key(k), value(Of(v)) {}
  LogField(absl::string_view k, double v) : key(k), value(v) {}
  LogField(absl::string_view k, absl::string_view v) : key(k), value(std::string(v)) {}
  LogField(absl::string_view k, const std::string& v) : key(k), value(v) {}
  LogField(absl::string_view k, const char* v) : key(k), value(std::string(v)) {}

  std::string key;
  Value value;

 private:
  template <class T>
  static Value Of(T v) {
    if constexpr (std::same_as<T, bool>) {
      return v;
    } else {
      return static_cast<int64_t>(v);
    }
  }
};

// A named writer of lines with fields bound to it. Copyable; thread safe.
class Logger {
 public:
  using Fields = std::initializer_list<LogField>;

  // `name`: the part of the component that speaks ("store", "rpc"); empty for the component itself.
  static Logger Get(absl::string_view name = "");

  // This logger with more fields on every line.
  Logger With(Fields fields) const;

  void Debug(absl::string_view message, Fields fields = {}) const {
    Write(spdlog::level::debug, message, fields);
  }
  void Info(absl::string_view message, Fields fields = {}) const {
    Write(spdlog::level::info, message, fields);
  }
  void Warn(absl::string_view message, Fields fields = {}) const {
    Write(spdlog::level::warn, message, fields);
  }
  void Error(absl::string_view message, Fields fields = {}) const {
    Write(spdlog::level::err, message, fields);
  }

 private:
  void Write(spdlog::level::level_enum level, absl::string_view message, Fields fields) const;

  std::string name_;
  std::vector<LogField> bound_;
};

// The line a logger writes, without the newline; for tests and tools. `time` is RFC 3339.
std::string FormatLogLine(absl::string_view format, absl::string_view time, absl::string_view level,
                          absl::string_view component, absl::string_view message,
                          const std::vector<LogField>& fields);

}  // namespace nkiagent::rpc

#endif  // COMMON_RPC_LOGGING_H_
