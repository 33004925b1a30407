// Windows that slide along the spatial axes of a tensor: what convolutions and poolings have in common.
#ifndef SERVICES_LLM_GATEWAY_BUILTIN_WINDOW_H_
#define SERVICES_LLM_GATEWAY_BUILTIN_WINDOW_H_

#include <cstdint>
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

enum class WindowKind {
  kConvolution,  // operands: input (N, G*K, …), weight flattened to (G*M, K, taps); result (N, G, M, …)
  kTransposed,   // the same with weight (G*K, M, taps)
  kDepthwise,    // K = 1: operands as for kConvolution
  kMax,          // operand: input (N, C, …); result (N, C, …)
  kSum,          // likewise; padding counts as zero
  kMean,         // the sum over the number of taps, padding included
};

// What an operation over windows computes.
struct Window {
  WindowKind kind = WindowKind::kConvolution;
  int64_t channels = 1;  // K, of one group
  std::vector<WindowAxis> axes;

  bool multiplies() const { return kind == WindowKind::kConvolution || kind == WindowKind::kTransposed; }
  bool pools() const { return kind >= WindowKind::kMax; }
  int64_t taps() const;
  // "3x3".
  std::string KernelText() const;
};

// How a stage cuts its windows into tiles. Spatial axes before `tile_axis` have loops of their own, those
// after it lie in a tile as a whole.
struct WindowTiling {
  int tile_axis = 0;
  int64_t positions = 1;     // of each phase along that axis in a tile
  int64_t tiles = 1;         // along that axis
  int64_t band = 1;          // tiles whose input is on chip together
  bool whole_input = true;   // all of an image's channels (of a group) are on chip together
  bool all_weights = true;   // likewise the weights of a group
  int64_t channel_tile = 1;  // contracted at a time
  std::vector<int> axes;  // per axis of Op::dims: which axis of the iteration it is; -1 where its size is 1
};

}  // namespace nkiagent::builtin

#endif  // SERVICES_LLM_GATEWAY_BUILTIN_WINDOW_H_
