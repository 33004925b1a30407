#include "common/nki/ir/affine.h"

#include <algorithm>
#include <cstddef>

namespace nkiagent::nki::ir {
namespace {

int64_t WrapAdd(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) + static_cast<uint64_t>(b));
}
int64_t WrapMul(int64_t a, int64_t b) {
  return static_cast<int64_t>(static_cast<uint64_t>(a) * static_cast<uint64_t>(b));
}

}  // namespace

Affine Affine::Constant(int64_t c) {
  Affine a;
  a.constant = c;
  return a;
}

Affine Affine::Symbol(SymbolId symbol, int64_t coefficient) {
  Affine a;
  if (coefficient != 0) a.terms.push_back({symbol, coefficient});
  return a;
}

Affine Affine::Dim(int dim, int64_t coefficient) {
  Affine a;
  a.dims.resize(static_cast<size_t>(dim) + 1, 0);
  a.dims.back() = coefficient;
  return a;
}

bool Affine::DependsOnDims() const {
  return std::any_of(dims.begin(), dims.end(), [](int64_t c) { return c != 0; });
}

int64_t Affine::Base(absl::Span<const int64_t> symbol_values) const {
  int64_t v = constant;
  for (const Term& t : terms)
    v = WrapAdd(v, WrapMul(t.coefficient, symbol_values[static_cast<size_t>(t.symbol)]));
  return v;
}

bool operator==(const Affine& a, const Affine& b) {
  if (a.constant != b.constant || a.terms != b.terms) return false;
  const size_t n = std::max(a.dims.size(), b.dims.size());
  for (size_t d = 0; d < n; ++d) {
    if (a.DimCoefficient(d) != b.DimCoefficient(d)) return false;
  }
  return true;
}

Affine operator+(const Affine& a, const Affine& b) {
  Affine r;
  r.constant = WrapAdd(a.constant, b.constant);
  size_t i = 0, j = 0;
  while (i < a.terms.size() || j < b.terms.size()) {
    if (j == b.terms.size() || (i < a.terms.size() && a.terms[i].symbol < b.terms[j].symbol)) {
      r.terms.push_back(a.terms[i++]);
    } else if (i == a.terms.size() || b.terms[j].symbol < a.terms[i].symbol) {
      r.terms.push_back(b.terms[j++]);
    } else {
      const int64_t c = WrapAdd(a.terms[i].coefficient, b.terms[j].coefficient);
      if (c != 0) r.terms.push_back({a.terms[i].symbol, c});
      ++i;
      ++j;
    }
  }
  r.dims.resize(std::max(a.dims.size(), b.dims.size()), 0);
  for (size_t d = 0; d < r.dims.size(); ++d) r.dims[d] = WrapAdd(a.DimCoefficient(d), b.DimCoefficient(d));
  return r;
}

Affine operator*(const Affine& a, int64_t k) {
  Affine r;
  if (k == 0) return r;
  r = a;
  r.constant = WrapMul(a.constant, k);
  for (Affine::Term& t : r.terms) t.coefficient = WrapMul(t.coefficient, k);
  for (int64_t& d : r.dims) d = WrapMul(d, k);
  return r;
}

Affine operator-(const Affine& a, const Affine& b) { return a + b * -1; }

}  // namespace nkiagent::nki::ir
