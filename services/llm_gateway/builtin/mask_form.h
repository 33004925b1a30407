// Masks that depend on positions only, told as conditions on the row and the column.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_MASK_FORM_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_MASK_FORM_H_

#include <cstdint>
#include <optional>
#include <vector>

namespace nkiagent::builtin {

struct Program;
struct Operand;

// row * i + column * j + constant, for row i and column j.
struct AffineForm {
  int64_t row = 0, column = 0, constant = 0;

  bool operator==(const AffineForm&) const = default;
};

// `yes` where none of `conditions` is negative, `no` elsewhere.
struct MaskForm {
  std::vector<AffineForm> conditions;
  double yes = 1, no = 0;
};

// `operand`, whose view's last two axes are rows and columns, if its elements are two numbers that positions
// choose between, the same for all indices of the other axes.
std::optional<MaskForm> MaskOf(const Program& program, const Operand& operand);

// Whether in each of `rows` some of `columns` satisfies all conditions. False where that isn't seen at once.
bool EveryRowSeesSome(const std::vector<AffineForm>& conditions, int64_t rows, int64_t columns);

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_MASK_FORM_H_
