#include "services/llm_gateway/builtin/window.h"

#include <algorithm>
#include <numeric>

#include "absl/strings/str_cat.h"

namespace nkiagent::builtin {

int64_t WindowAxis::Lowest(int64_t first) const {
  int64_t lowest = INT64_MAX;
  for (const Phase& p : phases) {
    if (p.taps == 0) continue;
    lowest =
        std::min(lowest, first * input_step + p.origin + std::min<int64_t>(0, (p.taps - 1) * p.origin_step));
  }
  return lowest == INT64_MAX ? 0 : lowest;
}

int64_t WindowAxis::Highest(int64_t first, int64_t count) const {
  int64_t highest = INT64_MIN;
  for (const Phase& p : phases) {
    if (p.taps == 0) continue;
    highest = std::max(highest, (first + count - 1) * input_step + p.origin +
                                    std::max<int64_t>(0, (p.taps - 1) * p.origin_step));
  }
  return highest == INT64_MIN ? 0 : highest;
}

bool WindowAxis::padded() const {
  return std::any_of(phases.begin(), phases.end(), [this](const Phase& p) {
    if (p.taps == 0) return false;
    const int64_t reach = (p.taps - 1) * p.origin_step;
    return p.origin + std::min<int64_t>(0, reach) < 0 ||
           (p.count - 1) * input_step + p.origin + std::max<int64_t>(0, reach) >= input;
  });
}

WindowAxis SlidingAxis(int64_t input, int64_t kernel, int64_t output, int64_t stride, int64_t padding,
                       int64_t dilation) {
  WindowAxis axis{input, kernel, output, stride, 1, {}};
  axis.phases.push_back({0, output, 0, 1, kernel, -padding, dilation});
  return axis;
}

WindowAxis TransposedAxis(int64_t input, int64_t kernel, int64_t output, int64_t stride, int64_t padding,
                          int64_t dilation) {
  // Input i adds to output i*stride - padding + k*dilation.
  WindowAxis axis{input, kernel, output, 1, stride, {}};
  const int64_t common = std::gcd(stride, dilation);
  for (int64_t r = 0; r < std::min(stride, output); ++r) {
    Phase phase;
    phase.start = r;
    phase.count = (output - r + stride - 1) / stride;
    phase.tap_step = stride / common;
    phase.origin_step = -dilation / common;
    for (int64_t k = 0; k < std::min(kernel, phase.tap_step); ++k) {
      const int64_t shifted = r + padding - k * dilation;
      if (shifted % stride != 0) continue;
      phase.first_tap = k;
      phase.origin = shifted / stride;
      phase.taps = (kernel - k + phase.tap_step - 1) / phase.tap_step;
      break;
    }
    axis.phases.push_back(phase);
  }
  return axis;
}

WindowAxis AdaptiveAxis(int64_t input, int64_t output) {
  if (input % output == 0) return SlidingAxis(input, input / output, output, input / output, 0, 1);
  WindowAxis axis{input, 1, output, 1, output, {}};
  for (int64_t o = 0; o < output; ++o) {
    const int64_t from = o * input / output, to = ((o + 1) * input + output - 1) / output;
    axis.phases.push_back({o, 1, 0, 1, to - from, from, 1});
    axis.kernel = std::max(axis.kernel, to - from);
  }
  return axis;
}

int64_t Window::taps() const {
  int64_t taps = 1;
  for (const WindowAxis& axis : axes) taps *= axis.kernel;
  return taps;
}

std::string Window::KernelText() const {
  std::string text;
  for (const WindowAxis& axis : axes) absl::StrAppend(&text, text.empty() ? "" : "x", axis.kernel);
  return text;
}

}  // namespace nkiagent::builtin
