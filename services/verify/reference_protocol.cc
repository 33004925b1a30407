#include "services/verify/reference_protocol.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "common/contract/clean_text.h"
#include "common/contract/element_types.h"
#include "services/verify/elements.h"
#include "services/verify/rigor.h"
#include "services/worker/outcome_proto.h"

namespace nkiagent::verify {
namespace {

using common::v1::TensorSpec;
using contract::CleanText;
using nlohmann::json;

// Of a kernel's signature, as compile-service takes them.
constexpr size_t kMaxTensors = 2048;
constexpr int kMaxRank = 5;
constexpr size_t kMaxNameBytes = 128;
constexpr size_t kMaxMessageBytes = 1000;
constexpr size_t kMaxTracebackBytes = 4096;
constexpr size_t kMaxGraphBytes = size_t{1} << 20;
constexpr size_t kMaxNotes = 64;
// The seed whose inputs are described; shapes must not depend on it.
constexpr uint64_t kDescribeSeed = 0;

struct Malformed : std::runtime_error {
  using std::runtime_error::runtime_error;
};

void Require(bool condition, absl::string_view what) {
  if (!condition) throw Malformed(std::string(what));
}

// Runs a parser in which anything malformed throws.
template <typename Parse>
auto Guarded(Parse parse) -> absl::StatusOr<decltype(parse())> {
  try {
    return parse();
  } catch (const json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat("the reply is malformed: ", error.what()));
  } catch (const Malformed& error) {
    return absl::InvalidArgumentError(absl::StrCat("the reply is malformed: ", error.what()));
  }
}

json EntryJson(const common::v1::Task& task) {
  json entry = json::object();
  if (!task.entry().model_class().empty()) entry["model_class"] = task.entry().model_class();
  if (!task.entry().inputs_function().empty()) entry["inputs_function"] = task.entry().inputs_function();
  if (!task.entry().init_inputs_function().empty()) {
    entry["init_inputs_function"] = task.entry().init_inputs_function();
  }
  return entry;
}

json RequestJson(const char* op, const common::v1::Task& task) {
  return {{"op", op},
          {"source", task.reference_source()},
          {"entry", EntryJson(task)},
          {"weight_seed", task.weight_seed()}};
}

// A task's source is bytes to us; the sandbox finds out whether Python can read them.
std::string Dump(const json& value) { return value.dump(-1, ' ', false, json::error_handler_t::replace); }

const char* RoleName(common::v1::TensorRole role) {
  switch (role) {
    case common::v1::TENSOR_ROLE_INPUT:
      return "input";
    case common::v1::TENSOR_ROLE_PARAMETER:
      return "parameter";
    case common::v1::TENSOR_ROLE_BUFFER:
      return "buffer";
    default:
      return "output";
  }
}

common::v1::TensorRole ParseRole(const std::string& name) {
  for (const auto role : {common::v1::TENSOR_ROLE_INPUT, common::v1::TENSOR_ROLE_PARAMETER,
                          common::v1::TENSOR_ROLE_BUFFER, common::v1::TENSOR_ROLE_OUTPUT}) {
    if (name == RoleName(role)) return role;
  }
  throw Malformed("a tensor of unknown role");
}

TensorSpec ParseSpec(const json& value) {
  TensorSpec spec;
  const std::string name = value.at("name").get<std::string>();
  Require(IsIdentifier(name), "a tensor's name is no identifier");
  spec.set_name(name);
  spec.set_role(ParseRole(value.at("role").get<std::string>()));
  spec.set_dtype(contract::DataTypeFromName(value.at("dtype").get<std::string>()));
  Require(contract::ToIsa(spec.dtype()).has_value(), "a tensor's dtype can't cross the kernel boundary");
  for (const json& extent : value.at("dims")) spec.add_dims(extent.get<int64_t>());
  Require(spec.dims_size() >= 1 && spec.dims_size() <= kMaxRank, "a tensor's rank is outside 1..5");
  Require(ElementCount(spec.dims()) > 0, "a tensor's extents are out of range");
  const auto reference_dtype = contract::DataTypeFromName(value.at("reference_dtype").get<std::string>());
  if (reference_dtype != spec.dtype()) spec.set_reference_dtype(reference_dtype);
  spec.set_reference_rank_zero(value.at("rank_zero").get<bool>());
  const std::string reference_name =
      CleanText(value.at("reference_name").get<std::string>(), 4 * kMaxNameBytes);
  if (reference_name != name) spec.set_reference_name(reference_name);
  return spec;
}

uint64_t SizeOf(const TensorSpec& spec) {
  const auto type = contract::ToIsa(spec.dtype());
  return type.has_value() ? static_cast<uint64_t>(ElementCount(spec.dims())) *
                                static_cast<uint64_t>(nki::isa::SizeOf(*type))
                          : 0;
}

std::vector<sandbox::ArenaSlot> ParseSlots(const json& list, const std::vector<uint64_t>& sizes,
                                           uint64_t arena_bytes) {
  Require(list.size() == sizes.size(), "another number of slots than of tensors");
  std::vector<sandbox::ArenaSlot> slots;
  for (size_t i = 0; i < sizes.size(); ++i) {
    const sandbox::ArenaSlot slot{list[i].at("offset").get<uint64_t>(),
                                  list[i].at("size_bytes").get<uint64_t>()};
    Require(slot.size_bytes == sizes[i], "a slot's size is not that of its tensor");
    Require(slot.offset % sandbox::kTensorAlignment == 0 && slot.offset <= arena_bytes &&
                slot.size_bytes <= arena_bytes - slot.offset,
            "a slot lies outside its arena");
    slots.push_back(slot);
  }
  return slots;
}

v1::TaskProblem ParseProblem(const json& value) {
  v1::TaskProblem problem;
  v1::TaskProblemKind kind = v1::TASK_PROBLEM_KIND_UNSPECIFIED;
  Require(v1::TaskProblemKind_Parse(absl::StrCat("TASK_PROBLEM_KIND_", value.at("kind").get<std::string>()),
                                    &kind) &&
              kind != v1::TASK_PROBLEM_KIND_UNSPECIFIED,
          "a problem of unknown kind");
  problem.set_kind(kind);
  problem.set_message(CleanText(value.at("message").get<std::string>(), kMaxMessageBytes));
  problem.set_line(value.at("line").get<int32_t>());
  problem.set_traceback(CleanText(value.at("traceback").get<std::string>(), kMaxTracebackBytes));
  return problem;
}

google::protobuf::Duration ParseSeconds(const json& value) {
  const double seconds = value.get<double>();
  Require(seconds >= 0 && seconds < 1e6, "a time out of range");
  return worker::ToProto(absl::Seconds(seconds));
}

DescribeReply ParseFacts(const json& reply, uint64_t arena_bytes) {
  DescribeReply result;
  v1::TaskFacts& facts = result.facts;
  std::set<std::string> names;
  std::vector<uint64_t> parameter_sizes;
  Require(reply.at("arguments").size() <= kMaxTensors, absl::StrCat("more than ", kMaxTensors, " arguments"));
  for (const json& value : reply.at("arguments")) {
    TensorSpec spec = ParseSpec(value);
    Require(names.insert(spec.name()).second, "two arguments of one name");
    if (spec.role() == common::v1::TENSOR_ROLE_INPUT) {
      Require(parameter_sizes.empty(), "an input behind a parameter");
      ++result.input_count;
    } else {
      Require(spec.role() != common::v1::TENSOR_ROLE_OUTPUT, "an output among the arguments");
      parameter_sizes.push_back(SizeOf(spec));
    }
    *facts.add_arguments() = std::move(spec);
  }
  Require(result.input_count > 0, "no input");
  const json& outputs = reply.at("outputs");
  Require(!outputs.empty() && outputs.size() <= kMaxTensors,
          absl::StrCat("no outputs, or more than ", kMaxTensors));
  for (const json& value : outputs) {
    TensorSpec spec = ParseSpec(value);
    Require(spec.role() == common::v1::TENSOR_ROLE_OUTPUT, "an output that is none");
    *facts.add_outputs() = std::move(spec);
  }
  result.parameter_slots = ParseSlots(reply.at("slots"), parameter_sizes, arena_bytes);

  const std::string signature =
      absl::StrJoin(facts.arguments(), ", ", [](std::string* out, const TensorSpec& s) { *out += s.name(); });
  facts.set_signature(absl::StrCat("def nki_kernel(", signature, "):"));
  const std::string graph = reply.at("graph").get<std::string>();
  if (graph.size() <= kMaxGraphBytes) {
    facts.set_reference_graph(CleanText(graph, kMaxGraphBytes));
  } else {
    facts.add_notes(absl::StrCat("There is no reference graph: it has ", graph.size(),
                                 " bytes, the limit is ", kMaxGraphBytes));
  }
  for (const json& scalar : reply.at("folded_scalars")) {
    Require(facts.folded_scalars_size() < static_cast<int>(kMaxTensors),
            absl::StrCat("more than ", kMaxTensors, " scalars"));
    auto* folded = facts.add_folded_scalars();
    folded->set_name(CleanText(scalar.at("name").get<std::string>(), kMaxNameBytes));
    folded->set_literal(CleanText(scalar.at("literal").get<std::string>(), kMaxMessageBytes));
  }
  for (const json& note : reply.at("notes")) {
    if (facts.notes_size() == static_cast<int>(kMaxNotes)) break;
    facts.add_notes(CleanText(note.get<std::string>(), kMaxMessageBytes));
  }
  *facts.mutable_reference_time() = ParseSeconds(reply.at("reference_time_s"));
  facts.mutable_toolchain()->set_torch_version(
      CleanText(reply.at("torch_version").get<std::string>(), kMaxNameBytes));
  return result;
}

}  // namespace

std::string DescribeRequestJson(const common::v1::Task& task) {
  json request = RequestJson("describe", task);
  request["seed"] = kDescribeSeed;
  return Dump(request);
}

std::string RunRequestJson(const common::v1::Task& task, const TaskData& data,
                           absl::Span<const TrialPlan> plans) {
  json request = RequestJson("run", task);
  json trials = json::array();
  for (const TrialPlan& plan : plans)
    trials.push_back({{"seed", plan.seed}, {"family", FamilyName(plan.family)}});
  request["trials"] = std::move(trials);
  const auto specs = [](const auto& list) {
    json result = json::array();
    for (const TensorSpec& spec : list) {
      const auto reference =
          spec.reference_dtype() != common::v1::DATA_TYPE_UNSPECIFIED ? spec.reference_dtype() : spec.dtype();
      result.push_back(
          {{"role", RoleName(spec.role())},
           {"dims", std::vector<int64_t>(spec.dims().begin(), spec.dims().end())},
           {"reference_dtype", contract::NameOf(reference)},
           {"reference_name", spec.reference_name().empty() ? spec.name() : spec.reference_name()}});
    }
    return result;
  };
  request["arguments"] = specs(data.facts.arguments());
  request["outputs"] = specs(data.facts.outputs());
  json slots = json::array();
  for (const sandbox::ArenaSlot& slot : data.parameter_slots) {
    slots.push_back({{"offset", slot.offset}, {"size_bytes", slot.size_bytes}});
  }
  request["slots"] = std::move(slots);
  return Dump(request);
}

absl::StatusOr<OrProblem<DescribeReply>> ParseDescribeReply(absl::string_view text, uint64_t arena_bytes) {
  return Guarded([&]() -> OrProblem<DescribeReply> {
    const json reply = json::parse(text);
    if (reply.contains("problem")) return ParseProblem(reply.at("problem"));
    return ParseFacts(reply, arena_bytes);
  });
}

absl::StatusOr<OrProblem<std::vector<TrialReply>>> ParseRunReply(absl::string_view text, const TaskData& data,
                                                                 absl::Span<const TrialPlan> plans) {
  return Guarded([&]() -> OrProblem<std::vector<TrialReply>> {
    const json reply = json::parse(text);
    if (reply.contains("problem")) return ParseProblem(reply.at("problem"));
    const std::vector<uint64_t> input_sizes = InputSizes(data);
    const std::vector<uint64_t> output_sizes = OutputSizes(data.facts);
    const auto end = [](const std::vector<uint64_t>& sizes) {
      const auto layout = sandbox::LayOutArena(sizes, UINT64_MAX / 2);
      return layout.ok() ? layout->size_bytes : 0;
    };
    Require(reply.at("trials").size() == plans.size(), "another number of trials than were asked for");
    std::vector<TrialReply> trials;
    for (const json& value : reply.at("trials")) {
      TrialReply trial;
      const bool drawn = plans[trials.size()].family == v1::INPUT_FAMILY_DRAWN;
      if (value.contains("skipped")) {
        Require(!drawn, "drawn inputs were skipped");
        trial.skipped = CleanText(value.at("skipped").get<std::string>(), kMaxMessageBytes);
        Require(!trial.skipped.empty(), "a trial was skipped without a reason");
        trials.push_back(std::move(trial));
        continue;
      }
      if (!drawn) {
        trial.sensitivity = value.at("sensitivity").get<std::vector<double>>();
        Require(trial.sensitivity.size() == output_sizes.size(),
                "another number of sensitivities than of outputs");
        for (const double moved : trial.sensitivity)
          Require(std::isfinite(moved) && moved >= 0, "a sensitivity is no distance");
      }
      trial.input_slots = ParseSlots(value.at("input_slots"), input_sizes, end(input_sizes));
      trial.expected_slots = ParseSlots(value.at("output_slots"), output_sizes, end(output_sizes));
      const auto time = ParseSeconds(value.at("reference_time_s"));
      trial.reference_time = absl::Seconds(time.seconds()) + absl::Nanoseconds(time.nanos());
      trials.push_back(std::move(trial));
    }
    return trials;
  });
}

std::vector<uint64_t> InputSizes(const TaskData& data) {
  std::vector<uint64_t> sizes;
  for (int i = 0; i < data.input_count; ++i) sizes.push_back(SizeOf(data.facts.arguments(i)));
  return sizes;
}

std::vector<uint64_t> OutputSizes(const v1::TaskFacts& facts) {
  std::vector<uint64_t> sizes;
  for (const TensorSpec& spec : facts.outputs()) sizes.push_back(SizeOf(spec));
  return sizes;
}

}  // namespace nkiagent::verify
