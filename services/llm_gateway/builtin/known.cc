#include "services/llm_gateway/builtin/known.h"

#include <cmath>
#include <map>

#include "services/llm_gateway/builtin/fn_table.h"

namespace nkiagent::builtin {
namespace {

constexpr int64_t kMaxElements = 65536;

class Reader {
 public:
  explicit Reader(const Program& program) : program_(program) {}

  std::optional<std::vector<double>> Read(const Tensor& x) {
    const int64_t count = ElementCount(x.view.dims);
    if (count > kMaxElements) return std::nullopt;
    if (x.immediate.has_value()) return std::vector<double>(static_cast<size_t>(count), *x.immediate);
    const bool positions = program_.values[x.value].is_positions;
    const std::vector<double>* source = positions ? nullptr : ValueContents(x.value);
    if (!positions && source == nullptr) return std::nullopt;
    std::vector<double> elements;
    Dims at(x.view.dims.size(), 0);
    for (int64_t i = 0; i < count; ++i) {
      int64_t element = x.view.offset;
      for (size_t k = 0; k < at.size(); ++k) element += at[k] * x.view.strides[k];
      elements.push_back(positions ? static_cast<double>(element) : (*source)[static_cast<size_t>(element)]);
      for (size_t k = at.size(); k-- > 0;) {
        if (++at[k] < x.view.dims[k]) break;
        at[k] = 0;
      }
    }
    return elements;
  }

 private:
  // Null where unknown.
  const std::vector<double>* ValueContents(int value) {
    const auto [found, is_new] = contents_.try_emplace(value);
    if (is_new) found->second = Compute(value);
    return found->second.has_value() ? &*found->second : nullptr;
  }

  std::optional<std::vector<double>> Compute(int value) {
    const Op* writer = nullptr;
    for (const Op& op : program_.ops) {
      if (op.result != value) continue;
      if (writer != nullptr) return std::nullopt;
      writer = &op;
    }
    if (writer == nullptr || !writer->reduced.empty() || !IsContiguous(writer->destination))
      return std::nullopt;
    const auto fold = RowOf(writer->fn).fold;
    if ((fold == nullptr && writer->fn != Fn::kSelect) || writer->operands.empty()) return std::nullopt;
    std::vector<std::vector<double>> operands;
    for (const Operand& operand : writer->operands) {
      std::optional<std::vector<double>> elements = Read(operand);
      if (!elements.has_value()) return std::nullopt;
      operands.push_back(*std::move(elements));
    }
    std::vector<double> result = operands[0];
    for (size_t i = 0; i < result.size(); ++i) {
      if (writer->fn == Fn::kSelect) {
        result[i] = operands[0][i] != 0 ? operands[1][i] : operands[2][i];
      } else {
        result[i] = fold(operands[0][i], operands.size() > 1 ? operands[1][i] : 0);
      }
      if (IsFloat(writer->dtype)) result[i] = static_cast<float>(result[i]);
    }
    return result;
  }

  const Program& program_;
  std::map<int, std::optional<std::vector<double>>> contents_;
};

}  // namespace

std::optional<std::vector<double>> KnownContents(const Program& program, const Tensor& x) {
  return Reader(program).Read(x);
}

std::optional<StridedView> EvenSteps(const std::vector<double>& contents, const Dims& dims) {
  if (contents.empty()) return std::nullopt;
  const Dims strides = ContiguousStrides(dims);
  StridedView view{static_cast<int64_t>(contents[0]), dims, Dims(dims.size(), 0)};
  for (size_t k = 0; k < dims.size(); ++k) {
    if (dims[k] > 1) {
      view.strides[k] = static_cast<int64_t>(contents[static_cast<size_t>(strides[k])] - contents[0]);
    }
  }
  for (size_t i = 0; i < contents.size(); ++i) {
    int64_t expected = view.offset;
    for (size_t k = 0; k < dims.size(); ++k) {
      expected += (static_cast<int64_t>(i) / strides[k]) % dims[k] * view.strides[k];
    }
    if (contents[i] != static_cast<double>(expected)) return std::nullopt;
  }
  return view;
}

}  // namespace nkiagent::builtin
