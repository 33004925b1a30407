#include "services/llm_gateway/builtin/node_lowering.h"

#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace nkiagent::builtin {

NodeLowering::NodeLowering(const Node& node, const LoweringOptions& options, const TupleReads& reads,
                           Environment& environment, Builder& builder)
    : node_(node),
      options_(options),
      reads_(reads),
      environment_(environment),
      builder_(builder),
      op_(node.op) {
  const size_t dot = node.op.rfind('.');
  if (dot != std::string::npos && dot > absl::string_view("aten").size()) {
    op_ = node.op.substr(0, dot);
    overload_ = node.op.substr(dot + 1);
  }
}

const Arg* NodeLowering::Find(size_t index, absl::string_view name) const {
  const Arg* arg = nullptr;
  if (index < node_.args.size()) arg = &node_.args[index];
  for (const auto& [key, value] : node_.kwargs) {
    if (key == name) arg = &value;
  }
  return arg == nullptr || arg->IsNone() ? nullptr : arg;
}

Tensor NodeLowering::TensorAt(size_t index, absl::string_view name) {
  const Arg* arg = Find(index, name);
  if (arg != nullptr) {
    if (const auto* ref = std::get_if<Ref>(&arg->value)) {
      const auto found = environment_.find(ref->name);
      if (found != environment_.end() && found->second.size() == 1) return found->second.front();
      builder_.Fail(
          absl::StrCat("argument '", name, "' is a tuple, or a result that the writer doesn't compute"));
      return Builder::Number(0, dtype());
    }
    const DType type = node_.outputs.empty() || dtype() == DType::kBool ? DType::kFloat32 : dtype();
    if (const auto* i = std::get_if<int64_t>(&arg->value))
      return Builder::Number(static_cast<double>(*i), type);
    if (const auto* d = std::get_if<double>(&arg->value)) return Builder::Number(*d, type);
    if (const auto* b = std::get_if<bool>(&arg->value)) return Builder::Number(*b ? 1 : 0, type);
  }
  builder_.Fail(absl::StrCat("argument '", name, "' of ", node_.op, " is missing or no tensor"));
  return Builder::Number(0, DType::kFloat32);
}

Tensor NodeLowering::TensorOf(const Arg& arg, absl::string_view name) {
  const auto* ref = std::get_if<Ref>(&arg.value);
  const auto found = ref == nullptr ? environment_.end() : environment_.find(ref->name);
  if (found != environment_.end() && found->second.size() == 1) return found->second.front();
  builder_.Fail(absl::StrCat("argument '", name, "' of ", node_.op, " lists something that is no tensor"));
  return Builder::Number(0, DType::kFloat32);
}

std::vector<Tensor> NodeLowering::TensorsAt(size_t index, absl::string_view name) {
  std::vector<Tensor> tensors;
  const Arg* arg = Find(index, name);
  const auto* list = arg == nullptr ? nullptr : std::get_if<std::vector<Arg>>(&arg->value);
  if (list == nullptr) {
    builder_.Fail(absl::StrCat("argument '", name, "' of ", node_.op, " is no list"));
    return tensors;
  }
  for (const Arg& entry : *list) {
    tensors.push_back(TensorOf(entry, name));
    if (builder_.failed()) return {};
  }
  return tensors;
}

double NodeLowering::NumberAt(size_t index, absl::string_view name) {
  if (!Has(index, name)) builder_.Fail(absl::StrCat("argument '", name, "' of ", node_.op, " is missing"));
  return NumberOr(index, name, 0);
}

double NodeLowering::NumberOr(size_t index, absl::string_view name, double fallback) {
  const Arg* arg = Find(index, name);
  if (arg == nullptr) return fallback;
  if (const auto* i = std::get_if<int64_t>(&arg->value)) return static_cast<double>(*i);
  if (const auto* d = std::get_if<double>(&arg->value)) return *d;
  if (const auto* b = std::get_if<bool>(&arg->value)) return *b ? 1 : 0;
  if (const auto* ref = std::get_if<Ref>(&arg->value)) {
    const auto found = environment_.find(ref->name);
    if (found != environment_.end() && found->second.size() == 1 &&
        found->second.front().immediate.has_value()) {
      return *found->second.front().immediate;
    }
  }
  builder_.Fail(absl::StrCat("argument '", name, "' of ", node_.op, " is no number"));
  return fallback;
}

int64_t NodeLowering::IntOr(size_t index, absl::string_view name, int64_t fallback) {
  const double value = NumberOr(index, name, static_cast<double>(fallback));
  // The bound keeps the conversion defined; nothing real has such sizes. PyTorch's "to the end" is 2**63 - 1.
  constexpr double kBound = 4.6e18;
  return std::isnan(value) ? fallback : static_cast<int64_t>(std::fmin(std::fmax(value, -kBound), kBound));
}

bool NodeLowering::BoolOr(size_t index, absl::string_view name, bool fallback) {
  return NumberOr(index, name, fallback ? 1 : 0) != 0;
}

std::string NodeLowering::TextOr(size_t index, absl::string_view name, std::string fallback) {
  const Arg* arg = Find(index, name);
  if (arg == nullptr) return fallback;
  if (const auto* symbol = std::get_if<Symbol>(&arg->value)) return symbol->text;
  builder_.Fail(absl::StrCat("argument '", name, "' of ", node_.op, " is no name"));
  return fallback;
}

std::vector<int64_t> NodeLowering::IntsAt(size_t index, absl::string_view name) {
  const Arg* arg = Find(index, name);
  if (arg == nullptr) return {};
  if (const auto* single = std::get_if<int64_t>(&arg->value)) return {*single};
  std::vector<int64_t> numbers;
  const auto* list = std::get_if<std::vector<Arg>>(&arg->value);
  if (list != nullptr) {
    for (const Arg& entry : *list) {
      if (const auto* i = std::get_if<int64_t>(&entry.value)) numbers.push_back(*i);
    }
  }
  if (list == nullptr || numbers.size() != list->size()) {
    builder_.Fail(absl::StrCat("argument '", name, "' of ", node_.op, " is no list of integers"));
    return {};
  }
  return numbers;
}

std::vector<int64_t> NodeLowering::IntsPerAxis(size_t index, absl::string_view name, size_t axes,
                                               int64_t fallback) {
  std::vector<int64_t> numbers = IntsAt(index, name);
  if (numbers.empty()) numbers = {fallback};
  if (numbers.size() == 1) numbers.resize(axes, numbers[0]);
  if (numbers.size() != axes) {
    builder_.Fail(
        absl::StrCat("'", name, "' of ", node_.op, " doesn't have one number for each of ", axes, " axes"));
    numbers.assign(axes, fallback);
  }
  return numbers;
}

int NodeLowering::Axis(int64_t axis, size_t rank) {
  const int64_t r = static_cast<int64_t>(rank);
  if (r == 0 && (axis == 0 || axis == -1)) return 0;
  if (axis < -r || axis >= r) {
    builder_.Fail(absl::StrCat("axis ", axis, " is outside rank ", rank));
    return 0;
  }
  return static_cast<int>(axis < 0 ? axis + r : axis);
}

std::vector<bool> NodeLowering::AxesAt(size_t index, absl::string_view name, size_t rank) {
  const std::vector<int64_t> axes = IntsAt(index, name);
  std::vector<bool> marked(rank, axes.empty());
  if (rank == 0) return marked;
  for (int64_t axis : axes) marked[Axis(axis, rank)] = true;
  return marked;
}

DType NodeLowering::dtype(size_t index) const {
  return index < node_.outputs.size() ? node_.outputs[index].type.dtype : DType::kFloat32;
}

const Dims& NodeLowering::dims(size_t index) const {
  static const Dims kNone;
  return index < node_.outputs.size() ? node_.outputs[index].type.dims : kNone;
}

void NodeLowering::Yield(Tensor result) { YieldTuple({std::move(result)}); }

void NodeLowering::YieldTuple(std::vector<Tensor> results) { environment_[node_.name] = std::move(results); }

}  // namespace nkiagent::builtin
