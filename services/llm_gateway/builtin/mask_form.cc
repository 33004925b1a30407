#include "services/llm_gateway/builtin/mask_form.h"

#include <algorithm>
#include <cmath>
#include <utility>
#include <variant>

#include "services/llm_gateway/builtin/fn_table.h"
#include "services/llm_gateway/builtin/program.h"

namespace nkiagent::builtin {
namespace {

// Deeper expressions are no masks.
constexpr int kMaxDepth = 32;

// An absolute value of an affine form.
struct Distance {
  AffineForm of;
};
using Form = std::variant<double, AffineForm, Distance, MaskForm>;

bool IsWhole(double x) { return std::floor(x) == x && std::fabs(x) < 1e15; }

AffineForm Combined(const AffineForm& x, const AffineForm& y, int64_t sign) {
  return {x.row + sign * y.row, x.column + sign * y.column, x.constant + sign * y.constant};
}

std::optional<AffineForm> AsAffine(const Form& form) {
  if (const auto* affine = std::get_if<AffineForm>(&form)) return *affine;
  const auto* number = std::get_if<double>(&form);
  if (number == nullptr || !IsWhole(*number)) return std::nullopt;
  return AffineForm{0, 0, static_cast<int64_t>(*number)};
}

// A truth value: what is not zero holds.
std::optional<MaskForm> AsTruth(const Form& form) {
  if (const auto* number = std::get_if<double>(&form)) return MaskForm{{}, *number != 0 ? 1.0 : 0.0, 0};
  const auto* mask = std::get_if<MaskForm>(&form);
  if (mask == nullptr) return std::nullopt;
  MaskForm truth = *mask;
  truth.yes = truth.yes != 0 ? 1 : 0;
  truth.no = truth.no != 0 ? 1 : 0;
  if (truth.conditions.empty()) truth.no = 0;
  return truth;
}

std::optional<Form> Not(const Form& form) {
  std::optional<MaskForm> truth = AsTruth(form);
  if (!truth.has_value()) return std::nullopt;
  if (truth->conditions.empty()) return Form(truth->yes != 0 ? 0.0 : 1.0);
  truth->yes = 1 - truth->yes;
  truth->no = 1 - truth->no;
  return Form(*truth);
}

// The mask with `yes` where it holds; a single condition may be turned round for that.
std::optional<MaskForm> Upright(MaskForm mask) {
  if (mask.yes != 0) return mask.no == 0 ? std::optional(mask) : std::nullopt;
  if (mask.conditions.size() != 1) return std::nullopt;
  const AffineForm& c = mask.conditions.front();
  mask.conditions.front() = {-c.row, -c.column, -c.constant - 1};
  std::swap(mask.yes, mask.no);
  return mask;
}

std::optional<Form> And(const Form& x, const Form& y) {
  std::optional<MaskForm> a = AsTruth(x), b = AsTruth(y);
  if (!a.has_value() || !b.has_value()) return std::nullopt;
  for (const auto& [constant, other] : {std::pair(&a, &b), std::pair(&b, &a)}) {
    if ((*constant)->conditions.empty()) return (*constant)->yes != 0 ? Form(**other) : Form(0.0);
  }
  a = Upright(*a);
  b = Upright(*b);
  if (!a.has_value() || !b.has_value()) return std::nullopt;
  a->conditions.insert(a->conditions.end(), b->conditions.begin(), b->conditions.end());
  return Form(*a);
}

std::optional<Form> Or(const Form& x, const Form& y) {
  const std::optional<Form> a = Not(x), b = Not(y);
  if (!a.has_value() || !b.has_value()) return std::nullopt;
  const std::optional<Form> neither = And(*a, *b);
  return neither.has_value() ? Not(*neither) : std::nullopt;
}

// x <= y over whole numbers.
std::optional<Form> AtMost(const Form& x, const Form& y, int64_t slack) {
  const std::optional<AffineForm> bound = AsAffine(y);
  if (const auto* distance = std::get_if<Distance>(&x)) {
    if (!bound.has_value()) return std::nullopt;
    MaskForm both;
    both.conditions = {Combined(*bound, distance->of, -1), Combined(*bound, distance->of, 1)};
    for (AffineForm& c : both.conditions) c.constant += slack;
    return Form(both);
  }
  if (std::holds_alternative<Distance>(y)) {  // far enough apart: the opposite of being closer
    const std::optional<Form> closer = AtMost(y, x, -slack - 1);
    return closer.has_value() ? Not(*closer) : std::nullopt;
  }
  const std::optional<AffineForm> from = AsAffine(x);
  if (!from.has_value() || !bound.has_value()) return std::nullopt;
  AffineForm difference = Combined(*bound, *from, -1);
  difference.constant += slack;
  return Form(MaskForm{{difference}, 1, 0});
}

std::optional<Form> OnNumbers(Fn fn, const Form& x, const Form& y) {
  const auto* mask = std::get_if<MaskForm>(&x);
  const auto* other = std::get_if<MaskForm>(&y);
  if (RowOf(fn).fold == nullptr || (mask != nullptr && other != nullptr)) return std::nullopt;
  const auto* a = std::get_if<double>(&x);
  const auto* b = std::get_if<double>(&y);
  if (mask == nullptr && other == nullptr) {
    if (a == nullptr || b == nullptr) return std::nullopt;
    return Form(RowOf(fn).fold(*a, *b));
  }
  if (mask != nullptr && b != nullptr) {
    return Form(MaskForm{mask->conditions, RowOf(fn).fold(mask->yes, *b), RowOf(fn).fold(mask->no, *b)});
  }
  if (other == nullptr || a == nullptr) return std::nullopt;
  return Form(MaskForm{other->conditions, RowOf(fn).fold(*a, other->yes), RowOf(fn).fold(*a, other->no)});
}

std::optional<Form> OfTwo(Fn fn, const Form& x, const Form& y) {
  switch (fn) {
    case Fn::kAdd:
    case Fn::kSubtract: {
      const std::optional<AffineForm> a = AsAffine(x), b = AsAffine(y);
      if (a.has_value() && b.has_value()) return Form(Combined(*a, *b, fn == Fn::kAdd ? 1 : -1));
      return OnNumbers(fn, x, y);
    }
    case Fn::kLessEqual:
      return AtMost(x, y, 0);
    case Fn::kLess:
      return AtMost(x, y, -1);
    case Fn::kGreaterEqual:
      return AtMost(y, x, 0);
    case Fn::kGreater:
      return AtMost(y, x, -1);
    case Fn::kLogicalAnd:
    case Fn::kBitAnd:
      return And(x, y);
    case Fn::kLogicalOr:
    case Fn::kBitOr:
      return Or(x, y);
    default:
      return OnNumbers(fn, x, y);
  }
}

std::optional<Form> OfOne(Fn fn, const Form& x) {
  if (fn == Fn::kCopy) return x;
  if (fn == Fn::kLogicalNot) return Not(x);
  if (const auto* affine = std::get_if<AffineForm>(&x)) {
    if (fn == Fn::kAbs) return Form(Distance{*affine});
    if (fn == Fn::kNegate) return Form(Combined({}, *affine, -1));
    return std::nullopt;
  }
  if (const auto* mask = std::get_if<MaskForm>(&x); mask != nullptr && RowOf(fn).fold != nullptr) {
    return Form(MaskForm{mask->conditions, RowOf(fn).fold(mask->yes, 0), RowOf(fn).fold(mask->no, 0)});
  }
  return std::nullopt;
}

std::optional<Form> Chosen(const Form& condition, const Form& x, const Form& y) {
  const std::optional<MaskForm> truth = AsTruth(condition);
  const auto* yes = std::get_if<double>(&x);
  const auto* no = std::get_if<double>(&y);
  if (!truth.has_value() || yes == nullptr || no == nullptr) return std::nullopt;
  if (truth->conditions.empty()) return truth->yes != 0 ? x : y;
  return Form(MaskForm{truth->conditions, truth->yes != 0 ? *yes : *no, truth->no != 0 ? *yes : *no});
}

class Reader {
 public:
  explicit Reader(const Program& program) : program_(program) {}

  std::optional<Form> Read(const Operand& operand, int depth) {
    if (operand.immediate.has_value()) return Form(*operand.immediate);
    if (depth > kMaxDepth) return std::nullopt;
    if (program_.values[operand.value].is_positions) return Positions(operand.view);
    const int writer = SoleWriter(program_, operand.value);
    if (writer < 0) return std::nullopt;
    const Op& op = program_.ops[writer];
    if (!op.reduced.empty() || op.operands.empty() || op.operands.size() > 3) return std::nullopt;
    if (op.fn >= Fn::kCumSum) return std::nullopt;
    std::vector<Form> forms;
    for (const Operand& input : op.operands) {
      Operand seen = input;
      if (!input.immediate.has_value()) {
        std::optional<StridedView> view = Through(operand.view, op.dims, input.view);
        if (!view.has_value()) return std::nullopt;
        seen.view = *std::move(view);
      }
      std::optional<Form> form = Read(seen, depth + 1);
      if (!form.has_value()) return std::nullopt;
      forms.push_back(*std::move(form));
    }
    std::optional<Form> form;
    if (op.fn == Fn::kSelect) {
      form = Chosen(forms[0], forms[1], forms[2]);
    } else {
      form = forms.size() == 1 ? OfOne(op.fn, forms[0]) : OfTwo(op.fn, forms[0], forms[1]);
    }
    return form;
  }

 private:
  static std::optional<Form> Positions(const StridedView& view) {
    const size_t rank = view.dims.size();
    for (size_t i = 0; i + 2 < rank; ++i) {
      if (view.dims[i] > 1 && view.strides[i] != 0) return std::nullopt;
    }
    return Form(AffineForm{view.strides[rank - 2], view.strides[rank - 1], view.offset});
  }

  const Program& program_;
};

}  // namespace

std::optional<MaskForm> MaskOf(const Program& program, const Operand& operand) {
  if (operand.view.dims.size() < 2) return std::nullopt;
  const std::optional<Form> form = Reader(program).Read(operand, 0);
  const auto* mask = form.has_value() ? std::get_if<MaskForm>(&*form) : nullptr;
  return mask == nullptr ? std::nullopt : std::optional(*mask);
}

bool EveryRowSeesSome(const std::vector<AffineForm>& conditions, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; ++i) {
    int64_t first = 0, last = columns - 1;
    for (const AffineForm& c : conditions) {
      const int64_t at = c.row * i + c.constant;  // column * j + at >= 0
      if (c.column == 1) {
        first = std::max(first, -at);
      } else if (c.column == -1) {
        last = std::min(last, at);
      } else if (c.column != 0 || at < 0) {
        return false;
      }
    }
    if (first > last) return false;
  }
  return true;
}

}  // namespace nkiagent::builtin
