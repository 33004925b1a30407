#include "common/config/option_set.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdlib>
#include <iostream>
#include <limits>
#include <type_traits>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"

#ifndef NKIAGENT_VERSION
#error "NKIAGENT_VERSION comes from the build"
#endif

namespace nkiagent::config {
namespace {

template <class... Fs>
struct Overloaded : Fs... {
  using Fs::operator()...;
};
template <class... Fs>
Overloaded(Fs...) -> Overloaded<Fs...>;

// `text` parsed as what `Target` points to; the error says only what the text is not.
template <class T>
absl::StatusOr<T> ParseValue(const std::string& text) {
  T value{};
  if constexpr (std::is_same_v<T, bool>) {
    if (absl::SimpleAtob(text, &value)) return value;
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not true or false"));
  } else if constexpr (std::is_integral_v<T>) {
    if (absl::SimpleAtoi(text, &value)) return value;
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not a ", sizeof(T) * 8, "-bit integer"));
  } else if constexpr (std::is_same_v<T, double>) {
    if (absl::SimpleAtod(text, &value)) return value;
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not a number"));
  } else if constexpr (std::is_same_v<T, absl::Duration>) {
    return ParseDuration(text);
  } else if constexpr (std::is_same_v<T, Bytes>) {
    return ParseBytes(text);
  } else {
    return text;
  }
}

// The number that Range() compares; nothing for texts.
template <class T>
std::optional<double> Magnitude(const T& value) {
  if constexpr (std::is_same_v<T, absl::Duration>) {
    return absl::ToDoubleSeconds(value);
  } else if constexpr (std::is_same_v<T, Bytes>) {
    return static_cast<double>(value.value);
  } else if constexpr (std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) {
    return static_cast<double>(value);
  } else {
    return std::nullopt;
  }
}

std::string DefaultText(const Target& target) {
  return std::visit(
      Overloaded{[](bool* v) { return std::string(*v ? "true" : "false"); },
                 [](std::string* v) { return v->empty() ? std::string("empty") : *v; },
                 [](absl::Duration* v) { return absl::FormatDuration(*v); },
                 [](Bytes* v) { return absl::StrCat(v->value, " bytes"); },
                 [](std::vector<std::string>* v) { return v->empty() ? "none" : absl::StrJoin(*v, ","); },
                 [](auto* v) { return absl::StrCat(*v); }},
      target);
}

const char* TypeName(const Target& target) {
  return std::visit(Overloaded{[](bool*) { return "BOOL"; }, [](std::string*) { return "TEXT"; },
                               [](absl::Duration*) { return "DURATION"; }, [](Bytes*) { return "BYTES"; },
                               [](std::vector<std::string>*) { return "TEXT ..."; },
                               [](double*) { return "NUMBER"; }, [](auto*) { return "INT"; }},
                    target);
}

}  // namespace

absl::StatusOr<absl::Duration> ParseDuration(absl::string_view text) {
  absl::Duration duration;
  if (!absl::ParseDuration(text, &duration)) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not a duration such as 10s or 250ms"));
  }
  if (duration < absl::ZeroDuration()) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is a negative duration"));
  }
  return duration;
}

absl::StatusOr<Bytes> ParseBytes(absl::string_view text) {
  const size_t digits = text.find_first_not_of("0123456789");
  const absl::string_view unit =
      digits == absl::string_view::npos ? "" : absl::StripAsciiWhitespace(text.substr(digits));
  int64_t factor = 0;
  if (unit.empty()) factor = 1;
  if (unit == "KiB") factor = int64_t{1} << 10;
  if (unit == "MiB") factor = int64_t{1} << 20;
  if (unit == "GiB") factor = int64_t{1} << 30;
  if (unit == "TiB") factor = int64_t{1} << 40;
  int64_t count = 0;
  if (factor == 0 || !absl::SimpleAtoi(text.substr(0, digits), &count) ||
      count > std::numeric_limits<int64_t>::max() / factor) {
    return absl::InvalidArgumentError(absl::StrCat("'", text, "' is not a size such as 4096 or 64MiB"));
  }
  return Bytes{count * factor};
}

Option& Option::Range(double low, double high) {
  range_ = {low, high};
  return *this;
}

Option& Option::OneOf(std::vector<std::string> values) {
  one_of_ = std::move(values);
  return *this;
}

absl::Status Option::Set(const std::vector<std::string>& values, absl::string_view source) const {
  const auto refuse = [&](absl::string_view why) {
    return absl::InvalidArgumentError(absl::StrCat("option ", name_, " (", source, "): ", why));
  };
  if (auto* const* list = std::get_if<std::vector<std::string>*>(&target_)) {
    **list = values;
    return absl::OkStatus();
  }
  if (values.size() != 1) return refuse(absl::StrCat("takes one value, not ", values.size()));
  const std::string& text = values.front();
  if (!one_of_.empty() && std::find(one_of_.begin(), one_of_.end(), text) == one_of_.end()) {
    return refuse(absl::StrCat("'", text, "' is not one of ", absl::StrJoin(one_of_, ", ")));
  }
  return std::visit(
      [&](auto* target) -> absl::Status {
        using T = std::remove_pointer_t<decltype(target)>;
        if constexpr (!std::is_same_v<T, std::vector<std::string>>) {
          absl::StatusOr<T> value = ParseValue<T>(text);
          if (!value.ok()) return refuse(value.status().message());
          const std::optional<double> magnitude = Magnitude(*value);
          if (magnitude && range_ && !(*magnitude >= range_->first && *magnitude <= range_->second)) {
            return refuse(absl::StrCat("'", text, "' is outside ", range_->first, "..", range_->second));
          }
          *target = *std::move(value);
        }
        return absl::OkStatus();
      },
      target_);
}

std::string Option::Describe() const {
  std::string text = absl::StrCat(help_, " Default: ", DefaultText(target_), ".");
  if (!one_of_.empty()) absl::StrAppend(&text, " One of: ", absl::StrJoin(one_of_, ", "), ".");
  return text;
}

OptionSet::OptionSet(std::string service, std::string description)
    : service_(std::move(service)), description_(std::move(description)) {}

OptionSet::~OptionSet() = default;

Option& OptionSet::Add(std::string name, Target target, std::string help) {
  const bool taken = name == "config" || name == "help" || name == "version" || sections_.contains(name) ||
                     std::any_of(options_.begin(), options_.end(),
                                 [&](const auto& option) { return option->name() == name; });
  if (taken) {  // a mistake in our own source; every start of the binary would show it
    std::cerr << "option " << name << " is declared twice\n";
    std::abort();
  }
  options_.push_back(std::unique_ptr<Option>(new Option(std::move(name), target, std::move(help))));
  return *options_.back();
}

void OptionSet::AddSection(std::string name, YAML::Node* node, std::string help) {
  sections_.insert_or_assign(std::move(name), Section{node, std::move(help)});
}

std::string OptionSet::EnvironmentName(absl::string_view option) const {
  return absl::AsciiStrToUpper(absl::StrCat("NKIAGENT_", service_, "_", option));
}

absl::Status OptionSet::ReadEnvironment(const Environment& environment) {
  for (const auto& option : options_) {
    const std::string name = EnvironmentName(option->name());
    const std::optional<std::string> value = environment(name);
    if (!value) continue;
    std::vector<std::string> values = {*value};
    if (std::holds_alternative<std::vector<std::string>*>(option->target_)) {
      values = absl::StrSplit(*value, ',', absl::SkipEmpty());
    }
    absl::Status set = option->Set(values, absl::StrCat("environment ", name));
    if (!set.ok()) return set;
  }
  return absl::OkStatus();
}

absl::Status OptionSet::ReadFile(const std::string& path) {
  YAML::Node root;
  try {
    root = YAML::LoadFile(path);
  } catch (const YAML::BadFile&) {
    return absl::NotFoundError(absl::StrCat("config file ", path, " can't be read"));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("config file ", path, ": ", error.what()));
  }
  if (root.IsNull()) return absl::OkStatus();
  if (!root.IsMap()) {
    return absl::InvalidArgumentError(absl::StrCat("config file ", path, " is not a map of options"));
  }
  std::map<std::string, int> seen;
  for (const auto& entry : root) {
    const std::string key = entry.first.IsScalar() ? entry.first.Scalar() : "(not a name)";
    const std::string source = absl::StrCat(path, " line ", entry.first.Mark().line + 1);
    if (++seen[key] > 1) {
      return absl::InvalidArgumentError(absl::StrCat("option ", key, " (", source, "): given twice"));
    }
    if (auto section = sections_.find(key); section != sections_.end()) {
      *section->second.node = entry.second;
      continue;
    }
    const auto option = std::find_if(options_.begin(), options_.end(),
                                     [&](const auto& candidate) { return candidate->name() == key; });
    if (option == options_.end()) {
      return absl::InvalidArgumentError(absl::StrCat("unknown option ", key, " (", source, ")"));
    }
    std::vector<std::string> values;
    if (entry.second.IsScalar()) {
      values.push_back(entry.second.Scalar());
    } else if (entry.second.IsSequence()) {
      for (const auto& item : entry.second) {
        if (!item.IsScalar()) {
          return absl::InvalidArgumentError(
              absl::StrCat("option ", key, " (", source, "): items must be scalars"));
        }
        values.push_back(item.Scalar());
      }
    } else {
      return absl::InvalidArgumentError(absl::StrCat("option ", key, " (", source, "): has no value"));
    }
    absl::Status set = (*option)->Set(values, source);
    if (!set.ok()) return set;
  }
  return absl::OkStatus();
}

absl::StatusOr<OptionSet::Outcome> OptionSet::Parse(const std::vector<std::string>& args,
                                                    const Environment& environment) {
  CLI::App app(description_);
  app.set_help_flag("--help", "Print this text.");
  bool version = false;
  app.add_flag("--version", version, "Print the version.");
  std::string path = environment(EnvironmentName("config")).value_or("");
  app.add_option("--config", path, "YAML file with any of these options (flags are stronger).");
  std::vector<std::vector<std::string>> flag_values(options_.size());
  std::vector<CLI::Option*> flags;
  for (size_t i = 0; i < options_.size(); ++i) {
    const Option& option = *options_[i];
    const std::string flag = absl::StrCat("--", option.name());
    const bool is_bool = std::holds_alternative<bool*>(option.target_);
    CLI::Option* added = app.add_option(flag, flag_values[i], option.Describe());
    added->type_name(TypeName(option.target_))->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    added->expected(is_bool ? 0 : 1, 1);  // a bare --flag means true
    flags.push_back(added);
  }
  std::string footer =
      absl::StrCat("Each option is also the YAML key of that name and the environment variable ",
                   EnvironmentName("<OPTION>"), ".");
  for (const auto& [name, section] : sections_) {
    absl::StrAppend(&footer, "\nYAML section ", name, ": ", section.help);
  }
  app.footer(footer);
  try {
    app.parse(std::vector<std::string>(args.rbegin(), args.rend()));
  } catch (const CLI::CallForHelp&) {
    return Outcome{Outcome::kHelp, app.help()};
  } catch (const CLI::ParseError& error) {
    return absl::InvalidArgumentError(error.what());
  }
  if (version)
    return Outcome{Outcome::kVersion, absl::StrCat("nkiagent ", service_, " ", NKIAGENT_VERSION, "\n")};

  absl::Status read = ReadEnvironment(environment);
  if (read.ok() && !path.empty()) read = ReadFile(path);
  if (!read.ok()) return read;
  for (size_t i = 0; i < options_.size(); ++i) {
    if (flags[i]->count() == 0) continue;
    std::vector<std::string> values = flags[i]->results();
    if (std::holds_alternative<bool*>(options_[i]->target_) && values == std::vector<std::string>{""}) {
      values = {"true"};
    }
    absl::Status set = options_[i]->Set(values, absl::StrCat("flag --", options_[i]->name()));
    if (!set.ok()) return set;
  }
  return Outcome{};
}

std::optional<int> OptionSet::ParseMain(int argc, const char* const* argv) {
  const auto environment = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value == nullptr ? std::nullopt : std::optional<std::string>(value);
  };
  absl::StatusOr<Outcome> outcome = Parse(std::vector<std::string>(argv + 1, argv + argc), environment);
  if (!outcome.ok()) {
    std::cerr << outcome.status().message() << "\n(--help lists the options)\n";
    return 2;
  }
  if (outcome->kind == Outcome::kRun) return std::nullopt;
  std::cout << outcome->text;
  return 0;
}

}  // namespace nkiagent::config
