#include "common/nki/ir/magnitude.h"

#include <algorithm>
#include <cstddef>
#include <cstdlib>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/nki/ir/saturate.h"

namespace nkiagent::nki::ir {
namespace {

class Magnitudes {
 public:
  explicit Magnitudes(const Program& p) : p_(p), ranges_(SymbolRanges(p)) {}

  absl::Status Run() {
    for (const Symbol& s : p_.symbols) {
      if (s.kind != SymbolKind::kLoop) Check(s.argument, {}, 0);
    }
    ForEachInstr(p_.body, [this](const Instr& instr, absl::Span<const Loop* const>) {
      for (const auto* operands : {&instr.dst, &instr.src}) {
        for (const Operand& o : *operands) {
          if (const auto* a = std::get_if<Access>(&o)) CheckAccess(*a, instr.loc.line);
        }
      }
      const auto* dst = std::get_if<Access>(&instr.dst[0]);
      if (dst != nullptr) Check(instr.attrs.expr, dst->shape, instr.loc.line);
    });
    return status_;
  }

 private:
  // Of every partial sum, saturating.
  int64_t Of(const Affine& a, absl::Span<const int64_t> shape) const {
    int64_t sum = std::abs(a.constant);
    const auto add = [&sum](int64_t coefficient, int64_t reach) {
      sum = SaturatingAdd(sum, SaturatingMul(std::abs(coefficient), reach));
    };
    for (const Affine::Term& t : a.terms) {
      const Range& r = ranges_[static_cast<size_t>(t.symbol)];
      add(t.coefficient, std::max(std::abs(r.min), std::abs(r.max)));
    }
    for (size_t d = 0; d < a.dims.size() && d < shape.size(); ++d) add(a.dims[d], shape[d] - 1);
    return sum;
  }

  int64_t Check(const Affine& a, absl::Span<const int64_t> shape, int line) {
    const int64_t magnitude = Of(a, shape);
    if (magnitude > kMaxValue && status_.ok()) {
      status_ =
          absl::InvalidArgumentError(absl::StrCat("invalid program: line ", line, ": an expression reaches ",
                                                  magnitude, ", the limit is ", kMaxValue));
    }
    return magnitude;
  }

  void CheckPlace(const Tensor& t, const std::vector<Affine>& index, const std::vector<int64_t>& shape,
                  int line) {
    int64_t place = 0, stride = 1;
    for (size_t k = index.size(); k-- > 0;) {
      place = SaturatingAdd(place, SaturatingMul(Check(index[k], shape, line), stride));
      stride *= t.shape[k];
    }
    if (place >= kMaxPlace && status_.ok()) {
      status_ = absl::InvalidArgumentError(absl::StrCat(
          "invalid program: line ", line, ": a tile of tensor '", t.name, "' reaches too far outside it"));
    }
  }

  void CheckAccess(const Access& a, int line) {
    CheckPlace(p_.tensors[static_cast<size_t>(a.tensor)], a.index, a.shape, line);
    for (const Affine& m : a.mask) Check(m, a.shape, line);
    if (a.indirect_axis >= 0) {
      CheckPlace(p_.tensors[static_cast<size_t>(a.indirect_tensor)], a.indirect_index, a.shape, line);
    }
  }

  const Program& p_;
  const std::vector<Range> ranges_;
  absl::Status status_;
};

}  // namespace

absl::Status CheckMagnitudes(const Program& program) { return Magnitudes(program).Run(); }

}  // namespace nkiagent::nki::ir
