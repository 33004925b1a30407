// Reference semantics of reductions, matmul, scans, statistics, gathers and searches.
#include <algorithm>
#include <limits>
#include <utility>

#include "common/nki/exec/reference_machine.h"
#include "common/nki/exec/scalar_math.h"

namespace nkiagent::nki::exec {

using ir::Access;
using isa::AluOp;

namespace {

constexpr int64_t kQuadrant = 32;
constexpr int32_t kKeepPartition = 255;
constexpr int64_t kPartitionsPerCore = 16;
constexpr size_t kEight = 8;

int64_t CountOf(const std::vector<int64_t>& shape, size_t first = 0) {
  int64_t n = 1;
  for (size_t d = first; d < shape.size(); ++d) n *= shape[d];
  return n;
}

// The position of a flattened index.
Position Unflatten(int64_t index, const std::vector<int64_t>& shape) {
  Position pos(shape.size(), 0);
  for (size_t d = shape.size(); d-- > 0;) {
    pos[d] = index % shape[d];
    index /= shape[d];
  }
  return pos;
}

}  // namespace

bool ReferenceMachine::TensorReduce(bool partitions) {
  const Access& data = Src(0);
  const Access& dst = Dst();
  const AluOp op = at_.op0;
  const bool bitvec = isa::Info(op).bitvec;
  const auto n = static_cast<size_t>(CountOf(dst.shape));
  if (!Reserve(static_cast<int64_t>(n))) return false;
  std::vector<float> fold(n, FoldIdentity(op));
  std::vector<int64_t> fold_bits(n, FoldIdentityBits(op));
  std::vector<bool> seen(n, false);
  const bool ok = ForEach(data.shape, [&](const Position& pos, int64_t) {
    if (!Held(data, pos)) return true;
    Position to = pos;
    if (partitions) to[0] = 0;
    for (const int32_t axis : at_.axes) to[static_cast<size_t>(axis)] = 0;
    size_t k = 0;
    for (size_t d = 0; d < to.size(); ++d)
      k = k * static_cast<size_t>(dst.shape[d]) + static_cast<size_t>(to[d]);
    Cell cell;
    if (!Read(data, pos, &cell)) return false;
    fold[k] = seen[k] ? ApplyAlu(op, fold[k], cell.f) : cell.f;
    fold_bits[k] = seen[k] ? ApplyBitvec(op, fold_bits[k], cell.i, 32) : cell.i;
    seen[k] = true;
    return true;
  });
  if (!ok) return false;
  if (!bitvec) {
    if (at_.negate) {
      for (float& f : fold) f = -f;
    }
    return WriteTile(dst, fold);
  }
  std::vector<int64_t> places(n, -1);
  if (!ForEach(dst.shape, [&](const Position& pos, int64_t k) {
        return !Held(dst, pos) || Locate(dst, pos, &places[static_cast<size_t>(k)], nullptr);
      })) {
    return false;
  }
  for (size_t k = 0; k < n; ++k) {
    if (places[k] >= 0) WriteAt(dst, places[k], Result::IntBits(fold_bits[k]));
  }
  return true;
}

bool ReferenceMachine::Matmul() {
  std::vector<float> stationary, moving, old;
  std::vector<bool> active;
  if (!ReadTile(Src(0), 0.0f, &stationary, &active) || !ReadTile(Src(1), 0.0f, &moving, &active))
    return false;
  const auto k_size = static_cast<size_t>(Src(0).shape[0]);
  const auto m_size = stationary.size() / k_size;
  const auto n_size = moving.size() / k_size;
  if (at_.accumulate) {
    if (!ReadTile(Dst(), 0.0f, &old, &active)) return false;
  } else if (!Reserve(static_cast<int64_t>(m_size * n_size))) {
    return false;
  } else {
    old.assign(m_size * n_size, 0.0f);
  }
  for (size_t m = 0; m < m_size; ++m) {
    for (size_t n = 0; n < n_size; ++n) {
      if (!c_.Poll(static_cast<int64_t>(k_size))) return false;
      float sum = 0.0f;
      for (size_t k = 0; k < k_size; ++k) sum += stationary[k * m_size + m] * moving[k * n_size + n];
      old[m * n_size + n] += sum;
    }
  }
  return WriteTile(Dst(), old);
}

bool ReferenceMachine::Scan() {
  std::vector<float> d0, d1, initial;
  std::vector<bool> active0, active1, active2;
  if (!ReadTile(Src(0), 0.0f, &d0, &active0) || !ReadTile(Src(1), 0.0f, &d1, &active1)) return false;
  const auto partitions = static_cast<size_t>(Dst().shape[0]);
  const size_t free = d0.size() / partitions;
  const Source from = Vector(2);
  if (from.access == nullptr) {
    initial.assign(partitions, from.constant.f);
    active2.assign(partitions, true);
  } else if (!ReadTile(*from.access, 0.0f, &initial, &active2)) {
    return false;
  }
  // Positions that any mask drops take no part: the state passes over them.
  std::vector<int64_t> places(d0.size(), -1);
  if (!ForEach(Dst().shape, [&](const Position& pos, int64_t index) {
        const auto k = static_cast<size_t>(index);
        if (!Held(Dst(), pos) || !active0[k] || !active1[k] || !active2[k / free]) return true;
        return Locate(Dst(), pos, &places[k], nullptr);
      })) {
    return false;
  }
  for (size_t p = 0; p < partitions; ++p) {
    float state = initial[p];
    for (size_t k = p * free; k < (p + 1) * free; ++k) {
      if (places[k] < 0) continue;
      const float t = at_.reverse0 ? ApplyAlu(at_.op0, state, d0[k]) : ApplyAlu(at_.op0, d0[k], state);
      state = at_.reverse1 ? ApplyAlu(at_.op1, d1[k], t) : ApplyAlu(at_.op1, t, d1[k]);
      WriteAt(Dst(), places[k], Result::Float(state));
    }
  }
  return true;
}

bool ReferenceMachine::BnStats() {
  std::vector<float> data;
  std::vector<bool> active;
  if (!ReadTile(Src(0), 0.0f, &data, &active)) return false;
  const auto partitions = static_cast<size_t>(Src(0).shape[0]);
  const size_t free = data.size() / partitions;
  std::vector<float> out;
  for (size_t p = 0; p < partitions; ++p) {
    for (size_t parity = 0; parity < 2; ++parity) {
      double count = 0, sum = 0, squares = 0;
      for (size_t f = parity; f < free; f += 2) {
        if (!active[p * free + f]) continue;
        count += 1;
        sum += data[p * free + f];
      }
      const double mean = count > 0 ? sum / count : 0.0;
      for (size_t f = parity; f < free; f += 2) {
        const double d = data[p * free + f] - mean;
        if (active[p * free + f]) squares += d * d;
      }
      for (const double v : {count, mean, squares}) out.push_back(static_cast<float>(v));
    }
  }
  return WriteTile(Dst(), out);
}

bool ReferenceMachine::BnAggr() {
  std::vector<float> data;
  std::vector<bool> active;
  if (!ReadTile(Src(0), 0.0f, &data, &active)) return false;
  const auto partitions = static_cast<size_t>(Src(0).shape[0]);
  const size_t free = data.size() / partitions;
  std::vector<float> out;
  for (size_t p = 0; p < partitions; ++p) {
    const float* row = data.data() + p * free;
    double count = 0, sum = 0, squares = 0;
    for (size_t t = 0; t < free; t += 3) {
      count += row[t];
      sum += static_cast<double>(row[t]) * row[t + 1];
    }
    const double mean = count > 0 ? sum / count : 0.0;
    for (size_t t = 0; t < free; t += 3) {
      const double d = row[t + 1] - mean;
      squares += row[t + 2] + row[t] * d * d;
    }
    out.push_back(static_cast<float>(mean));
    out.push_back(static_cast<float>(count > 0 ? squares / count : 0.0));
  }
  return WriteTile(Dst(), out);
}

bool ReferenceMachine::LocalGather() {
  const Access& src = Src(0);
  const Access& index = Src(1);
  const Access& dst = Dst();
  const int64_t partitions = dst.shape[0];
  const int64_t index_free = CountOf(index.shape, 1);
  const int64_t src_free = CountOf(src.shape, 1);
  const int64_t dst_free = CountOf(dst.shape, 1);
  if (!Reserve(partitions * at_.num_valid_indices * at_.num_elem_per_idx)) return false;
  std::vector<std::pair<int64_t, Cell>> out;
  for (int64_t p = 0; p < partitions; ++p) {
    const int64_t first = p / kPartitionsPerCore * kPartitionsPerCore;
    const int64_t in_core = std::min(kPartitionsPerCore, partitions - first);
    for (int64_t j = 0; j < at_.num_valid_indices; ++j) {
      if (!c_.Poll(at_.num_elem_per_idx)) return false;
      Cell offset;
      const Position at = Unflatten((first + j % in_core) * index_free + j / in_core, index.shape);
      if (!Held(index, at)) continue;
      if (!Read(index, at, &offset)) return false;
      for (int64_t e = 0; e < at_.num_elem_per_idx; ++e) {
        const int64_t element = offset.i + e;
        if (element < 0 || element >= src_free) {
          c_.fault = OutOfBounds(c_.program(), in_, src.tensor,
                                 static_cast<int>(TensorOf(src).shape.size()) - 1, element, true);
          return false;
        }
        const Position from = Unflatten(p * src_free + element, src.shape);
        const Position to = Unflatten(p * dst_free + j * at_.num_elem_per_idx + e, dst.shape);
        if (!Held(src, from) || !Held(dst, to)) continue;
        std::pair<int64_t, Cell> item;
        if (!Locate(dst, to, &item.first, nullptr) || !Read(src, from, &item.second)) return false;
        out.push_back(item);
      }
    }
  }
  for (const auto& [place, cell] : out) WriteAt(dst, place, CopyOf(cell, in_.src[0], false));
  return true;
}

bool ReferenceMachine::Eight() {
  std::vector<float> data, vals;
  std::vector<bool> active, active_vals;
  if (!ReadTile(Src(0), 0.0f, &data, &active)) return false;
  const auto partitions = static_cast<size_t>(Src(0).shape[0]);
  const size_t free = data.size() / partitions;
  if (in_.op == isa::Opcode::kMax8) {
    std::vector<float> out;
    for (size_t p = 0; p < partitions; ++p) {
      std::vector<float> row;
      for (size_t f = p * free; f < (p + 1) * free; ++f) {
        // NaN has no place in an order.
        if (active[f] && data[f] == data[f]) row.push_back(data[f]);
      }
      std::sort(row.begin(), row.end(), [](float a, float b) { return a > b; });
      row.resize(kEight, -std::numeric_limits<float>::infinity());
      out.insert(out.end(), row.begin(), row.end());
    }
    return WriteTile(Dst(), out);
  }
  if (!ReadTile(Src(1), 0.0f, &vals, &active_vals)) return false;
  const auto find = [&](size_t p, float value) {
    for (size_t f = 0; f < free; ++f) {
      if (active[p * free + f] && data[p * free + f] == value) return f;
    }
    return free;
  };
  if (in_.op == isa::Opcode::kNcFindIndex8) {
    std::vector<float> out;
    for (size_t p = 0; p < partitions; ++p) {
      for (size_t k = 0; k < kEight; ++k) {
        const size_t f = find(p, vals[p * kEight + k]);
        // Absent values have no index: the largest number stands out.
        out.push_back(f < free ? static_cast<float>(f) : std::numeric_limits<float>::max());
      }
    }
    return WriteTile(Dst(), out);
  }
  std::vector<float> out = data;
  for (size_t p = 0; p < partitions; ++p) {
    for (size_t k = 0; k < kEight; ++k) {
      const size_t f = find(p, vals[p * kEight + k]);
      if (f == free) continue;
      out[p * free + f] = static_cast<float>(at_.value);
      // A replaced element is not found again, so equal values replace successive occurrences.
      active[p * free + f] = false;
    }
  }
  std::vector<int64_t> places(out.size(), -1);
  if (!ForEach(Dst().shape, [&](const Position& pos, int64_t k) {
        if (!Held(Dst(), pos) || !Held(Src(0), pos)) return true;
        return Locate(Dst(), pos, &places[static_cast<size_t>(k)], nullptr);
      })) {
    return false;
  }
  for (size_t k = 0; k < out.size(); ++k) {
    if (places[k] >= 0) WriteAt(Dst(), places[k], Result::Float(out[k]));
  }
  return true;
}

bool ReferenceMachine::Shuffle() {
  const Access& src = Src(0);
  const Access& dst = Dst();
  std::vector<std::pair<int64_t, Cell>> out;
  if (!Reserve(CountOf(dst.shape))) return false;
  const bool ok = ForEach(dst.shape, [&](const Position& pos, int64_t) {
    const int32_t partition = at_.list[static_cast<size_t>(pos[0] % kQuadrant)];
    if (partition == kKeepPartition) return true;
    Position from = pos;
    from[0] = pos[0] / kQuadrant * kQuadrant + partition;
    if (!Held(dst, pos) || !Held(src, from)) return true;
    std::pair<int64_t, Cell> item;
    if (!Locate(dst, pos, &item.first, nullptr) || !Read(src, from, &item.second)) return false;
    out.push_back(item);
    return true;
  });
  if (!ok) return false;
  for (const auto& [place, cell] : out) WriteAt(dst, place, CopyOf(cell, in_.src[0], false));
  return true;
}

}  // namespace nkiagent::nki::exec
