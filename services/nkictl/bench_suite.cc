#include "services/nkictl/bench_suite.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <map>
#include <optional>
#include <set>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "services/nkictl/client.h"

#ifndef NKIAGENT_BENCH_DIR
#error "NKIAGENT_BENCH_DIR comes from the build"
#endif

namespace nkiagent::nkictl {
namespace {

namespace fs = std::filesystem;
using common::v1::Task;

// Files of one folder suite: a bound on what is read by mistake, and the orchestrator's own.
constexpr size_t kMaxTasks = 10000;

fs::path Root() {
  const char* const folder = getenv("NKIAGENT_BENCH_DIR");
  return folder != nullptr && *folder != '\0' ? folder : NKIAGENT_BENCH_DIR;
}

// "level2" -> 2; 0 for other names.
int LevelOfFolder(const std::string& name) {
  return name.size() == 6 && absl::StartsWith(name, "level") && name[5] >= '1' && name[5] <= '3'
             ? name[5] - '0'
             : 0;
}

// The level that the folders of a path name, the innermost first; 0 if none does.
int LevelOfPath(const fs::path& path) {
  int level = 0;
  for (const fs::path& part : path.parent_path()) {
    if (const int named = LevelOfFolder(part.string()); named != 0) level = named;
  }
  return level;
}

absl::StatusOr<YAML::Node> ReadYaml(const fs::path& path) {
  try {
    return YAML::LoadFile(path.string());
  } catch (const YAML::BadFile&) {
    return absl::NotFoundError(absl::StrCat("can't read ", path.string()));
  } catch (const YAML::Exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": ", error.what()));
  }
}

// A metadata file's value as text; empty without one. Lists become "a, b".
std::string Text(const YAML::Node& node) {
  if (!node || node.IsNull()) return "";
  if (node.IsScalar()) return node.Scalar();
  if (!node.IsSequence()) return YAML::Dump(node);
  std::vector<std::string> parts;
  for (const YAML::Node& part : node) parts.push_back(Text(part));
  return absl::StrJoin(parts, ", ");
}

absl::StatusOr<double> Number(const fs::path& path, const char* key, const YAML::Node& node) {
  double value = 0;
  try {
    value = node.as<double>();
  } catch (const YAML::Exception&) {
    return absl::InvalidArgumentError(absl::StrCat(path.string(), ": ", key, " is no number: ", Text(node)));
  }
  if (!std::isfinite(value) || value < 0)
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": ", key, " must be finite and not negative"));
  return value;
}

// What a label can hold (requests of orchestrator): longer texts are cut.
constexpr size_t kMaxLabelBytes = 900;

absl::Status ReadMetadata(const fs::path& path, const std::string& id, Task* task) {
  absl::StatusOr<YAML::Node> yaml = ReadYaml(path);
  if (!yaml.ok()) return yaml.status();
  const YAML::Node& node = *yaml;
  if (!node.IsMap()) return absl::InvalidArgumentError(absl::StrCat(path.string(), ": not a map of keys"));
  if (const std::string named = Text(node["id"]); !named.empty() && named != id) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": id is \"", named, "\", the file's name says \"", id, "\""));
  }
  if (node["level"]) {
    const std::string level = Text(node["level"]);
    if (level != "1" && level != "2" && level != "3")
      return absl::InvalidArgumentError(
          absl::StrCat(path.string(), ": level is \"", level, "\", not 1, 2 or 3"));
    task->set_level(level[0] - '0');
  }
  if (const std::string title = Text(node["title"]); !title.empty()) task->set_name(title.substr(0, 256));
  for (const char* key : {"atol", "rtol"}) {
    if (!node[key]) continue;
    absl::StatusOr<double> value = Number(path, key, node[key]);
    if (!value.ok()) return value.status();
    if (!task->has_tolerance()) {
      // The default of Task.tolerance, for the one that is not named.
      task->mutable_tolerance()->set_atol(1e-3);
      task->mutable_tolerance()->set_rtol(1e-3);
    }
    if (key[0] == 'a') task->mutable_tolerance()->set_atol(*value);
    if (key[0] == 'r') task->mutable_tolerance()->set_rtol(*value);
  }
  for (const char* key : {"category", "source", "origin", "ranks", "dtypes", "tolerance_reason"}) {
    if (const std::string text = Text(node[key]); !text.empty())
      (*task->mutable_labels())[key] = text.substr(0, kMaxLabelBytes);
  }
  return absl::OkStatus();
}

absl::StatusOr<Task> ReadTask(const fs::path& python, const std::string& id) {
  absl::StatusOr<Task> task = ReadTaskFile(python.string());
  if (!task.ok()) return task;
  task->set_id(id);
  task->set_level(LevelOfPath(python));
  fs::path metadata = python;
  metadata.replace_extension(".yaml");
  std::error_code error;
  if (fs::is_regular_file(metadata, error)) {
    if (absl::Status status = ReadMetadata(metadata, python.stem().string(), &*task); !status.ok())
      return status;
  }
  return task;
}

// Where ID.py lies for a suite whose file is in `folder`; nothing if nowhere. INVALID_ARGUMENT: one folder
// has it in several places.
absl::StatusOr<std::optional<fs::path>> FindTask(const fs::path& folder, const std::string& id) {
  std::error_code error;
  for (const fs::path& base : {folder / "tasks", folder.parent_path() / "tasks", folder, Root() / "tasks"}) {
    std::optional<fs::path> found;
    for (const char* level : {"level1", "level2", "level3", ""}) {
      const fs::path path = base / level / absl::StrCat(id, ".py");
      if (!fs::is_regular_file(path, error)) continue;
      if (found) {
        return absl::InvalidArgumentError(
            absl::StrCat("two files could be meant: ", found->string(), " and ", path.string()));
      }
      found = path;
    }
    if (found) return found;
  }
  return std::nullopt;
}

absl::StatusOr<std::vector<std::string>> SuiteIds(const fs::path& path, const YAML::Node& node) {
  if (!node.IsMap() || !node["tasks"] || !node["tasks"].IsSequence() || node["tasks"].size() == 0) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": not a suite: it needs a key \"tasks\" with a list of ids"));
  }
  std::vector<std::string> ids;
  std::set<std::string> seen;
  std::vector<std::string> twice;
  for (const YAML::Node& entry : node["tasks"]) {
    const std::string id = entry.IsScalar() ? entry.Scalar() : "";
    // An id is part of a path: it must stay below its folder.
    if (id.empty() || absl::StartsWith(id, "/") || absl::StrContains(id, "..")) {
      return absl::InvalidArgumentError(
          absl::StrCat(path.string(), ": entry ", ids.size() + 1, " of tasks is no id: \"", id, "\""));
    }
    if (!seen.insert(id).second) twice.push_back(id);
    ids.push_back(id);
  }
  if (!twice.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat(path.string(), ": listed more than once: ", absl::StrJoin(twice, ", ")));
  }
  return ids;
}

absl::StatusOr<Suite> LoadYaml(const fs::path& path) {
  absl::StatusOr<YAML::Node> node = ReadYaml(path);
  if (!node.ok()) return node.status();
  absl::StatusOr<std::vector<std::string>> ids = SuiteIds(path, *node);
  if (!ids.ok()) return ids.status();
  Suite suite;
  suite.name = Text((*node)["name"]);
  if (suite.name.empty()) suite.name = path.stem().string();
  suite.version = Text((*node)["version"]);
  std::error_code error;
  const fs::path folder = fs::absolute(path, error).parent_path();
  std::vector<std::string> missing;
  for (const std::string& id : *ids) {
    const absl::StatusOr<std::optional<fs::path>> python = FindTask(folder, id);
    if (python.ok() && !python->has_value()) {
      missing.push_back(id);
      continue;
    }
    absl::StatusOr<Task> task = python.ok() ? ReadTask(**python, id) : python.status();
    if (!task.ok())
      return absl::Status(task.status().code(),
                          absl::StrCat(path.string(), ": task ", id, ": ", task.status().message()));
    suite.tasks.push_back(*std::move(task));
  }
  if (!missing.empty()) {
    constexpr size_t kShown = 10;
    const std::vector<std::string> shown(
        missing.begin(), missing.begin() + static_cast<int>(std::min(kShown, missing.size())));
    return absl::NotFoundError(absl::StrCat(path.string(), ": ", missing.size(), " of ", ids->size(),
                                            " tasks have no file ID.py: ", absl::StrJoin(shown, ", "),
                                            missing.size() > kShown ? " ..." : ""));
  }
  return suite;
}

// "2_x" after "1_y" and before "10_z": numbers by value.
bool NaturalLess(const std::string& a, const std::string& b) { return strverscmp(a.c_str(), b.c_str()) < 0; }

absl::StatusOr<Suite> LoadFolder(const fs::path& folder) {
  Suite suite;
  std::error_code error;
  const fs::path absolute = fs::canonical(folder, error);
  suite.name = absolute.filename().string();
  std::vector<std::string> ids;
  for (fs::recursive_directory_iterator it(absolute, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    // Hidden folders and Python's caches hold no tasks.
    // A link that leads nowhere is neither.
    std::error_code gone;
    if (it->is_directory(gone) && (name[0] == '.' || name[0] == '_')) it.disable_recursion_pending();
    if (!it->is_regular_file(gone) || it->path().extension() != ".py" || name[0] == '_' || name[0] == '.')
      continue;
    fs::path id = it->path().lexically_relative(absolute);
    ids.push_back(id.replace_extension("").string());
    if (ids.size() > kMaxTasks) {
      return absl::InvalidArgumentError(
          absl::StrCat(folder.string(), " holds more than ", kMaxTasks, " .py files"));
    }
  }
  if (error) return absl::InvalidArgumentError(absl::StrCat(folder.string(), ": ", error.message()));
  if (ids.empty()) return absl::NotFoundError(absl::StrCat("no .py file is in ", folder.string()));
  std::sort(ids.begin(), ids.end(), NaturalLess);
  for (const std::string& id : ids) {
    absl::StatusOr<Task> task = ReadTask(absolute / absl::StrCat(id, ".py"), id);
    if (!task.ok()) return task.status();
    suite.tasks.push_back(*std::move(task));
  }
  return suite;
}

absl::StatusOr<Suite> Load(const std::string& suite) {
  std::error_code error;
  const fs::path path(suite);
  if (fs::is_directory(path, error)) return LoadFolder(path);
  const std::string extension = path.extension().string();
  if (extension == ".yaml" || extension == ".yml") return LoadYaml(path);
  if (extension == ".py") {
    absl::StatusOr<Task> task = ReadTask(fs::absolute(path, error), path.stem().string());
    if (!task.ok()) return task.status();
    return Suite{path.stem().string(), "", {*std::move(task)}};
  }
  const fs::path built_in = Root() / "suites" / absl::StrCat(suite, ".yaml");
  if (!absl::StrContains(suite, "/") && fs::is_regular_file(built_in, error)) return LoadYaml(built_in);
  return absl::NotFoundError(absl::StrCat(
      "no suite is named \"", suite, "\" and there is no such file; suites are ",
      absl::StrJoin(SuiteNames(), ", "), "; a .yaml file, a folder of .py files or a .py file work too"));
}

}  // namespace

std::vector<std::string> SuiteNames() {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(Root() / "suites", error)) {
    if (entry.path().extension() == ".yaml") names.push_back(entry.path().stem().string());
  }
  std::sort(names.begin(), names.end(), NaturalLess);
  return names;
}

absl::StatusOr<Suite> LoadSuite(const std::string& suite, const SuiteFilter& filter) {
  absl::StatusOr<Suite> loaded = Load(suite);
  if (!loaded.ok()) return loaded;
  const auto unwanted = [&filter](const Task& task) {
    const bool level = filter.levels.empty() || std::find(filter.levels.begin(), filter.levels.end(),
                                                          task.level()) != filter.levels.end();
    const bool id = filter.globs.empty() ||
                    std::any_of(filter.globs.begin(), filter.globs.end(), [&task](const std::string& glob) {
                      return fnmatch(glob.c_str(), task.id().c_str(), 0) == 0;
                    });
    return !level || !id;
  };
  const size_t all = loaded->tasks.size();
  loaded->tasks.erase(std::remove_if(loaded->tasks.begin(), loaded->tasks.end(), unwanted),
                      loaded->tasks.end());
  if (loaded->tasks.empty()) {
    return absl::NotFoundError(absl::StrCat("none of the ", all, " tasks of ", loaded->name,
                                            " is of the --task and --level asked for"));
  }
  return loaded;
}

}  // namespace nkiagent::nkictl
