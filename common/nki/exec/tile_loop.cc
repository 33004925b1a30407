#include "common/nki/exec/tile_loop.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "common/nki/exec/findings.h"

namespace nkiagent::nki::exec {
namespace {

int64_t FloorDiv(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return a % b != 0 && (a < 0) != (b < 0) ? q - 1 : q;
}
int64_t CeilDiv(int64_t a, int64_t b) { return -FloorDiv(-a, b); }

// Narrows [begin, end) to where constant + coefficient * position >= 0.
void Narrow(int64_t constant, int64_t coefficient, int64_t* begin, int64_t* end) {
  if (coefficient > 0) {
    *begin = std::max(*begin, CeilDiv(-constant, coefficient));
  } else if (coefficient < 0) {
    *end = std::min(*end, FloorDiv(constant, -coefficient) + 1);
  } else if (constant < 0) {
    *end = *begin;
  }
}

}  // namespace

void TileLoop::AddStrides(absl::Span<const int64_t> strides) {
  std::copy(strides.begin(), strides.end(), extra_strides_[extra_++].begin());
}

TileLoop::State TileLoop::Prepare(Context& context, const InstrPlan& plan,
                                  absl::Span<const AccessPlan* const> accesses,
                                  const std::vector<LinearForm>& masks, absl::Span<const int64_t> space,
                                  Options options) {
  rank_ = space.size();
  operands_ = accesses.size() + extra_;
  residual_count_ = 0;
  Row begin{}, end{};
  for (size_t d = 0; d < rank_; ++d) end[d] = space[d];
  for (const LinearForm& m : masks) {
    const int64_t constant = m.Base(context.symbols);
    size_t moving = 0, only = 0;
    for (size_t d = 0; d < m.dims.size(); ++d) {
      if (m.dims[d] == 0 || space[d] == 1) continue;
      ++moving;
      only = d;
    }
    if (moving == 0) {
      if (constant < 0) return State::kEmpty;
    } else if (moving == 1) {
      Narrow(constant, m.dims[only], &begin[only], &end[only]);
    } else {
      Residual& r = residual_[residual_count_++];
      r.constant = constant;
      r.coefficient = {};
      std::copy(m.dims.begin(), m.dims.end(), r.coefficient.begin());
    }
  }
  elements_ = 1;
  for (size_t d = 0; d < rank_; ++d) {
    if (begin[d] >= end[d]) return State::kEmpty;
    extent_[d] = end[d] - begin[d];
    elements_ *= extent_[d];
  }
  first_begin_ = begin[0];
  for (size_t i = 0; i < residual_count_; ++i) {
    for (size_t d = 0; d < rank_; ++d) residual_[i].constant += residual_[i].coefficient[d] * begin[d];
  }
  for (size_t i = 0; i < operands_; ++i) {
    stride_[i] = {};
    start_[i] = 0;
    if (i < accesses.size()) {
      if (accesses[i] == nullptr || !accesses[i]->IsMemory()) continue;
      start_[i] = accesses[i]->offset.Base(context.symbols);
      std::copy(accesses[i]->offset.dims.begin(), accesses[i]->offset.dims.end(), stride_[i].begin());
    } else {
      stride_[i] = extra_strides_[i - accesses.size()];
    }
    for (size_t d = 0; d < rank_; ++d) start_[i] += stride_[i][d] * begin[d];
  }
  if (!CheckBounds(context, plan, accesses, begin)) return State::kFailed;
  Arrange(options);
  return State::kReady;
}

bool TileLoop::CheckBounds(Context& context, const InstrPlan& plan,
                           absl::Span<const AccessPlan* const> accesses, const Row& begin) {
  for (const AccessPlan* access : accesses) {
    if (access == nullptr) continue;
    for (const AxisCheck& check : access->checks) {
      const int64_t base = [&] {
        int64_t v = check.index.Base(context.symbols);
        for (size_t d = 0; d < rank_; ++d) v += check.index.dims[d] * begin[d];
        return v;
      }();
      int64_t low = base, high = base;
      for (size_t d = 0; d < rank_; ++d) {
        const int64_t reach = check.index.dims[d] * (extent_[d] - 1);
        (reach < 0 ? low : high) += reach;
      }
      if (low >= 0 && high < check.size) continue;
      if (residual_count_ == 0) {
        const int64_t bad = low < 0 ? low : high;
        context.fault = OutOfBounds(context.program(), *plan.instr, access->tensor, check.axis, bad, false);
        return false;
      }
      // Only the positions that the ragged masks hold count: look at each row.
      Row pos{};
      const size_t last = rank_ - 1;
      while (true) {
        if (!context.Poll(1)) return false;
        int64_t from, to;
        RowRange(pos, &from, &to);
        if (from < to) {
          int64_t index = base;
          for (size_t d = 0; d < last; ++d) index += check.index.dims[d] * pos[d];
          for (const int64_t at : {from, to - 1}) {
            const int64_t v = index + check.index.dims[last] * at;
            if (v >= 0 && v < check.size) continue;
            context.fault = OutOfBounds(context.program(), *plan.instr, access->tensor, check.axis, v, false);
            return false;
          }
        }
        size_t d = last;
        while (d > 0 && ++pos[d - 1] == extent_[d - 1]) pos[--d] = 0;
        if (d == 0) break;
      }
    }
  }
  return true;
}

void TileLoop::RowRange(const Row& pos, int64_t* begin, int64_t* end) const {
  *begin = 0;
  *end = extent_[rank_ - 1];
  for (size_t i = 0; i < residual_count_; ++i) {
    int64_t constant = residual_[i].constant;
    for (size_t d = 0; d + 1 < rank_; ++d) constant += residual_[i].coefficient[d] * pos[d];
    Narrow(constant, residual_[i].coefficient[rank_ - 1], begin, end);
  }
}

void TileLoop::Arrange(Options options) {
  const size_t fixed = options.keep_first ? 1 : 0;
  if (residual_count_ == 0) {
    // Drop dimensions of one position.
    size_t kept = fixed;
    for (size_t d = fixed; d < rank_; ++d) {
      if (extent_[d] == 1) continue;
      extent_[kept] = extent_[d];
      for (size_t i = 0; i < operands_; ++i) stride_[i][kept] = stride_[i][d];
      ++kept;
    }
    rank_ = kept;
    // The favoured operand's unit stride goes innermost.
    for (size_t d = fixed; d + 1 < rank_; ++d) {
      if (stride_[options.favoured][d] != 1 || stride_[options.favoured][rank_ - 1] == 1) continue;
      for (size_t e = d; e + 1 < rank_; ++e) {
        std::swap(extent_[e], extent_[e + 1]);
        for (size_t i = 0; i < operands_; ++i) std::swap(stride_[i][e], stride_[i][e + 1]);
      }
      break;
    }
    // Merge neighbours that all operands walk as one.
    size_t out = fixed;
    for (size_t d = fixed; d < rank_; ++d) {
      bool merges = out > fixed;
      for (size_t i = 0; merges && i < operands_; ++i) {
        merges = stride_[i][out - 1] == stride_[i][d] * extent_[d];
      }
      if (merges) {
        extent_[out - 1] *= extent_[d];
      } else {
        extent_[out] = extent_[d];
        ++out;
      }
      for (size_t i = 0; i < operands_; ++i) stride_[i][out - 1] = stride_[i][d];
    }
    rank_ = out;
  }
  // A row needs a dimension of its own, beside the one that is kept.
  if (rank_ == fixed) {
    extent_[rank_] = 1;
    for (size_t i = 0; i < operands_; ++i) stride_[i][rank_] = 0;
    ++rank_;
  }
  pieces_per_row_ = (extent_[rank_ - 1] + kPiece - 1) / kPiece;
  pieces_ = pieces_per_row_;
  for (size_t d = 0; d + 1 < rank_; ++d) pieces_ *= extent_[d];
}

void TileLoop::Span(size_t operand, int64_t* lowest, int64_t* highest) const {
  *lowest = *highest = start_[operand];
  for (size_t d = 0; d < rank_; ++d) {
    const int64_t reach = stride_[operand][d] * (extent_[d] - 1);
    *(reach < 0 ? lowest : highest) += reach;
  }
}

}  // namespace nkiagent::nki::exec
