// The options of one service, declared once and read from four places. Strength: flag > YAML file >
// environment > default. One option `drain_deadline` of a service whose short name is `compile` is
//   --drain_deadline=10s            on the command line,
//   drain_deadline: 10s             in the file named by --config (or NKIAGENT_COMPILE_CONFIG),
//   NKIAGENT_COMPILE_DRAIN_DEADLINE=10s   in the environment.
//
//   Options options;                                  // a plain struct with defaults
//   config::OptionSet set("compile", "Compiles NKI kernels.");
//   set.Add("port", &options.port, "Port to listen on; 0 picks a free one.").Range(0, 65535);
//   if (std::optional<int> exit_code = set.ParseMain(argc, argv)) return *exit_code;
//
// Unknown flags, unknown YAML keys and values that do not parse are refused by name. Not thread safe: used in
// main().
#ifndef COMMON_CONFIG_OPTION_SET_H_
#define COMMON_CONFIG_OPTION_SET_H_

#include <yaml-cpp/yaml.h>

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"

namespace nkiagent::config {

// A count of bytes. Parsed from an integer with an optional suffix: "4096", "64MiB", "4 GiB".
struct Bytes {
  int64_t value = 0;
  friend bool operator==(const Bytes&, const Bytes&) = default;
};

// Where an option's value is stored. The variable must outlive the OptionSet; its value at Add() is the
// default.
using Target = std::variant<bool*, int*, int64_t*, double*, std::string*, absl::Duration*, Bytes*,
                            std::vector<std::string>*>;

// One declared option; the methods refine it and return it, so that they chain.
class Option {
 public:
  // Refuses numbers (durations in seconds, sizes in bytes) outside [low, high].
  Option& Range(double low, double high);
  // Refuses any other text.
  Option& OneOf(std::vector<std::string> values);

  const std::string& name() const { return name_; }

 private:
  friend class OptionSet;
  Option(std::string name, Target target, std::string help)
      : name_(std::move(name)), target_(target), help_(std::move(help)) {}

  absl::Status Set(const std::vector<std::string>& values, absl::string_view source) const;
  std::string Describe() const;  // help text with type and default

  std::string name_;
  Target target_;
  std::string help_;
  std::optional<std::pair<double, double>> range_;
  std::vector<std::string> one_of_;
};

class OptionSet {
 public:
  using Environment = std::function<std::optional<std::string>(const std::string& name)>;

  // `service` is the short name in environment variables ("compile"); `description` heads the --help text.
  OptionSet(std::string service, std::string description);
  ~OptionSet();
  OptionSet(const OptionSet&) = delete;
  OptionSet& operator=(const OptionSet&) = delete;

  // Declares an option. Names are lower_snake_case and unique (checked by assertion: they are literals of
  // ours). A vector is given as a repeated flag, a YAML sequence, or a comma-separated environment variable.
  Option& Add(std::string name, Target target, std::string help);

  // Declares a YAML-only part of the file with a structure of its own, for instance the gateway's
  // `providers`. The node is handed over as it stands; the caller validates it. Absent from the file: `node`
  // is left undefined.
  void AddSection(std::string name, YAML::Node* node, std::string help);

  // Reads environment, file and flags into the targets. On error some targets may have been written.
  // kHelp / kVersion: the caller asked for text, which is then in `text`.
  struct Outcome {
    enum Kind { kRun, kHelp, kVersion } kind = kRun;
    std::string text;
  };
  absl::StatusOr<Outcome> Parse(const std::vector<std::string>& args, const Environment& environment);

  // Parse() for main(): reads the process environment, prints help to stdout and errors to stderr.
  // Returns the exit code if the process should end (0 after --help, 2 after an error).
  std::optional<int> ParseMain(int argc, const char* const* argv);

 private:
  absl::Status ReadEnvironment(const Environment& environment);
  absl::Status ReadFile(const std::string& path);
  std::string EnvironmentName(absl::string_view option) const;

  struct Section {
    YAML::Node* node;
    std::string help;
  };
  std::string service_;
  std::string description_;
  std::vector<std::unique_ptr<Option>> options_;
  std::map<std::string, Section> sections_;
};

// Parses "10s", "1m30s", "250ms", "inf" (absl::ParseDuration's grammar); negative durations are refused.
absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text);
// Parses "4096", "64MiB", "4 GiB", "10kB" is refused: only the binary suffixes KiB, MiB, GiB, TiB.
absl::StatusOr<Bytes> ParseBytes(absl::string_view text);

}  // namespace nkiagent::config

#endif  // COMMON_CONFIG_OPTION_SET_H_
