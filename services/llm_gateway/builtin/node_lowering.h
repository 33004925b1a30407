// One graph node while it is lowered: its arguments by position or name, and where its results go. The
// lower_*.cc files each know one family of operations.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_NODE_LOWERING_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_NODE_LOWERING_H_

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/string_view.h"
#include "services/llm_gateway/builtin/builder.h"
#include "services/llm_gateway/builtin/graph.h"
#include "services/llm_gateway/builtin/lowering.h"

namespace nkiagent::builtin {

// What names stand for: one tensor, or those of a tuple.
using Environment = std::map<std::string, std::vector<Tensor>, std::less<>>;

// Results of tuples that something reads: node and position.
using TupleReads = std::set<std::pair<std::string, int64_t>>;

class NodeLowering {
 public:
  NodeLowering(const Node& node, const LoweringOptions& options, const TupleReads& reads,
               Environment& environment, Builder& builder);

  const Node& node() const { return node_; }
  const LoweringOptions& options() const { return options_; }
  Builder& builder() { return builder_; }
  // "aten.add" of "aten.add.Tensor", and "Tensor".
  absl::string_view op() const { return op_; }
  absl::string_view overload() const { return overload_; }

  // Argument `index`, or the keyword argument `name`; null when absent or None.
  const Arg* Find(size_t index, absl::string_view name) const;
  bool Has(size_t index, absl::string_view name) const { return Find(index, name) != nullptr; }

  // Arguments by kind. Where one is missing or of another kind the builder fails and something harmless comes
  // back.
  Tensor TensorAt(size_t index, absl::string_view name);    // a reference, or a number of the node's own type
  Tensor TensorOf(const Arg& arg, absl::string_view name);  // an entry of a list
  std::vector<Tensor> TensorsAt(size_t index, absl::string_view name);
  double NumberAt(size_t index, absl::string_view name);
  double NumberOr(size_t index, absl::string_view name, double fallback);
  int64_t IntOr(size_t index, absl::string_view name, int64_t fallback);
  bool BoolOr(size_t index, absl::string_view name, bool fallback);
  std::string TextOr(size_t index, absl::string_view name, std::string fallback);
  std::vector<int64_t> IntsAt(size_t index, absl::string_view name);
  // One number for each of `axes` axes; a single one stands for all, none for `fallback`.
  std::vector<int64_t> IntsPerAxis(size_t index, absl::string_view name, size_t axes, int64_t fallback);

  // An axis number brought into 0..rank-1.
  int Axis(int64_t axis, size_t rank);
  // Marks the axes listed by the argument; all of them when it is absent or an empty list.
  std::vector<bool> AxesAt(size_t index, absl::string_view name, size_t rank);

  // Type and shape that the graph gives for output `index`.
  DType dtype(size_t index = 0) const;
  const Dims& dims(size_t index = 0) const;

  // Whether anything reads result `index` of a tuple.
  bool IsRead(size_t index) const { return reads_.contains({node_.name, static_cast<int64_t>(index)}); }

  // Defines the node's single result, or all results of a tuple. Absent entries of a tuple are numbers that
  // nobody may read (`Unavailable`).
  void Yield(Tensor result);
  void YieldTuple(std::vector<Tensor> results);

 private:
  const Node& node_;
  const LoweringOptions& options_;
  const TupleReads& reads_;
  Environment& environment_;
  Builder& builder_;
  std::string op_, overload_;
};

// Each lowers the node and returns true, or returns false when the operation isn't of its family. A new
// family is a file lower_*.cc, a line here and a line in lowering.cc.
bool LowerPointwise(NodeLowering& n);
bool LowerShape(NodeLowering& n);
bool LowerReduction(NodeLowering& n);
bool LowerNorm(NodeLowering& n);
bool LowerMatmul(NodeLowering& n);
bool LowerConv(NodeLowering& n);
bool LowerPool(NodeLowering& n);
bool LowerPad(NodeLowering& n);
bool LowerResample(NodeLowering& n);
bool LowerIndexing(NodeLowering& n);
bool LowerScatter(NodeLowering& n);
bool LowerSort(NodeLowering& n);
bool LowerSpecial(NodeLowering& n);
bool LowerPosition(NodeLowering& n);
bool LowerScan(NodeLowering& n);
bool LowerRecurrent(NodeLowering& n);

// `x` with so many elements of `value` before and after it along each axis; x itself where there are none.
Tensor Padded(Builder& b, const Tensor& x, const Dims& before, const Dims& after, double value);

// The p-distance of every row of x from every row of y. Through the differences, not through products, which
// cancel.
Tensor Distances(NodeLowering& n, const Tensor& x, const Tensor& y, double p, DType dtype);

// As Builder::Reduce. Few long rows are cut into pieces first, so that they spread over the partitions, and
// partial results are reduced after. Not for kMean, which has its own.
Tensor SpreadReduce(Builder& b, Fn fn, Tensor x, std::vector<bool> reduced, bool keep, DType dtype);
Tensor SpreadMean(Builder& b, const Tensor& x, const std::vector<bool>& reduced, bool keep, DType dtype);

// Population variance over the marked axes with the graph's choice of schedule, axes kept; float32. `mean` is
// the mean over the same axes, kept. Used by variance and by every norm.
Tensor LowerVariance(NodeLowering& n, const Tensor& x, const Tensor& mean, const std::vector<bool>& reduced);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_NODE_LOWERING_H_
