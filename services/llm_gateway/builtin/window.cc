#include "services/llm_gateway/builtin/window.h"

#include <algorithm>
#include <cstdlib>
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
  axis.phases.push_back({0, output, 0, 1, kernel, -padding, dilation, {}});
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
    axis.phases.push_back({o, 1, 0, 1, to - from, from, 1, {}});
    axis.kernel = std::max(axis.kernel, to - from);
  }
  return axis;
}

namespace {

// Lowest and highest input position, relative to q * input_step, and the step between them.
struct Shifts {
  int64_t lowest = INT64_MAX, highest = INT64_MIN, step = 1;
};

Shifts ShiftsOf(const WindowAxis& axis) {
  Shifts shifts;
  for (const Phase& p : axis.phases) {
    if (p.taps == 0) continue;
    const int64_t last = p.origin + (p.taps - 1) * p.origin_step;
    shifts.lowest = std::min({shifts.lowest, p.origin, last});
    shifts.highest = std::max({shifts.highest, p.origin, last});
    shifts.step = std::abs(p.origin_step);
  }
  return shifts;
}

bool Slides(const WindowAxis& axis) { return axis.phases.size() == 1 && axis.phases[0].origin_step > 0; }

}  // namespace

int64_t FullStack(const WindowAxis& axis) {
  const Shifts shifts = ShiftsOf(axis);
  if (shifts.lowest > shifts.highest) return 0;
  for (const Phase& p : axis.phases) {
    if (p.taps > 0 && (p.origin - shifts.lowest) % shifts.step != 0) return 0;
  }
  return (shifts.highest - shifts.lowest) / shifts.step + 1;
}

StackedAxis StackTaps(const WindowAxis& axis, int64_t count) {
  StackedAxis stacked{axis, {}, axis.kernel, 0};
  if (count == 1) return stacked;
  if (Slides(axis)) {
    Phase& phase = stacked.reads.phases[0];
    stacked.stack = {count, phase.origin_step, 1};
    phase.taps = (phase.taps + count - 1) / count;
    phase.origin_step *= count;
    phase.tap_step = count;
    stacked.taps = phase.taps * count;
    return stacked;
  }
  // Copy d holds what lies d steps after the lowest position; each phase meets it at another tap, or at none.
  const Shifts shifts = ShiftsOf(axis);
  int64_t first = 0, last = axis.kernel - 1;
  for (Phase& phase : stacked.reads.phases) {
    if (phase.taps == 0) continue;
    const int64_t toward = phase.origin_step < 0 ? 1 : -1;
    phase.first_tap += toward * phase.tap_step * ((phase.origin - shifts.lowest) / shifts.step);
    stacked.stack = {count, shifts.step, -toward * phase.tap_step};
    const int64_t end = phase.first_tap + (count - 1) * stacked.stack.tap_step;
    first = std::min({first, phase.first_tap, end});
    last = std::max({last, phase.first_tap, end});
    phase.origin = shifts.lowest;
    phase.taps = 1;
  }
  for (Phase& phase : stacked.reads.phases) phase.first_tap -= first;
  stacked.taps = last - first + 1;
  stacked.padding = -first;
  return stacked;
}

std::optional<WindowAxis> ResampledAxis(int64_t input, const std::vector<std::vector<ResampleTap>>& outputs,
                                        size_t max_phases) {
  constexpr double kEqual = 1e-6;
  const auto size = static_cast<int64_t>(outputs.size());
  if (size == 0) return std::nullopt;
  const int64_t common = std::gcd(input, size);
  WindowAxis axis{input, 1, size, input / common, size / common, {}};
  for (int64_t r = 0; r < axis.output_step; ++r) {
    const Phase* last = nullptr;
    for (int64_t o = r; o < size; o += axis.output_step) {
      const std::vector<ResampleTap>& taps = outputs[static_cast<size_t>(o)];
      bool repeats = last != nullptr && last->weights.size() == taps.size() &&
                     taps[0].at == last->origin + last->count * axis.input_step;
      for (size_t t = 0; repeats && t < taps.size(); ++t) {
        repeats = std::abs(taps[t].weight - last->weights[t]) < kEqual;
      }
      if (repeats) {
        ++axis.phases.back().count;
        continue;
      }
      if (axis.phases.size() == max_phases) return std::nullopt;
      Phase phase{o, 1, 0, 1, static_cast<int64_t>(taps.size()), taps[0].at, 1, {}};
      for (const ResampleTap& tap : taps) phase.weights.push_back(tap.weight);
      axis.kernel = std::max(axis.kernel, phase.taps);
      axis.phases.push_back(std::move(phase));
      last = &axis.phases.back();
    }
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
