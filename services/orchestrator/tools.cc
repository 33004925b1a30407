#include "services/orchestrator/tools.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "services/orchestrator/utf8.h"

namespace nkiagent::orchestrator {
namespace {

using Json = nlohmann::json;

// KernelSource.grid allows at most this many extents.
constexpr size_t kMaxGridAxes = 3;
// An extent beyond this is a mistake: NKI launches one instance after another on a core.
constexpr int64_t kMaxGridExtent = 65535;

constexpr char kSourceProperty[] =
    "Complete Python source of the kernel file: imports and one @nki.jit function named nki_kernel.";
constexpr char kGridProperty[] =
    "Optional SPMD launch grid: 1 to 3 integers of at least 1, as in nki_kernel[2, 4](...). Leave it out for "
    "no grid.";

constexpr char kApiNameProperty[] =
    "A name such as nl.load, nisa.nc_matmul or tensor.broadcast_to; nl is neuronxcc.nki.language, nisa is "
    "neuronxcc.nki.isa.";

enum class SourceArgument { kNone, kOptional, kRequired };

struct ToolRow {
  const char* name;
  ToolKind kind;
  SourceArgument source;
  const char* description;
};

constexpr ToolRow kTools[] = {
    {kCompileTool, ToolKind::kCompile, SourceArgument::kRequired,
     "Compiles a kernel for the task's argument shapes. Errors come back with rule, line, limit and the "
     "usual fix. A "
     "kernel that compiles is verified at once, and the verdict is part of the answer."},
    {kVerifyTool, ToolKind::kVerify, SourceArgument::kOptional,
     "Runs a kernel on fresh random inputs and compares every output element with the PyTorch module. "
     "Without "
     "`source` it judges the kernel that was compiled last."},
    {kProfileTool, ToolKind::kProfile, SourceArgument::kOptional,
     "Estimates what a kernel costs to run: latency, the share of each engine, memory traffic, what binds, "
     "and the "
     "lines that cost most. It judges no results. Without `source` it takes the kernel that was compiled "
     "last."},
    {kLookupTool, ToolKind::kLookup, SourceArgument::kNone,
     "Tells what a function, class or constant of NKI is: signature, operands and engines, limits, the "
     "errors it can "
     "cause with their usual fixes, and an example."}};

const ToolRow* FindTool(const std::string& name) {
  for (const ToolRow& row : kTools) {
    if (name == row.name) return &row;
  }
  return nullptr;
}

Json Parameters(SourceArgument source) {
  if (source == SourceArgument::kNone) {
    return {{"type", "object"},
            {"properties", {{"name", {{"type", "string"}, {"description", kApiNameProperty}}}}},
            {"required", {"name"}},
            {"additionalProperties", false}};
  }
  Json schema = {{"type", "object"},
                 {"properties",
                  {{"source", {{"type", "string"}, {"description", kSourceProperty}}},
                   {"grid",
                    {{"type", "array"},
                     {"items", {{"type", "integer"}, {"minimum", 1}}},
                     {"maxItems", kMaxGridAxes},
                     {"description", kGridProperty}}}}},
                 {"additionalProperties", false}};
  if (source == SourceArgument::kRequired) schema["required"] = {"source"};
  return schema;
}

ToolProblem Problem(std::string text) { return ToolProblem{std::move(text)}; }

// Reads the optional grid; an empty string means success.
std::string ReadGrid(const Json& arguments, common::v1::KernelSource* kernel) {
  auto it = arguments.find("grid");
  if (it == arguments.end() || it->is_null()) return "";
  if (!it->is_array()) return "The argument `grid` must be a list of integers, such as [2, 4].";
  if (it->size() > kMaxGridAxes) {
    return absl::StrCat("The argument `grid` has ", it->size(), " extents; at most ", kMaxGridAxes,
                        " are allowed.");
  }
  for (const Json& extent : *it) {
    if (!extent.is_number_integer() || extent < 1 || extent > kMaxGridExtent) {
      return absl::StrCat("The argument `grid` holds ",
                          extent.dump(-1, ' ', false, Json::error_handler_t::replace),
                          "; each extent is an integer from 1 to ", kMaxGridExtent, ".");
    }
    kernel->add_grid_dims(extent.get<int32_t>());
  }
  return "";
}

}  // namespace

std::vector<llm::v1::Tool> Tools(const std::vector<std::string>& names) {
  std::vector<llm::v1::Tool> chosen;
  for (const ToolRow& row : kTools) {
    if (!names.empty() && std::find(names.begin(), names.end(), row.name) == names.end()) continue;
    llm::v1::Tool& tool = chosen.emplace_back();
    tool.set_name(row.name);
    tool.set_description(row.description);
    tool.set_parameters_json_schema(Parameters(row.source).dump());
  }
  return chosen;
}

bool IsTool(const std::string& name) { return FindTool(name) != nullptr; }

std::vector<std::string> ToolNames() {
  std::vector<std::string> names;
  for (const ToolRow& row : kTools) names.emplace_back(row.name);
  return names;
}

std::variant<ToolRequest, ToolProblem> ReadToolCall(const llm::v1::ToolCall& call,
                                                    const std::vector<std::string>& offered) {
  const ToolRow* tool = FindTool(call.name());
  if (tool == nullptr || std::find(offered.begin(), offered.end(), call.name()) == offered.end()) {
    return Problem(absl::StrCat("There is no tool named `", CutUtf8(call.name(), 64),
                                "`. The tools are: ", absl::StrJoin(offered, ", "), "."));
  }
  if (static_cast<int64_t>(call.arguments_json().size()) > 2 * kMaxSourceBytes) {
    return Problem(absl::StrCat("The arguments are ", call.arguments_json().size(),
                                " bytes long; a kernel's source may have at most ", kMaxSourceBytes,
                                " bytes."));
  }
  Json arguments = Json::parse(call.arguments_json().empty() ? "{}" : call.arguments_json(), nullptr, false);
  if (arguments.is_discarded()) {
    return Problem(
        "The arguments of this call are not valid JSON, so nothing was run. Send one JSON object, such as "
        "{\"source\": \"from neuronxcc import nki\\n...\"}, with line ends written as \\n and quotes as \\\" "
        "inside "
        "the string, and make sure that it is complete.");
  }
  const bool is_lookup = tool->source == SourceArgument::kNone;
  if (!arguments.is_object()) {
    return Problem(absl::StrCat("The arguments of this call must be a JSON object with the key `",
                                is_lookup ? "name" : "source", "`; nothing was run."));
  }
  ToolRequest request;
  request.kind = tool->kind;
  for (const auto& [key, value] : arguments.items()) {
    if (is_lookup ? key == "name" : key == "source" || key == "grid") continue;
    return Problem(absl::StrCat("`", call.name(), "` has no argument `", CutUtf8(key, 64), "`; it takes ",
                                is_lookup ? "`name`" : "`source` and, optionally, `grid`",
                                ". Nothing was run."));
  }
  if (is_lookup) {
    const auto name = arguments.find("name");
    if (name == arguments.end() || !name->is_string() || name->get_ref<const std::string&>().empty()) {
      return Problem("`lookup_api` needs the argument `name`, a string such as \"nl.load\".");
    }
    request.api_name = name->get<std::string>();
    if (static_cast<int64_t>(request.api_name.size()) > kMaxApiNameBytes) {
      return Problem(absl::StrCat("The name has ", request.api_name.size(), " bytes; at most ",
                                  kMaxApiNameBytes, " are allowed."));
    }
    return request;
  }
  auto source = arguments.find("source");
  if (source == arguments.end() || source->is_null()) {
    if (tool->source == SourceArgument::kOptional) return request;
    return Problem(
        "`compile_kernel` needs the argument `source` with the complete kernel file. Nothing was run.");
  }
  if (!source->is_string()) return Problem("The argument `source` must be a string. Nothing was run.");
  const std::string& text = source->get_ref<const std::string&>();
  if (absl::StripAsciiWhitespace(text).empty()) {
    return Problem("The argument `source` is empty. Send the complete kernel file.");
  }
  if (static_cast<int64_t>(text.size()) > kMaxSourceBytes) {
    return Problem(
        absl::StrCat("The source has ", text.size(), " bytes; at most ", kMaxSourceBytes, " are allowed."));
  }
  request.has_kernel = true;
  request.kernel.set_source(text);
  request.kernel.set_entry_name(kEntryName);
  if (std::string problem = ReadGrid(arguments, &request.kernel); !problem.empty()) return Problem(problem);
  if (!DefinesFunction(text, kEntryName)) {
    return Problem(
        absl::StrCat("The source defines no function named `", kEntryName,
                     "`, which is the name that is compiled and verified. Rename the kernel's entry "
                     "function to `",
                     kEntryName, "` and send the complete file again. Nothing was run."));
  }
  return request;
}

bool DefinesFunction(const std::string& source, const std::string& name) {
  for (absl::string_view line : absl::StrSplit(source, '\n')) {
    line = absl::StripAsciiWhitespace(line);
    // `nki_kernel = nki.jit(f)` binds the name as well.
    if (absl::StartsWith(line, absl::StrCat(name, " =")) || absl::StartsWith(line, absl::StrCat(name, "=")))
      return true;
    if (!absl::ConsumePrefix(&line, "def ")) continue;
    line = absl::StripLeadingAsciiWhitespace(line);
    if (!absl::ConsumePrefix(&line, name)) continue;
    line = absl::StripLeadingAsciiWhitespace(line);
    if (absl::StartsWith(line, "(")) return true;
  }
  return false;
}

}  // namespace nkiagent::orchestrator
