// A recurrent layer in one direction, as one operation of a Program.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_RECURRENCE_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_RECURRENCE_H_

#include <cstdint>

#include "services/llm_gateway/builtin/strided_view.h"

namespace nkiagent::builtin {

enum class CellKind { kLstm, kGru, kTanh, kRelu };

// Operands of the operation, in order: input (steps, batch, inputs), weights (gates*hidden, inputs) and
// (gates*hidden, hidden), the first hidden state (batch, hidden), of an LSTM the first cell state (batch,
// hidden), and with biases two vectors (gates*hidden). Gates stand in PyTorch's order. Its result is the
// hidden state of every step, (steps, batch, hidden).
struct Recurrence {
  CellKind kind = CellKind::kLstm;
  bool has_bias = true;
  bool reverse = false;  // the last step comes first
  int64_t steps = 1, batch = 1, inputs = 1, hidden = 1;
  // Where an LSTM's last cell state goes, (batch, hidden) inside a value.
  int cell_result = -1;
  StridedView cell_destination;

  int64_t gates() const { return kind == CellKind::kLstm ? 4 : kind == CellKind::kGru ? 3 : 1; }
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_RECURRENCE_H_
