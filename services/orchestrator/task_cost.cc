#include "services/orchestrator/task_cost.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "absl/strings/strip.h"
#include "common/nki/timing/machine.h"

namespace nkiagent::orchestrator {
namespace {

using absl::string_view;

constexpr double kBytesPerUs = 1e3 * nki::timing::kDmaEngines * nki::timing::kDmaBytesPerNs;
constexpr double kFlopsPerUs = 1e3 * nki::timing::kTensorFlopsPerNs;

struct Type {
  std::vector<int64_t> dims;
  int64_t element_bytes = 4;
  double elements = 1;
  double bytes() const { return elements * static_cast<double>(element_bytes); }
};

int64_t ElementBytes(string_view dtype) {
  // As at the kernel boundary: int64 travels as int32.
  if (absl::StrContains(dtype, "64") || absl::StrContains(dtype, "32")) return 4;
  return absl::StrContains(dtype, "16") ? 2 : 1;
}

// "float32[128, 512]" at the start of `text`, which is moved behind it.
bool ParseType(string_view* text, Type* type) {
  const size_t open = text->find('[');
  const size_t close = text->find(']');
  if (open == string_view::npos || close == string_view::npos || close < open) return false;
  type->element_bytes = ElementBytes(text->substr(0, open));
  for (const string_view part :
       absl::StrSplit(text->substr(open + 1, close - open - 1), ',', absl::SkipWhitespace())) {
    int64_t extent = 0;
    if (!absl::SimpleAtoi(absl::StripAsciiWhitespace(part), &extent) || extent < 0) return false;
    type->dims.push_back(extent);
    type->elements *= static_cast<double>(extent);
  }
  text->remove_prefix(close + 1);
  return true;
}

struct Node {
  std::string name;
  std::vector<Type> types;  // several for a tuple
  std::string op;           // "aten.mm.default"
  std::vector<std::string> operands;
  double bytes() const {
    double sum = 0;
    for (const Type& type : types) sum += type.bytes();
    return sum;
  }
};

bool IsNameChar(char c) { return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '_'; }

// The names in an argument list that `known` has, each once, in order.
template <class Known>
std::vector<std::string> NamesIn(string_view text, const Known& known) {
  std::vector<std::string> names;
  for (size_t i = 0; i < text.size();) {
    size_t end = i;
    while (end < text.size() && IsNameChar(text[end])) ++end;
    const std::string name(text.substr(i, end - i));
    if (!name.empty() && known.contains(name) && std::find(names.begin(), names.end(), name) == names.end())
      names.push_back(name);
    i = std::max(end, i + 1);
  }
  return names;
}

// "aten.slice.Tensor" -> "slice".
std::string BaseName(string_view op) {
  const std::vector<string_view> parts = absl::StrSplit(op, '.');
  return std::string(parts.size() > 1 && parts[0] == "aten" ? parts[1] : parts[0]);
}

bool IsView(const std::string& op) {
  static const auto* const kViews = new absl::flat_hash_set<std::string>{
      "view",    "_unsafe_view", "reshape",  "permute",          "transpose", "t",         "unsqueeze",
      "squeeze", "expand",       "slice",    "select",           "getitem",   "alias",     "detach",
      "split",   "unbind",       "diagonal", "split_with_sizes", "unfold",    "as_strided"};
  return kViews->contains(op);
}

// Operators that may read a part of their first operand only.
bool IsSelective(const std::string& op) {
  static const auto* const kSelective =
      new absl::flat_hash_set<std::string>{"embedding", "index",         "gather",   "index_select", "slice",
                                           "select",    "_unsafe_index", "diagonal", "as_strided"};
  return kSelective->contains(op);
}

class Graph {
 public:
  bool Parse(string_view text) {
    bool first = true;
    for (const string_view raw : absl::StrSplit(text, '\n', absl::SkipWhitespace())) {
      const string_view line = absl::StripAsciiWhitespace(raw);
      if (first && line != "graph nki.graph.v1") return false;
      if (!first && !ParseLine(line)) return false;
      first = false;
    }
    return !first;
  }

  TaskCost Cost() const {
    TaskCost cost;
    double flops_us = 0;
    for (const Node& node : nodes_) {
      const double us = MatmulUs(node);
      flops_us += us;
      if (!IsView(BaseName(node.op))) {
        double bytes = node.bytes();
        for (const std::string& operand : node.operands) bytes += stored_.at(operand);
        cost.op_by_op_us += std::max(us, bytes / kBytesPerUs);
      }
    }
    double bytes = 0;
    for (const std::string& name : arguments_) bytes += NeededBytes(name);
    for (const std::string& name : results_) bytes += types_.at(name).bytes();
    cost.fused_us = std::max(bytes / kBytesPerUs, flops_us);
    return cost;
  }

 private:
  bool ParseLine(string_view line) {
    for (const string_view kind : {"input ", "param ", "buffer ", "const "}) {
      if (!absl::ConsumePrefix(&line, kind)) continue;
      Node node;
      if (!ParseHead(&line, &node)) return false;
      if (kind != "const ") arguments_.push_back(node.name);
      Keep(node, node.bytes());
      return true;
    }
    if (absl::ConsumePrefix(&line, "return")) {
      results_ = NamesIn(line, types_);
      return true;
    }
    if (!absl::ConsumePrefix(&line, "%")) return false;
    Node node;
    if (!ParseHead(&line, &node) || !absl::ConsumePrefix(&line, " = ")) return false;
    const size_t open = line.find('(');
    if (open == string_view::npos) return false;
    node.op = std::string(line.substr(0, open));
    node.operands = NamesIn(line.substr(open), types_);
    double stored = node.bytes();
    // A view is as large as what it shows, at most.
    if (IsView(BaseName(node.op)) && !node.operands.empty())
      stored = std::min(stored, stored_.at(node.operands[0]));
    Keep(node, stored);
    nodes_.push_back(std::move(node));
    return true;
  }

  // "name: type" or "name: (type, type)".
  static bool ParseHead(string_view* line, Node* node) {
    const size_t colon = line->find(": ");
    if (colon == string_view::npos) return false;
    node->name = std::string(line->substr(0, colon));
    line->remove_prefix(colon + 2);
    const bool tuple = absl::ConsumePrefix(line, "(");
    do {
      if (!ParseType(line, &node->types.emplace_back())) return false;
    } while (tuple && absl::ConsumePrefix(line, ", "));
    return !tuple || absl::ConsumePrefix(line, ")");
  }

  void Keep(const Node& node, double stored) {
    types_[node.name] = node.types[0];
    stored_[node.name] = stored;
  }

  // Time of a matrix product at the Tensor engine's peak; 0 for other operators.
  double MatmulUs(const Node& node) const {
    const std::string op = BaseName(node.op);
    const bool added = op == "addmm" || op == "baddbmm";
    const bool convolution = op == "convolution";
    const size_t first = added ? 1 : 0;
    if (!(added || convolution || op == "mm" || op == "bmm" || op == "matmul") ||
        node.operands.size() < first + 1)
      return 0;
    const Type& left = types_.at(node.operands[first]);
    // x @ x names its operand once.
    const Type& right = types_.at(node.operands[std::min(first + 1, node.operands.size() - 1)]);
    if (left.dims.empty() || right.dims.empty()) return 0;
    double products = 0;
    if (convolution) {
      // Each weight meets each position of the output, or of the input where the convolution is transposed.
      const double positions = std::min(
          left.elements / static_cast<double>(std::max<int64_t>(1, left.dims[1 % left.dims.size()])),
          node.types[0].elements / static_cast<double>(std::max<int64_t>(
                                       1, node.types[0].dims.size() > 1 ? node.types[0].dims[1] : 1)));
      products = positions * right.elements;
    } else {
      products = node.types[0].elements * static_cast<double>(left.dims.back());
    }
    const double passes = left.element_bytes >= 4 ? nki::timing::kFp32MatmulPasses : 1;
    return 2 * products * passes / kFlopsPerUs;
  }

  // What any kernel has to read of an argument.
  double NeededBytes(const std::string& name) const {
    const double all = stored_.at(name);
    double needed = 0;
    for (const Node& node : nodes_) {
      const auto used = std::find(node.operands.begin(), node.operands.end(), name);
      if (used == node.operands.end()) continue;
      const bool part = used == node.operands.begin() && IsSelective(BaseName(node.op));
      needed += part ? node.bytes() : all;
    }
    return std::min(all, needed);
  }

  std::vector<std::string> arguments_;
  std::vector<std::string> results_;
  std::vector<Node> nodes_;
  std::map<std::string, Type> types_;     // by name; the first of a tuple
  std::map<std::string, double> stored_;  // bytes behind a name
};

}  // namespace

TaskCost CostOfGraph(string_view text) {
  Graph graph;
  return graph.Parse(text) ? graph.Cost() : TaskCost{};
}

}  // namespace nkiagent::orchestrator
