// Attention as one operation of a Program, and the pass that finds it in the products, the softmax and the
// masks that a graph spells out.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_ATTENTION_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_ATTENTION_H_

#include <cstdint>
#include <vector>

#include "services/llm_gateway/builtin/graph.h"
#include "services/llm_gateway/builtin/mask_form.h"

namespace nkiagent::builtin {

enum class Fn;  // program.h
struct Program;

// Operands of the operation, in order: queries (batch…, rows, depth), keys (batch…, columns, depth), values
// (batch…, columns, width), then what `steps` read, (batch…, rows, columns) with strides of 0 where it
// repeats. `Op::dims` is (batch…, rows, width). Its result is
//   softmax(steps(scale * queries @ keys^T), over columns) @ values.
struct Attention {
  // One elementwise function of the scores so far and, where it takes more, an operand or a number.
  struct Step {
    Fn fn;
    int operand = -1;          // which operand of the operation; -1: `number`
    double number = 0;         // of functions of two operands
    bool scores_last = false;  // the scores are the last operand, not the first
    // Of Fn::kSelect: the condition is `operand`, and where it says so, or with `scores_last` where it
    // doesn't, the scores stay; elsewhere they become `number`. Without an operand the scores stay where all
    // of these are not negative.
    std::vector<AffineForm> kept;
  };

  int64_t batch_axes = 0;
  int64_t rows = 1, columns = 1, depth = 1, width = 1;
  double scale = 1;
  std::vector<Step> steps;
  // Rows whose scores are all -inf give zeros instead of NaN.
  bool safe = false;
};

// Replaces what computes attention by one operation each. What doesn't fit stays as it is.
void FuseAttention(Program* program);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_ATTENTION_H_
