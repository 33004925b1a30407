// A reference graph: what the fenced ```graph block of a prompt says, parsed and nothing more.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_GRAPH_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_GRAPH_H_

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "services/llm_gateway/builtin/dtype.h"

namespace nkiagent::builtin {

using Dims = std::vector<int64_t>;

struct TensorType {
  DType dtype = DType::kFloat32;
  Dims dims;
};

// A reference to a node or a placeholder: `%name`.
struct Ref {
  std::string name;
};

// A bare word such as `torch.float32`, `inf` excepted (that is a number), or a quoted string without its
// quotes.
struct Symbol {
  std::string text;
};

// One argument of a node. std::monostate is Python's None.
struct Arg {
  std::variant<std::monostate, bool, int64_t, double, Symbol, Ref, std::vector<Arg>> value;

  bool IsNone() const { return std::holds_alternative<std::monostate>(value); }
};

enum class PlaceholderKind { kInput, kParam, kBuffer };

// A tensor that the kernel gets as an argument, in the order of its signature.
struct Placeholder {
  PlaceholderKind kind = PlaceholderKind::kInput;
  std::string name;
  TensorType type;
};

// A rank-0 constant of the graph.
struct ScalarConstant {
  std::string name;
  TensorType type;
  double value = 0;
};

// One operation. `outputs` has one entry, or several when the node yields a tuple; an entry of a type that is
// no tensor of a supported dtype is marked by `valid == false` and keeps its text for messages.
struct Node {
  struct Output {
    bool valid = true;
    TensorType type;
    std::string text;
  };

  std::string name;
  std::vector<Output> outputs;
  bool is_tuple = false;
  std::string op;  // "aten.add.Tensor", "getitem"
  std::vector<Arg> args;
  std::vector<std::pair<std::string, Arg>> kwargs;
};

struct Graph {
  std::vector<Placeholder> placeholders;
  std::vector<ScalarConstant> constants;
  std::vector<Node> nodes;
  std::vector<Ref> returns;
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_GRAPH_H_
