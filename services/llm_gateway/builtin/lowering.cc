#include "services/llm_gateway/builtin/lowering.h"

#include <algorithm>
#include <array>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "services/llm_gateway/builtin/node_lowering.h"
#include "services/llm_gateway/builtin/rolled_loops.h"

namespace nkiagent::builtin {
namespace {

using Family = bool (*)(NodeLowering&);

// One line for each lower_*.cc; the first that knows an operation lowers it.
constexpr auto kFamilies = std::to_array<Family>({
    LowerPointwise,
    LowerShape,
    LowerReduction,
    LowerNorm,
    LowerMatmul,
    LowerConv,
    LowerPool,
    LowerPad,
    LowerResample,
    LowerPosition,
    LowerScan,
    LowerRecurrent,
    LowerIndexing,
    LowerScatter,
    LowerSort,
    LowerSpecial,
});

void CollectReferences(const Arg& arg, std::set<std::string>* names) {
  if (const auto* ref = std::get_if<Ref>(&arg.value)) names->insert(ref->name);
  if (const auto* list = std::get_if<std::vector<Arg>>(&arg.value)) {
    for (const Arg& entry : *list) CollectReferences(entry, names);
  }
}

// Names that some result depends on. Nodes come after what they use, so one walk backwards finds them all.
std::set<std::string> LiveNames(const Graph& graph) {
  std::set<std::string> live;
  for (const Ref& ref : graph.returns) live.insert(ref.name);
  for (size_t i = graph.nodes.size(); i-- > 0;) {
    const Node& node = graph.nodes[i];
    if (!live.contains(node.name)) continue;
    for (const Arg& arg : node.args) CollectReferences(arg, &live);
    for (const auto& [key, arg] : node.kwargs) CollectReferences(arg, &live);
  }
  return live;
}

bool IsGetItem(const Node& node) {
  return node.op == "getitem" || node.op == "operator.getitem" || node.op == "_operator.getitem";
}

TupleReads ReadsOfTuples(const Graph& graph, const std::set<std::string>& live) {
  TupleReads reads;
  for (const Node& node : graph.nodes) {
    if (!live.contains(node.name) || !IsGetItem(node) || node.args.size() < 2) continue;
    const auto* ref = std::get_if<Ref>(&node.args[0].value);
    const auto* index = std::get_if<int64_t>(&node.args[1].value);
    if (ref != nullptr && index != nullptr) reads.emplace(ref->name, *index);
  }
  return reads;
}

void LowerGetItem(NodeLowering& n, Environment& environment) {
  const auto* ref = n.node().args.empty() ? nullptr : std::get_if<Ref>(&n.node().args.front().value);
  const int64_t index = n.IntOr(1, "index", 0);
  const auto found = ref == nullptr ? environment.end() : environment.find(ref->name);
  if (found == environment.end() || index < 0) {
    n.builder().Fail("getitem of something that is no tuple");
  } else if (index >= static_cast<int64_t>(found->second.size())) {
    n.builder().Fail(absl::StrCat("result ", index, " of '%", ref->name, "' is not supported"));
  } else {
    n.Yield(found->second[index]);
  }
}

// What the writer derived must be what the graph states; anything else is a misreading of the operation.
void CheckShapes(NodeLowering& n, const Environment& environment) {
  const auto found = environment.find(n.node().name);
  if (found == environment.end()) return;
  for (size_t i = 0; i < found->second.size() && i < n.node().outputs.size(); ++i) {
    if (!n.node().outputs[i].valid) continue;
    if (found->second[i].view.dims != n.dims(i)) {
      n.builder().Fail(absl::StrCat("the shape of ", n.node().op, " is not what its arguments give"));
    }
  }
}

bool Refused(const Node& node, Builder& b) {
  for (const Node::Output& output : node.outputs) {
    if (!output.valid && !node.is_tuple) {
      b.Fail(absl::StrCat("type ", output.text, " is not supported"));
      return true;
    }
  }
  return false;
}

}  // namespace

absl::StatusOr<Program> LowerGraph(const Graph& graph, const LoweringOptions& options) {
  Builder builder;
  Environment environment;
  for (const Placeholder& p : graph.placeholders) {
    if (ElementCount(p.type.dims) == 0) {
      return absl::UnimplementedError(absl::StrCat("argument '", p.name, "' has no elements"));
    }
    environment[p.name] = {builder.Argument(p.name, p.type)};
  }
  for (const ScalarConstant& c : graph.constants)
    environment[c.name] = {Builder::Number(c.value, c.type.dtype)};
  const std::set<std::string> live = LiveNames(graph);
  const TupleReads reads = ReadsOfTuples(graph, live);
  for (const Node& node : graph.nodes) {
    if (!live.contains(node.name)) continue;
    builder.SetOrigin(node.name);
    if (Refused(node, builder)) return builder.status();
    NodeLowering n(node, options, reads, environment, builder);
    if (!node.is_tuple && ElementCount(n.dims()) == 0) {
      // Without elements there is nothing to compute. Joins leave it out; anything else that reads it fails.
      n.Yield(Builder::Number(0, n.dtype(), n.dims()));
    } else if (IsGetItem(node)) {
      LowerGetItem(n, environment);
    } else if (!std::any_of(kFamilies.begin(), kFamilies.end(), [&](Family lower) { return lower(n); })) {
      builder.Fail(absl::StrCat("operation ", node.op, " is not supported"));
    }
    if (!builder.failed()) CheckShapes(n, environment);
    if (builder.failed()) return builder.status();
  }
  for (const Ref& ref : graph.returns) {
    const auto found = environment.find(ref.name);
    if (found == environment.end() || found->second.size() != 1) {
      return absl::UnimplementedError(absl::StrCat("result '%", ref.name, "' is a tuple"));
    }
    builder.SetOrigin("out");
    builder.Return(found->second.front());
  }
  if (builder.failed()) return builder.status();
  RollLoops(&builder.program());
  return std::move(builder.program());
}

}  // namespace nkiagent::builtin
