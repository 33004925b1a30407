// The fast form of each group of instructions. Internal to fast*.cc.
#ifndef NKIAGENT_COMMON_NKI_EXEC_FAST_OPS_H_
#define NKIAGENT_COMMON_NKI_EXEC_FAST_OPS_H_

#include "common/nki/exec/plan.h"
#include "common/nki/exec/team.h"

namespace nkiagent::nki::exec {

// fast_copy.cc: dma_copy, dma_transpose, tensor_copy, nc_transpose, partition_broadcast, memset,
// tensor_copy_predicated.
bool FastCopy(Context& context, const InstrPlan& plan, Team* team);
bool FastCopyIntegers(Context& context, const InstrPlan& plan, Team* team);  // between types, exactly
bool FastMemset(Context& context, const InstrPlan& plan, Team* team);
bool FastCopyPredicated(Context& context, const InstrPlan& plan, Team* team);

// fast_gather.cc: dma_copy and tensor_copy with a run-time index for each row, type kept.
bool FastGather(Context& context, const InstrPlan& plan, Team* team);

// fast_elementwise.cc
bool FastAlu(Context& context, const InstrPlan& plan, Team* team);  // tensor_tensor, tensor_scalar, ...
bool FastActivation(Context& context, const InstrPlan& plan, Team* team);
bool FastSelect(Context& context, const InstrPlan& plan, Team* team);  // iota, affine_select
bool FastRangeSelect(Context& context, const InstrPlan& plan, Team* team);

// fast_random.cc: dropout, rng; bitwise operators of tensor_tensor, tensor_scalar, scalar_tensor_tensor.
bool FastRandom(Context& context, const InstrPlan& plan, Team* team);
bool FastBitvec(Context& context, const InstrPlan& plan, Team* team);

// fast_reduce.cc
bool FastReduce(Context& context, const InstrPlan& plan, Team* team);

// fast_matmul.cc
bool FastMatmul(Context& context, const InstrPlan& plan, Team* team);

// fast_search.cc: max8 and nc_find_index8, nc_match_replace8, local_gather.
bool FastEight(Context& context, const InstrPlan& plan, Team* team);
bool FastReplaceEight(Context& context, const InstrPlan& plan, Team* team);
bool FastLocalGather(Context& context, const InstrPlan& plan, Team* team);

// fast_rows.cc: tensor_tensor_scan, bn_stats, bn_aggr, nc_stream_shuffle.
bool FastScan(Context& context, const InstrPlan& plan, Team* team);
bool FastBnStats(Context& context, const InstrPlan& plan, Team* team);
bool FastBnAggr(Context& context, const InstrPlan& plan, Team* team);
bool FastShuffle(Context& context, const InstrPlan& plan, Team* team);

}  // namespace nkiagent::nki::exec

#endif  // NKIAGENT_COMMON_NKI_EXEC_FAST_OPS_H_
