// Affine expressions over the symbols of a program and the dimensions of a tile: how the IR writes every
// address, bound and mask, so that loops stay loops.
#ifndef NKIAGENT_COMMON_NKI_IR_AFFINE_H_
#define NKIAGENT_COMMON_NKI_IR_AFFINE_H_

#include <cstdint>
#include <vector>

#include "absl/container/inlined_vector.h"
#include "absl/types/span.h"

namespace nkiagent::nki::ir {

// Index into Program::symbols.
using SymbolId = int32_t;

// constant + sum(coefficient * symbol) + sum(dims[d] * position along tile dimension d).
struct Affine {
  struct Term {
    SymbolId symbol = 0;
    int64_t coefficient = 0;
    friend bool operator==(const Term&, const Term&) = default;
  };

  int64_t constant = 0;
  // Sorted by symbol, no zero coefficients, no symbol twice.
  absl::InlinedVector<Term, 3> terms;
  // Coefficient for each tile dimension; dimensions past the end have coefficient 0.
  absl::InlinedVector<int64_t, 4> dims;

  static Affine Constant(int64_t c);
  static Affine Symbol(SymbolId symbol, int64_t coefficient = 1);
  static Affine Dim(int dim, int64_t coefficient = 1);

  bool DependsOnSymbols() const { return !terms.empty(); }
  bool DependsOnDims() const;
  bool IsConstant() const { return !DependsOnSymbols() && !DependsOnDims(); }
  int64_t DimCoefficient(size_t d) const { return d < dims.size() ? dims[d] : 0; }

  // The part without tile dimensions, for the given symbol values (indexed by SymbolId). Arithmetic wraps at
  // 64 bits; validated programs (validate.h) keep every value inside +-2^48.
  int64_t Base(absl::Span<const int64_t> symbol_values) const;

  friend bool operator==(const Affine& a, const Affine& b);
};

Affine operator+(const Affine& a, const Affine& b);
Affine operator-(const Affine& a, const Affine& b);
Affine operator*(const Affine& a, int64_t k);

}  // namespace nkiagent::nki::ir

#endif  // NKIAGENT_COMMON_NKI_IR_AFFINE_H_
