// The machine that timing.cc runs programs on: every constant of the model, where it comes from and how sure
// we are.
//
// Sources, aws-neuron-sdk: A1 = v2.24.0 general/nki/arch/trainium_inferentia2_arch.rst; P1 = v2.24.0
// general/nki/nki_perf_guide.rst; I1 = v2.24.0 general/nki/api/nki/isa/__init__.py; D1 = v2.32.0
// nki/deep-dives/nki-dma-bandwidth-guide.rst; T1 = v2.24.0
// general/nki/tutorials/{matrix_multiplication,fused_mamba, layernorm}.rst, the published times that
// docs/timing.md compares with. Confidence: high = stated as such; medium = stated loosely, or fits several
// published times; low = our guess.
#ifndef NKIAGENT_COMMON_NKI_TIMING_MACHINE_H_
#define NKIAGENT_COMMON_NKI_TIMING_MACHINE_H_

#include <cstdint>

#include "common/nki/isa/types.h"

namespace nkiagent::nki::timing {

// ---- Clocks, GHz = cycles per nanosecond (A1; high)
inline constexpr double kTensorGhz = 2.8;
inline constexpr double kVectorGhz = 1.12;
inline constexpr double kScalarGhz = 1.4;
inline constexpr double kGpSimdGhz = 1.4;
// Sync only starts DMAs and waits; it has the sequencer of the others (low).
inline constexpr double kSyncGhz = 1.4;
double ClockGhz(isa::Engine engine);  // 1 for the DMA engines, whose costs are in nanoseconds

// ---- Compute engines, cycles of the engine
inline constexpr double kMinInterval = 64;       // MIN_II: fewest cycles between two instructions (I1; high)
inline constexpr double kDynamicInterval = 600;  // the same with a run-time address (I1; medium)
inline constexpr double kGpSimdStart = 150;      // GPSIMD_START (I1; medium)
inline constexpr double kAccumulatorRead =
    64;  // reading the Scalar engine's reduction registers (A1; medium)
inline constexpr double kFp32MatmulPasses = 4;  // (A1, I1; high)
// Opening the SBUF and PSUM access of each matmul, "about 60 cycles, partly hidden" (A1); 64 fits the fully
// blocked matmul of T1 (medium).
inline constexpr double kTensorAccessCycles = 64;
// From the last element to when a dependent instruction may start. Vector: "about 100 cycles" (A1, P1), and
// the inner loop of T1's mamba v2 (medium). Scalar: 264 cycles from start to start of dependent one-element
// instructions (P1), less kMinInterval (high). Tensor and GpSimd: taken like Vector (low).
inline constexpr double kVectorLatency = 100;
inline constexpr double kScalarLatency = 200;
inline constexpr double kTensorLatency = 100;
inline constexpr double kGpSimdLatency = 100;
double LatencyCycles(isa::Engine engine);
// An innermost free stride above this many bytes halves the rate of SBUF and PSUM ports (A1; high).
inline constexpr int64_t kFastStrideBytes = 16;
inline constexpr double kSlowStrideFactor = 2;
// Nanoseconds for a semaphore to reach another engine (not documented; low).
inline constexpr double kSemaphoreNs = 50;

// ---- DMA, nanoseconds and bytes
inline constexpr int kDmaEngines = 16;  // for each core (A1; high)
// Payload for each engine and nanosecond. D1 prints 17 B/ns as practical, which as traffic of reads and
// writes together is 8.5 of payload; that fits T1's layernorm (268 MB in 1969 us = 8.5 for each of 16) and
// T1's four bandwidth-bound matmul versions (medium).
inline constexpr double kDmaBytesPerNs = 8.5;
// For each contiguous run; fits T1's matmul versions with 256 B to 2 KiB runs (medium).
inline constexpr double kDmaDescriptorNs = 25;
// For each element of an element-wise pattern (runs of one element, as a transposing store has), instead of a
// run's cost. The SD attention tests of aws-neuron/nki-samples (test/unit/test_SD_attention_small_head.py at
// 05c0769) hold a kernel with 524288 of them to 504 us, so it is no more than 7.3 (low).
inline constexpr double kDmaElementNs = 7;
// For each element of a transposing load (load_transpose2d, dma_transpose): one in a cycle of 1.4 GHz, 45
// GB/s for 2-byte elements. P1 says "much lower bandwidth"; the same test leaves no more (low).
inline constexpr double kDmaTransposeElementNs = 1 / 1.4;
// From the semaphore that starts a transfer to its first byte, about 1300 ns (D1), and the write of the
// semaphore that ends it (D1, no number; low): 2 us together.
inline constexpr double kDmaLatencyNs = 2000;
// What the starting engine spends on each DMA (low).
inline constexpr double kDmaIssueCycles = 64;
// A run shorter than this costs as much as one of this size (A1: 512-bit ports; low).
inline constexpr int64_t kDmaSmallestRun = 64;

// ---- Memory
// Half of a device's 820 GB/s, bytes per nanosecond (A1; medium). Far above 16 DMA engines, so it never binds
// on trn1.
inline constexpr double kHbmBytesPerNs = 410;
// bf16-class peak of the Tensor engine, floating-point operations per nanosecond: 128 * 128 * 2 * 2.8 (A1;
// high).
inline constexpr double kTensorFlopsPerNs = 128.0 * 128.0 * 2.0 * kTensorGhz;

// What nki.benchmark reports on top of the kernel's own time, in microseconds: starting the program and
// noticing its end. aws-neuron/nki-samples at 05c0769 and b3c5c8d allow 14 to 40 us for four small kernels
// that the model puts 6 to 11 us lower (low). Not part of a latency.
inline constexpr double kLaunchUs = 7.5;

// The constants that published times were used to choose; published_test.cc varies them.
struct Calibration {
  double dma_bytes_per_ns = kDmaBytesPerNs;
  double dma_run_ns = kDmaDescriptorNs;
  double tensor_access_cycles = kTensorAccessCycles;
};

}  // namespace nkiagent::nki::timing

#endif  // NKIAGENT_COMMON_NKI_TIMING_MACHINE_H_
