// Fast form of nc_matmul: on memory where it is fp32 and contiguous, else on packed copies; tiles of the
// Tensor engine's size by a product of our own (tile_matmul.h), larger ones by OpenBLAS.
#include <cblas.h>

#include <algorithm>
#include <limits>

#include "common/nki/exec/fast_common.h"
#include "common/nki/exec/fast_ops.h"
#include "common/nki/exec/shapes.h"
#include "common/nki/exec/tile_matmul.h"

namespace nkiagent::nki::exec {
namespace {

// Multiply-adds of one sgemm call: a few milliseconds, after which the clock is looked at.
constexpr int64_t kMaxCall = int64_t{1} << 28;
// Fewer than this are not worth splitting over threads.
constexpr int64_t kMinSharedCall = int64_t{1} << 21;
constexpr int64_t kMaxBlasSize = std::numeric_limits<int32_t>::max();

// A matrix in memory: `rows` rows of contiguous floats, `ld` floats apart.
struct Matrix {
  float* p = nullptr;
  int64_t ld = 0;
};

// The operand as a matrix of its dimension 0 by its flattened free dimensions, if memory already is one:
// fp32, unmasked, inside its tensor without further checks.
bool InPlace(const Context& context, const AccessPlan& a, int64_t columns, Matrix* m) {
  if (!IsFp32Storage(a.dtype) || !a.masks.empty() || !a.checks.empty()) return false;
  int64_t stride = 1;
  for (size_t d = a.shape.size(); d-- > 1;) {
    if (a.shape[d] == 1) continue;
    if (a.offset.dims[d] != stride) return false;
    stride *= a.shape[d];
  }
  m->ld = a.shape[0] == 1 ? columns : a.offset.dims[0];
  if (m->ld < columns || m->ld > kMaxBlasSize) return false;
  m->p = reinterpret_cast<float*>(DataOf(context, a)) + a.offset.Base(context.symbols);
  return true;
}

// The operand as a matrix, packed into `block` if need be.
bool Prepare(Context& context, const InstrPlan& plan, const AccessPlan& a, int64_t columns, bool copy,
             ScratchBlock* block, Matrix* m) {
  if (!copy && !context.tensors[static_cast<size_t>(a.tensor)].maybe_undefined &&
      InPlace(context, a, columns, m)) {
    return true;
  }
  if (!block->Acquire(context, Count(a.shape) * 4)) return false;
  *m = {block->floats(), columns};
  return LoadTile(context, plan, a, 0.0f, m->p);
}

// Threads are ours to place: OpenBLAS works on the one that calls it.
void KeepBlasOnOneThread() {
  static const bool once = [] {
    openblas_set_num_threads(1);
    return true;
  }();
  static_cast<void>(once);
}

}  // namespace

bool FastMatmul(Context& context, const InstrPlan& plan, Team* team) {
  KeepBlasOnOneThread();
  const AccessPlan& stationary = plan.src[0];
  const AccessPlan& moving = plan.src[1];
  const AccessPlan& dst = plan.dst[0];
  const bool accumulate = plan.instr->attrs.accumulate;
  const int64_t k_size = stationary.shape[0];
  const int64_t m_size = Count(stationary.shape, 1);
  const int64_t n_size = Count(moving.shape, 1);
  // A destination in the same storage as an operand sees the operand's old contents.
  const std::byte* dst_data = DataOf(context, dst);
  ScratchBlock blocks[3];
  Matrix a, b, c;
  if (!Prepare(context, plan, stationary, m_size, DataOf(context, stationary) == dst_data, &blocks[0], &a) ||
      !Prepare(context, plan, moving, n_size, DataOf(context, moving) == dst_data, &blocks[1], &b)) {
    return false;
  }
  const Storage& storage = context.tensors[static_cast<size_t>(dst.tensor)];
  const bool direct = dst.dtype == isa::DType::kFloat32 && storage.written == nullptr &&
                      !(accumulate && storage.maybe_undefined) && InPlace(context, dst, n_size, &c);
  if (!direct) {
    if (!blocks[2].Acquire(context, m_size * n_size * 4)) return false;
    c = {blocks[2].floats(), n_size};
    if (accumulate && !LoadTile(context, plan, dst, 0.0f, c.p)) return false;
  }
  // Blocks of rows and columns of the result that keep each call short, or feed each thread.
  int64_t n_block = std::min(n_size, std::max<int64_t>(1, kMaxCall / k_size));
  int64_t m_block = std::min(m_size, std::max<int64_t>(1, kMaxCall / k_size / n_block));
  const bool share = team != nullptr && m_size * n_size >= kMinSharedCall / k_size;
  if (share) {
    (n_size >= m_size ? n_block : m_block) = std::min(
        n_size >= m_size ? n_block : m_block, (std::max(m_size, n_size) + team->size() - 1) / team->size());
  }
  const int64_t n_blocks = (n_size + n_block - 1) / n_block;
  const int64_t m_blocks = (m_size + m_block - 1) / m_block;
  // Even one call must not run for long: the contraction is cut as well.
  const int64_t k_block = std::min(k_size, std::max<int64_t>(1, kMaxCall / (m_block * n_block)));
  const TileMatmulFn tile_matmul =
      std::max({m_block, n_block, k_size}) <= kTileMatmulMax ? BestTileMatmul() : nullptr;
  ScratchBlock work;
  const int64_t work_floats = (TileMatmulWork(m_block, k_size) + 15) / 16 * 16;
  if (tile_matmul != nullptr && !work.Acquire(context, work_floats * n_blocks * m_blocks * 4)) return false;
  const bool ok = ShareLoop(share ? team : nullptr, m_blocks * n_blocks, 1, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t m0 = i / n_blocks * m_block;
      const int64_t n0 = i % n_blocks * n_block;
      if (tile_matmul != nullptr) {
        tile_matmul({a.p + m0, a.ld, b.p + n0, b.ld, c.p + m0 * c.ld + n0, c.ld,
                     std::min(m_block, m_size - m0), std::min(n_block, n_size - n0), k_size, accumulate,
                     work.floats() + i * work_floats});
        continue;
      }
      for (int64_t k0 = 0; k0 < k_size; k0 += k_block) {
        if (context.shared->Expired()) return false;
        cblas_sgemm(CblasRowMajor, CblasTrans, CblasNoTrans, static_cast<int>(std::min(m_block, m_size - m0)),
                    static_cast<int>(std::min(n_block, n_size - n0)),
                    static_cast<int>(std::min(k_block, k_size - k0)), 1.0f, a.p + k0 * a.ld + m0,
                    static_cast<int>(a.ld), b.p + k0 * b.ld + n0, static_cast<int>(b.ld),
                    accumulate || k0 > 0 ? 1.0f : 0.0f, c.p + m0 * c.ld + n0, static_cast<int>(c.ld));
      }
    }
    return true;
  });
  if (!ok) return context.PollNow();
  return direct || StoreTile(context, plan, dst, c.p);
}

}  // namespace nkiagent::nki::exec
