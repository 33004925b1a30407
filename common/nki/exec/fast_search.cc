// Fast forms of instructions that search or gather along the free axis of each partition.
#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <vector>

#include "common/nki/exec/fast_common.h"
#include "common/nki/exec/fast_ops.h"
#include "common/nki/exec/reference.h"
#include "common/nki/exec/shapes.h"

namespace nkiagent::nki::exec {
namespace {

constexpr size_t kEight = 8;
constexpr float kNaN = std::numeric_limits<float>::quiet_NaN();

// The eight largest of a row, descending, without NaN; -inf where there are fewer.
void LargestEight(const float* row, int64_t n, float* best) {
  std::fill_n(best, kEight, -std::numeric_limits<float>::infinity());
  for (int64_t i = 0; i < n; ++i) {
    if (!(row[i] > best[kEight - 1])) continue;
    size_t k = kEight - 1;
    for (; k > 0 && row[i] > best[k - 1]; --k) best[k] = best[k - 1];
    best[k] = row[i];
  }
}

// The first position of `value`, or n; a NaN is nowhere. Whole blocks are compared at once.
int64_t Find(const float* row, int64_t n, float value) {
  constexpr int64_t kBlock = 128;
  for (int64_t begin = 0; begin < n; begin += kBlock) {
    const int64_t end = std::min(n, begin + kBlock);
    unsigned found = 0;
    for (int64_t i = begin; i < end; ++i) found |= row[i] == value ? 1u : 0u;
    if (found == 0) continue;
    return std::find(row + begin, row + end, value) - row;
  }
  return n;
}

// The rows of an operand, one after another; elements that its masks drop are `dropped`: NaN is found by no
// search.
bool LoadRows(Context& context, const InstrPlan& plan, const AccessPlan& a, float dropped,
              ScratchBlock* block) {
  return block->Acquire(context, Count(a.shape) * 4) && LoadTile(context, plan, a, dropped, block->floats());
}

// Calls fn(row) for each partition, on the team if there is much to do.
template <typename Fn>
bool ForRows(Context& context, Team* team, int64_t partitions, int64_t free, Fn&& fn) {
  const bool share = team != nullptr && partitions * free >= kMinSharedElements;
  const int64_t batch = std::max<int64_t>(1, Context::kWorkPerPoll / 4 / std::max<int64_t>(free, 1));
  const int64_t grain =
      share ? std::min<int64_t>(batch, std::max<int64_t>(1, partitions / (team->size() * 4))) : batch;
  return ShareLoop(share ? team : nullptr, partitions, share ? grain : partitions,
                   [&](int64_t begin, int64_t end) {
                     for (int64_t p = begin; p < end; ++p) {
                       if ((p - begin) % batch == 0 && context.shared->Expired()) return false;
                       fn(p);
                     }
                     return true;
                   }) ||
         context.PollNow();
}

// Rows that lie in memory without gaps and are known to be inside their tensor.
bool HasPlainRows(const AccessPlan& a) {
  int64_t stride = 1;
  for (size_t d = a.shape.size(); d-- > 1;) {
    if (a.shape[d] == 1) continue;
    if (a.offset.dims[d] != stride) return false;
    stride *= a.shape[d];
  }
  return a.masks.empty() && a.checks.empty();
}

}  // namespace

bool FastEight(Context& context, const InstrPlan& plan, Team* team) {
  const AccessPlan& data = plan.src[0];
  const AccessPlan& dst = plan.dst[0];
  const int64_t partitions = data.shape[0];
  const int64_t free = Count(data.shape, 1);
  ScratchBlock rows, wanted, out;
  if (!LoadRows(context, plan, data, kNaN, &rows)) return false;
  const bool largest = plan.instr->op == isa::Opcode::kMax8;
  if (!largest && !LoadRows(context, plan, plan.src[1], 0.0f, &wanted)) return false;
  if (!out.Acquire(context, partitions * static_cast<int64_t>(kEight) * 4)) return false;
  const bool ok = ForRows(context, team, partitions, free, [&](int64_t p) {
    const float* const row = rows.floats() + p * free;
    float* const to = out.floats() + p * static_cast<int64_t>(kEight);
    if (largest) return LargestEight(row, free, to);
    for (size_t k = 0; k < kEight; ++k) {
      const int64_t f = Find(row, free, wanted.floats()[static_cast<size_t>(p) * kEight + k]);
      // Absent values have no index: the largest number stands out.
      to[k] = f < free ? static_cast<float>(f) : std::numeric_limits<float>::max();
    }
  });
  return ok && StoreTile(context, plan, dst, out.floats());
}

bool FastReplaceEight(Context& context, const InstrPlan& plan, Team* team) {
  const AccessPlan& data = plan.src[0];
  // A result that keeps some old elements by the source's masks is left to the definition.
  if (!data.masks.empty()) return ReferenceInstr(context, *plan.instr);
  const int64_t partitions = data.shape[0];
  const int64_t free = Count(data.shape, 1);
  const auto value = static_cast<float>(plan.instr->attrs.value);
  ScratchBlock rows, wanted;
  if (!LoadRows(context, plan, data, kNaN, &rows) || !LoadRows(context, plan, plan.src[1], 0.0f, &wanted))
    return false;
  const bool ok = ForRows(context, team, partitions, free, [&](int64_t p) {
    float* const row = rows.floats() + p * free;
    // A replaced element is not found again, so equal values replace successive occurrences.
    std::array<int64_t, kEight> replaced{};
    size_t count = 0;
    for (size_t k = 0; k < kEight; ++k) {
      const int64_t f = Find(row, free, wanted.floats()[static_cast<size_t>(p) * kEight + k]);
      if (f == free) continue;
      row[f] = kNaN;
      replaced[count++] = f;
    }
    for (size_t k = 0; k < count; ++k) row[replaced[k]] = value;
  });
  return ok && StoreTile(context, plan, plan.dst[0], rows.floats());
}

bool FastLocalGather(Context& context, const InstrPlan& plan, Team* team) {
  constexpr int64_t kPartitionsPerCore = 16;
  const AccessPlan& dst = plan.dst[0];
  const AccessPlan& src = plan.src[0];
  const AccessPlan& index = plan.src[1];
  const Storage& from = context.tensors[static_cast<size_t>(src.tensor)];
  const Storage& to = context.tensors[static_cast<size_t>(dst.tensor)];
  if (!HasPlainRows(src) || !HasPlainRows(dst) || !index.masks.empty() || src.dtype != dst.dtype ||
      from.data == to.data || from.maybe_undefined) {
    return ReferenceInstr(context, *plan.instr);
  }
  const int64_t partitions = dst.shape[0];
  const int64_t index_free = Count(index.shape, 1);
  const int64_t each = plan.instr->attrs.num_elem_per_idx;
  const int64_t count = plan.instr->attrs.num_valid_indices;
  const int64_t last = Count(src.shape, 1) - each;  // the last place where a copy may begin
  ScratchBlock numbers;
  if (!numbers.Acquire(context, Count(index.shape) * 4) ||
      !LoadTile(context, plan, index, 0.0f, numbers.floats())) {
    return false;
  }
  // Each core of 16 partitions shares its indices, flattened partition first.
  const auto number = [&](int64_t core, int64_t j) {
    const int64_t in_core = std::min(kPartitionsPerCore, partitions - core);
    return numbers.floats()[(core + j % in_core) * index_free + j / in_core];
  };
  for (int64_t core = 0; core < partitions; core += kPartitionsPerCore) {
    for (int64_t j = 0; j < count; ++j) {
      const float v = number(core, j);
      // The definition tells the fault.
      if (!(v >= 0.0f && v <= static_cast<float>(last))) return ReferenceInstr(context, *plan.instr);
    }
  }
  const int64_t bytes = src.element_bytes;
  const int64_t dst_base = dst.offset.Base(context.symbols);
  const std::byte* const source = from.data + src.offset.Base(context.symbols) * bytes;
  return ForRows(context, team, partitions, count * each, [&](int64_t p) {
    const int64_t place = dst_base + p * dst.offset.dims[0];
    const std::byte* const row = source + p * src.offset.dims[0] * bytes;
    for (int64_t j = 0; j < count; ++j) {
      const auto offset = static_cast<int64_t>(number(p / kPartitionsPerCore * kPartitionsPerCore, j));
      std::memcpy(to.data + (place + j * each) * bytes, row + offset * bytes,
                  static_cast<size_t>(each * bytes));
    }
    MarkPiece(to.written, place, 1, count * each);
  });
}

}  // namespace nkiagent::nki::exec
