#include "common/nki/timing/cost.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdlib>

#include "common/nki/ir/saturate.h"
#include "common/nki/timing/machine.h"

namespace nkiagent::nki::timing {
namespace {

using isa::AluOp;
using isa::DType;
using isa::Engine;
using isa::Opcode;

constexpr double kMatmulMovingMax = isa::kMatmulMovingFreeMax;

int64_t FloorDiv(int64_t a, int64_t b) {
  const int64_t q = a / b;
  return (a % b != 0 && ((a < 0) != (b < 0))) ? q - 1 : q;
}

const ir::Access* AccessOf(const ir::Operand& o) { return std::get_if<ir::Access>(&o); }

struct Tile {
  const ir::Access* access = nullptr;
  const ir::Tensor* tensor = nullptr;
  std::vector<int64_t> shape;  // what the mask leaves
  bool psum = false;
  bool sbuf = false;
  double partitions = 0;
  double free = 0;  // elements per partition

  bool given() const { return access != nullptr; }
  double elements() const { return partitions * free; }
  DType dtype() const { return tensor->dtype; }
};

class Coster {
 public:
  Coster(const ir::Program& p, const ir::Instr& i, absl::Span<const int64_t> symbols,
         const std::vector<bool>& in_psum, const Calibration& calibration)
      : p_(p),
        i_(i),
        row_(isa::RowOf(i.op)),
        symbols_(symbols),
        in_psum_(in_psum),
        calibration_(calibration) {}

  Work Run() {
    for (size_t k = 0; k < i_.dst.size() && k < dst_.size(); ++k) dst_[k] = TileOf(i_.dst[k]);
    for (size_t k = 0; k < i_.src.size() && k < src_.size(); ++k) src_[k] = TileOf(i_.src[k]);
    w_.engine = EngineOf();
    if (w_.skipped) return w_;
    if (w_.engine == Engine::kDma) {
      Dma();
    } else {
      const double cycles = Cycles() * StrideFactor();
      w_.occupancy_ns = cycles / ClockGhz(w_.engine);
      w_.latency_ns = LatencyCycles(w_.engine) / ClockGhz(w_.engine);
    }
    Count();
    return w_;
  }

 private:
  Tile TileOf(const ir::Operand& operand) {
    Tile t;
    t.access = AccessOf(operand);
    if (!t.given()) return t;
    t.tensor = &p_.tensors[static_cast<size_t>(t.access->tensor)];
    if (!UnmaskedShape(*t.access, symbols_, &t.shape)) w_.skipped = true;
    const auto storage = static_cast<size_t>(ir::StorageOf(p_, t.access->tensor));
    t.psum = t.tensor->buffer == isa::Buffer::kPsum || (storage < in_psum_.size() && in_psum_[storage]);
    t.sbuf = t.tensor->buffer == isa::Buffer::kSbuf && !t.psum;
    t.partitions = static_cast<double>(t.shape[0]);
    t.free = 1;
    for (size_t d = 1; d < t.shape.size(); ++d) t.free *= static_cast<double>(t.shape[d]);
    w_.uses_psum = w_.uses_psum || t.psum;
    return t;
  }

  Engine EngineOf() const {
    if (i_.engine != Engine::kUnknown) return i_.engine;
    if (i_.op == Opcode::kNcTranspose) {
      const bool tensor = src_[0].sbuf && dst_[0].psum;
      return !tensor && src_[0].partitions <= 32 && src_[0].free <= 32 ? Engine::kVector : Engine::kTensor;
    }
    // The compiler runs an operator where it exists: pow and rsqrt are not on the Vector engine.
    uint8_t engines = row_.engines;
    for (const AluOp op : {i_.attrs.op0, i_.attrs.op1}) {
      if (op != AluOp::kNone) engines &= isa::Info(op).engines;
    }
    if (engines == 0 || (engines & isa::EngineBit(row_.preferred)) != 0) return row_.preferred;
    for (const Engine e : {Engine::kGpSimd, Engine::kVector, Engine::kScalar}) {
      if ((engines & isa::EngineBit(e)) != 0) return e;
    }
    return row_.preferred;
  }

  // Elements per partition that pass through the engine.
  double N() const {
    double n = dst_[0].given() ? dst_[0].free : 0;
    for (const Tile& t : src_) {
      if (t.given()) n = std::max(n, t.free);
    }
    return n;
  }

  bool All16Bit() const {
    const auto bf16 = [](const Tile& t) { return !t.given() || t.dtype() == DType::kBFloat16; };
    return bf16(dst_[0]) && std::all_of(src_.begin(), src_.end(), bf16);
  }

  double Cycles() const {
    const double n = N();
    const double gpsimd = w_.engine == Engine::kGpSimd ? kGpSimdStart : 0;
    const auto at_least = [&](double cycles) { return gpsimd + std::max(kMinInterval, cycles); };
    switch (row_.cost) {
      case isa::Cost::kMinIiN:
        return at_least(n) + (dst_[1].given() ? kMinInterval : 0);
      case isa::Cost::kN:
        return at_least(n);
      case isa::Cost::kTwoN:
        return at_least(2 * n);
      case isa::Cost::kTensorTensor: {
        const bool mixed = (src_[0].psum && src_[1].sbuf) || (src_[0].sbuf && src_[1].psum);
        const bool fast_op = i_.attrs.op0 == AluOp::kAdd || i_.attrs.op0 == AluOp::kMultiply ||
                             i_.attrs.op0 == AluOp::kSubtract;
        const bool fast = src_[0].sbuf && src_[1].sbuf && fast_op && All16Bit();
        return at_least(mixed || fast ? n : 2 * n);
      }
      case isa::Cost::kTensorReduce: {
        const bool fast = All16Bit() && (i_.attrs.op0 == AluOp::kAdd || i_.attrs.op0 == AluOp::kMaximum);
        return at_least(fast ? n / 2 : n);
      }
      case isa::Cost::kScalarTensorTensor: {
        const bool fast = All16Bit() && i_.attrs.op0 == AluOp::kSubtract &&
                          i_.attrs.op1 == AluOp::kMultiply && std::fmod(n, 2) == 0;
        return at_least(fast ? n : 2 * n);
      }
      case isa::Cost::kCopyPredicated: {
        const bool mixed = (src_[0].psum && src_[1].sbuf) || (src_[0].sbuf && src_[1].psum);
        return at_least(mixed ? n : 2 * n);
      }
      case isa::Cost::kReciprocal:
        return at_least(8 * n);
      case isa::Cost::kGpSimdN:
        return w_.engine == Engine::kGpSimd ? kGpSimdStart + n : at_least(n);
      case isa::Cost::kMemset: {
        const bool half = i_.attrs.value == 0 && isa::SizeOf(dst_[0].dtype()) == 2;
        return at_least(half ? n / 2 : n);
      }
      case isa::Cost::kBnAggr:
        return at_least(13 * n / 3);
      case isa::Cost::kLocalGather: {
        // I1 prints the overhead factor as a divisor, so that more overhead would cost less; we multiply.
        const double e = static_cast<double>(i_.attrs.num_elem_per_idx);
        const double overhead = (28 + 4 * e) / (4 * e);
        const double lanes = std::min(4.0 / isa::SizeOf(src_[0].dtype()), e);
        return kGpSimdStart + static_cast<double>(i_.attrs.num_valid_indices) * e * overhead / lanes;
      }
      case isa::Cost::kMatmul:
        return MatmulCycles();
      case isa::Cost::kTranspose:
        return w_.engine == Engine::kVector
                   ? at_least(n)
                   : std::max(src_[0].partitions, std::min(kMinInterval, src_[0].free)) +
                         calibration_.tensor_access_cycles;
      case isa::Cost::kActivation:
        return at_least(n) + (dst_[1].given() ? kAccumulatorRead : 0);
      case isa::Cost::kTensorCopy: {
        const bool dynamic =
            (src_[0].given() && src_[0].access->indirect_axis >= 0) || dst_[0].access->indirect_axis >= 0;
        return dynamic ? std::max(kDynamicInterval, n) : at_least(n);
      }
      case isa::Cost::kDma:
        break;
    }
    return kMinInterval;
  }

  double MatmulCycles() const {
    const bool broadcast = i_.op == Opcode::kPartitionBroadcast;
    if (broadcast && w_.engine != Engine::kTensor) return std::max(kMinInterval, N());
    // A broadcast multiplies a row of ones with the data, 512 columns at a time.
    const double m = broadcast ? dst_[0].partitions : src_[0].free;
    const double n = broadcast ? src_[0].free : src_[1].free;
    const DType a = src_[0].dtype();
    const DType b = broadcast ? a : src_[1].dtype();
    const double passes = a == DType::kFloat32 || b == DType::kFloat32 ? kFp32MatmulPasses : 1;
    const auto pass = [&](double columns) {
      return passes * std::max(std::min(kMinInterval, m), columns) + calibration_.tensor_access_cycles;
    };
    const double whole = std::floor(n / kMatmulMovingMax);
    const double rest = n - whole * kMatmulMovingMax;
    const double cycles = whole * pass(kMatmulMovingMax) + (rest > 0 ? pass(rest) : 0);
    return cycles;
  }

  // Strided access of the innermost free dimension with more than one element.
  double StrideFactor() const {
    if (w_.engine == Engine::kTensor) return 1;
    const auto slow = [](const Tile& t) {
      if (!t.given()) return false;
      for (size_t d = t.access->shape.size(); d-- > 1;) {
        if (t.access->shape[d] == 1) continue;
        int64_t stride = 0, weight = isa::SizeOf(t.dtype());
        for (size_t k = t.tensor->shape.size(); k-- > 0;) {
          if (k == static_cast<size_t>(t.tensor->partition_axis)) continue;
          stride = ir::SaturatingAdd(stride, ir::SaturatingMul(weight, t.access->index[k].DimCoefficient(d)));
          weight *= t.tensor->shape[k];
        }
        return std::abs(stride) > kFastStrideBytes;
      }
      return false;
    };
    const bool any = slow(dst_[0]) || slow(dst_[1]) || std::any_of(src_.begin(), src_.end(), slow);
    return any ? kSlowStrideFactor : 1;
  }

  void Dma() {
    const Tile& dst = dst_[0];
    const Tile& src = src_[0];
    const Descriptors d = DescriptorsOf(p_, dst.access, src.access, dst.shape);
    const double count = static_cast<double>(d.count);
    w_.descriptors = count;
    w_.descriptor_bytes = static_cast<double>(d.bytes);
    const double payload = static_cast<double>(std::max(d.bytes, kDmaSmallestRun));
    int element = isa::SizeOf(dst.dtype());
    if (src.given()) element = std::max(element, isa::SizeOf(src.dtype()));
    double each = calibration_.dma_run_ns + payload / calibration_.dma_bytes_per_ns;
    if (d.bytes == element) each = i_.op == Opcode::kDmaTranspose ? kDmaTransposeElementNs : kDmaElementNs;
    const double all = count * each;
    w_.occupancy_ns = all / kDmaEngines;
    w_.transfer_ns = all / std::min<double>(kDmaEngines, std::max(count, 1.0));
    w_.latency_ns = kDmaLatencyNs;
    const bool from_psum = src.given() && src.psum && src.tensor->buffer == isa::Buffer::kPsum;
    const bool to_psum = dst.tensor->buffer == isa::Buffer::kPsum;
    if (from_psum || to_psum) w_.staging_ns = std::max(kMinInterval, dst.free) / kVectorGhz;
  }

  void Count() {
    const auto move = [&](const Tile& t, bool write) {
      if (!t.given()) return;
      const double bytes = t.elements() * isa::SizeOf(t.dtype());
      if (isa::IsHbm(t.tensor->buffer)) {
        (write ? w_.hbm_written : w_.hbm_read) += bytes;
      } else if (t.tensor->buffer == isa::Buffer::kPsum) {
        (write ? w_.psum_written : w_.psum_read) += bytes;
      } else {
        (write ? w_.sbuf_written : w_.sbuf_read) += bytes;
      }
    };
    for (const Tile& t : dst_) move(t, true);
    for (const Tile& t : src_) move(t, false);
    switch (row_.flops) {
      case isa::Flops::kNone:
        break;
      case isa::Flops::kMatmul:
        w_.tensor_flops = w_.flops = 2 * src_[0].elements() * src_[1].free;
        break;
      case isa::Flops::kSource:
        w_.flops = src_[0].elements();
        break;
      case isa::Flops::kDestination:
        w_.flops = dst_[0].elements() * (i_.attrs.op1 != AluOp::kNone ? 2 : 1);
        break;
    }
  }

  const ir::Program& p_;
  const ir::Instr& i_;
  const isa::Row& row_;
  absl::Span<const int64_t> symbols_;
  const std::vector<bool>& in_psum_;
  const Calibration& calibration_;
  std::array<Tile, isa::kMaxDst> dst_;
  std::array<Tile, isa::kMaxSrc> src_;
  Work w_;
};

// Linear stride of a tile dimension in elements of the tensor; on chip within a partition.
int64_t StrideOf(const ir::Program& p, const ir::Access& a, size_t d) {
  const ir::Tensor& t = p.tensors[static_cast<size_t>(a.tensor)];
  int64_t stride = 0, weight = 1;
  for (size_t k = t.shape.size(); k-- > 0;) {
    if (!isa::IsHbm(t.buffer) && k == static_cast<size_t>(t.partition_axis)) continue;
    stride = ir::SaturatingAdd(stride, ir::SaturatingMul(weight, a.index[k].DimCoefficient(d)));
    weight *= t.shape[k];
  }
  return stride;
}

}  // namespace

bool UnmaskedShape(const ir::Access& access, absl::Span<const int64_t> symbols, std::vector<int64_t>* shape) {
  *shape = access.shape;
  if (access.mask.empty()) return true;
  std::vector<int64_t> lo(access.shape.size(), 0);
  std::vector<int64_t> hi(access.shape.size());
  for (size_t d = 0; d < hi.size(); ++d) hi[d] = access.shape[d] - 1;
  for (const ir::Affine& m : access.mask) {
    const int64_t base = ir::Saturate(m.Base(symbols));
    size_t dim = 0;
    int used = 0;
    for (size_t d = 0; d < m.dims.size() && d < hi.size(); ++d) {
      if (m.dims[d] == 0) continue;
      dim = d;
      ++used;
    }
    if (used == 0 && base < 0) return false;
    if (used != 1) continue;
    const int64_t c = m.dims[dim];
    if (c > 0) {
      lo[dim] = std::max(lo[dim], -FloorDiv(base, c));
    } else {
      hi[dim] = std::min(hi[dim], FloorDiv(base, -c));
    }
  }
  for (size_t d = 0; d < hi.size(); ++d) {
    if (lo[d] > hi[d]) return false;
    (*shape)[d] = hi[d] - lo[d] + 1;
  }
  return true;
}

Descriptors DescriptorsOf(const ir::Program& p, const ir::Access* dst, const ir::Access* src,
                          absl::Span<const int64_t> shape) {
  int64_t run = 1;
  size_t d = shape.size();
  const auto continues = [&](const ir::Access* a, size_t dim) {
    if (a == nullptr) return true;  // a constant
    const bool on_chip = !isa::IsHbm(p.tensors[static_cast<size_t>(a->tensor)].buffer);
    if (on_chip && dim == 0) return false;  // another partition
    if (a->indirect_axis >= 0 && dim == 0) return false;
    return StrideOf(p, *a, dim) == run;
  };
  while (d > 0 && (shape[d - 1] == 1 || (continues(dst, d - 1) && continues(src, d - 1)))) {
    --d;
    run *= shape[d];
  }
  int64_t all = 1;
  for (int64_t s : shape) all *= s;
  int bytes = 1;
  for (const ir::Access* a : {dst, src}) {
    if (a != nullptr) bytes = std::max(bytes, isa::SizeOf(p.tensors[static_cast<size_t>(a->tensor)].dtype));
  }
  return {all / run, run * bytes};
}

std::vector<bool> BroadcastTensors(const ir::Program& program) {
  std::vector<bool> by_broadcast(program.tensors.size(), false);
  std::vector<bool> otherwise(program.tensors.size(), false);
  ir::ForEachInstr(program.body, [&](const ir::Instr& i, absl::Span<const ir::Loop* const>) {
    const bool broadcast =
        i.op == Opcode::kPartitionBroadcast && (i.engine == Engine::kTensor || i.engine == Engine::kUnknown);
    for (const ir::Operand& o : i.dst) {
      const ir::Access* a = AccessOf(o);
      if (a == nullptr) continue;
      (broadcast ? by_broadcast : otherwise)[static_cast<size_t>(ir::StorageOf(program, a->tensor))] = true;
    }
  });
  for (size_t t = 0; t < by_broadcast.size(); ++t) {
    by_broadcast[t] = by_broadcast[t] && !otherwise[t] && !isa::IsHbm(program.tensors[t].buffer);
  }
  return by_broadcast;
}

Work WorkOf(const ir::Program& program, const ir::Instr& instr, absl::Span<const int64_t> symbols,
            const std::vector<bool>& in_psum, const Calibration& calibration) {
  return Coster(program, instr, symbols, in_psum, calibration).Run();
}

}  // namespace nkiagent::nki::timing
