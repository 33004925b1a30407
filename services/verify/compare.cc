#include "services/verify/compare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <limits>

#include "services/verify/elements.h"

namespace nkiagent::verify {
namespace {

// Elements decoded at a time: two buffers of doubles stay in the first-level cache.
constexpr size_t kBlock = 1024;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

bool Passes(double expected, double actual, double atol, double rtol) {
  // The equality is what lets equal infinities pass; a difference of them would be NaN.
  return actual == expected ||
         (std::isfinite(expected) && std::abs(actual - expected) <= atol + rtol * std::abs(expected));
}

Mismatch MakeMismatch(int64_t index, double expected, double actual) {
  const double error = std::abs(actual - expected);
  return {index, expected, actual, std::isfinite(expected) && std::isfinite(actual) ? error : kInfinity};
}

// One block without branches, which compilers turn into vector code: the common case is that all elements are
// finite and pass. Returns false if the block needs a closer look.
bool AllFiniteAndPass(const double* expected, const double* actual, size_t count, double atol, double rtol,
                      double& max_abs, double& max_rel) {
  double largest = 0;
  double largest_relative = 0;
  double excess = -kInfinity;
  double finite = 0;
  for (size_t i = 0; i < count; ++i) {
    const double error = std::abs(actual[i] - expected[i]);
    const double magnitude = std::abs(expected[i]);
    finite += (actual[i] - actual[i]) + (expected[i] - expected[i]);  // NaN as soon as one is not finite.
    largest = std::max(largest, error);
    excess = std::max(excess, error - (atol + rtol * magnitude));
    largest_relative = std::max(largest_relative, magnitude > 0 ? error / magnitude : 0.0);
  }
  if (finite != 0 || std::isnan(finite) || excess > 0) return false;
  max_abs = std::max(max_abs, largest);
  max_rel = std::max(max_rel, largest_relative);
  return true;
}

// Keeps evenly spread mismatches of a sequence whose length isn't known beforehand: every stride-th one; when
// there are too many, every second of them goes and the stride doubles.
class Sampler {
 public:
  void Add(const Mismatch& mismatch) {
    if (seen_++ % stride_ != 0) return;
    if (kept_.size() == 2 * kMaxSamples) {
      for (size_t i = 0; i < kMaxSamples; ++i) kept_[i] = kept_[2 * i];
      kept_.resize(kMaxSamples);
      stride_ *= 2;
      if ((seen_ - 1) % stride_ != 0) return;
    }
    kept_.push_back(mismatch);
  }

  std::vector<Mismatch> Take(int64_t first, int64_t worst) {
    std::vector<Mismatch> others;
    for (const Mismatch& mismatch : kept_) {
      if (mismatch.index != first && mismatch.index != worst) others.push_back(mismatch);
    }
    if (others.size() <= kMaxSamples) return others;
    std::vector<Mismatch> spread;
    for (size_t i = 0; i < kMaxSamples; ++i) spread.push_back(others[i * others.size() / kMaxSamples]);
    return spread;
  }

 private:
  std::vector<Mismatch> kept_;
  int64_t seen_ = 0;
  int64_t stride_ = 1;
};

}  // namespace

Comparison Compare(nki::isa::DType type, absl::Span<const uint8_t> expected, absl::Span<const uint8_t> actual,
                   double atol, double rtol, NanRule nan) {
  const size_t width = static_cast<size_t>(nki::isa::SizeOf(type));
  if (expected.size() != actual.size() || expected.size() % width != 0) {
    fprintf(stderr, "Compare: %zu and %zu bytes of elements of %zu\n", expected.size(), actual.size(), width);
    abort();
  }
  Comparison result;
  result.total = static_cast<int64_t>(expected.size() / width);
  Sampler sampler;
  std::array<double, kBlock> e;
  std::array<double, kBlock> a;
  for (size_t begin = 0; begin < expected.size() / width; begin += kBlock) {
    const size_t count = std::min(kBlock, expected.size() / width - begin);
    DecodeElements(type, expected.data() + begin * width, count, e.data());
    DecodeElements(type, actual.data() + begin * width, count, a.data());
    if (AllFiniteAndPass(e.data(), a.data(), count, atol, rtol, result.max_abs_error, result.max_rel_error)) {
      continue;
    }
    for (size_t i = 0; i < count; ++i) {
      result.actual_nan += std::isnan(a[i]);
      result.expected_nan += std::isnan(e[i]);
      result.actual_inf += std::isinf(a[i]);
      result.expected_inf += std::isinf(e[i]);
      if (std::isfinite(a[i]) && std::isfinite(e[i])) {
        const double error = std::abs(a[i] - e[i]);
        result.max_abs_error = std::max(result.max_abs_error, error);
        if (e[i] != 0) result.max_rel_error = std::max(result.max_rel_error, error / std::abs(e[i]));
      }
      if (Passes(e[i], a[i], atol, rtol)) continue;
      if (nan == NanRule::kPassesWhereExpected && std::isnan(e[i]) && std::isnan(a[i])) continue;
      ++result.mismatched;
      const Mismatch mismatch = MakeMismatch(static_cast<int64_t>(begin + i), e[i], a[i]);
      if (!result.first.has_value()) result.first = mismatch;
      if (!result.worst.has_value() || mismatch.abs_error > result.worst->abs_error) result.worst = mismatch;
      sampler.Add(mismatch);
    }
  }
  result.within_tolerance = result.mismatched == 0;
  if (result.first.has_value()) result.samples = sampler.Take(result.first->index, result.worst->index);
  return result;
}

std::vector<int64_t> Unravel(int64_t index, absl::Span<const int64_t> dims) {
  std::vector<int64_t> position(dims.size());
  for (size_t d = dims.size(); d-- > 0;) {
    position[d] = index % dims[d];
    index /= dims[d];
  }
  return position;
}

}  // namespace nkiagent::verify
