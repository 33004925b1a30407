// Windows that slide along the spatial axes of a tensor: what convolutions and poolings have in common.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_WINDOW_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_WINDOW_H_

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "services/llm_gateway/builtin/graph.h"

namespace nkiagent::builtin {

// Output positions of one axis that meet the taps in the same way: those of a convolution are one phase,
// those of a transposed convolution with stride s are s phases, since output o = s*q + r meets every s-th tap
// only. Output `start + q*WindowAxis::output_step` (0 <= q < count) reads, at tap `first_tap + j*tap_step` (0
// <= j < taps), the input element `q*WindowAxis::input_step + origin + j*origin_step`.
struct Phase {
  int64_t start = 0, count = 0;
  int64_t first_tap = 0, tap_step = 1, taps = 0;
  int64_t origin = 0, origin_step = 1;
  std::vector<double> weights;  // of a resampling: one for each tap
};

// One spatial axis. Input positions outside 0..input-1 are padding.
struct WindowAxis {
  int64_t input = 1, kernel = 1, output = 1;
  int64_t input_step = 1, output_step = 1;
  std::vector<Phase> phases;

  // Input positions that q = first..first+count-1 of any phase read.
  int64_t Lowest(int64_t first) const;
  int64_t Highest(int64_t first, int64_t count) const;
  // Whether any output reads padding.
  bool padded() const;
};

// The windows of a convolution or pooling, outermost axis first.
WindowAxis SlidingAxis(int64_t input, int64_t kernel, int64_t output, int64_t stride, int64_t padding,
                       int64_t dilation);
WindowAxis TransposedAxis(int64_t input, int64_t kernel, int64_t output, int64_t stride, int64_t padding,
                          int64_t dilation);

// Windows of an adaptive pooling: as even as whole numbers allow, no padding. Each output may be a phase of
// its own.
WindowAxis AdaptiveAxis(int64_t input, int64_t output);

// Taps of an axis laid side by side on the partitions, so that one product contracts over all of them: copy
// number d of the input is shifted by d * step positions and meets the tap d * tap_step after the first.
struct TapStack {
  int64_t count = 1, step = 1, tap_step = 1;
};

// An axis with its taps stacked. What is left of the phases' taps are steps of `stack.count` taps; their
// numbers count from `padding` taps of zeros before the first one, `taps` in all.
struct StackedAxis {
  WindowAxis reads;
  TapStack stack;
  int64_t taps = 1, padding = 0;
};

// Copies of the input that all taps of any phase need; 0 if these aren't evenly spaced.
int64_t FullStack(const WindowAxis& axis);
// With `count` copies: 1, FullStack(), or, of a sliding axis, any number in between.
StackedAxis StackTaps(const WindowAxis& axis, int64_t count);

// Windows of a resampling, given the taps of each output (neighbours in order): outputs that repeat make a
// phase. None if there are more than `max_phases`.
struct ResampleTap {
  int64_t at = 0;
  double weight = 1;
};
std::optional<WindowAxis> ResampledAxis(int64_t input, const std::vector<std::vector<ResampleTap>>& outputs,
                                        size_t max_phases);

enum class WindowKind {
  kConvolution,  // operands: input (N, G*K, …), weight flattened to (G*M, K, taps); result (N, G, M, …)
  kTransposed,   // the same with weight (G*K, M, taps)
  kDepthwise,    // K = 1, G > 1: operands as for kConvolution
  kMax,          // operand: input (N, C, …); result (N, C, …)
  kSum,          // likewise; padding counts as zero
  kMean,         // the sum over the number of taps, padding included
  kResample,     // the sum of the taps times their weights, one axis after the other
};

// What an operation over windows computes.
struct Window {
  WindowKind kind = WindowKind::kConvolution;
  int64_t channels = 1;  // K, of one group
  std::vector<WindowAxis> axes;

  bool pools() const { return kind >= WindowKind::kMax; }
  int64_t taps() const;
  // "3x3".
  std::string KernelText() const;
};

// How a stage cuts its windows into tiles. Spatial axes before `tile_axis` have loops of their own, those
// after it lie in a tile as a whole.
struct WindowTiling {
  bool contracts = false;  // on the Tensor engine
  // Some weights are zeros that the kernel has put there.
  bool multiplies_with_zeros = false;
  int tile_axis = 0;
  int64_t positions = 1;      // of each phase along that axis in a tile
  int64_t tiles = 1;          // along that axis
  int64_t band = 1;           // tiles whose input is on chip together
  bool whole_input = true;    // all of an image's channels (of a group) are on chip together
  bool all_weights = true;    // likewise the weights of a group
  int64_t channel_tile = 1;   // contracted at a time, of one group
  int64_t groups = 1;         // of them on the partitions together, with zeros between their weights
  bool grouped_rows = false;  // groups and their output channels are one axis: the tiles' partitions
  // Outputs along the first axis lie on partitions, next to images and channels.
  bool folded = false;
  int64_t images = 1;  // in a tile: StagePlan::tile_axes has their axis
  // Lines along the last axis are on chip as they lie, without padding; outputs whose tap would fall into it
  // are left out of that tap's product.
  bool whole_lines = false;
  std::vector<StackedAxis> stacked;  // per spatial axis
  std::vector<int> axes;  // per axis of Op::dims: which axis of the iteration it is; -1 where its size is 1

  // Copies of the input on the partitions.
  int64_t copies() const {
    int64_t copies = 1;
    for (const StackedAxis& axis : stacked) copies *= axis.stack.count;
    return copies;
  }
  // Taps in memory, zeros included.
  int64_t taps() const {
    int64_t taps = 1;
    for (const StackedAxis& axis : stacked) taps *= axis.taps;
    return taps;
  }
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_WINDOW_H_
