// The rules of check.cc, one function each. Internal to common/nki/check.
//
// To add a rule: write its function, list it in check.cc, and give rules_test.cc one program that breaks it
// and one that does not.
#ifndef NKIAGENT_COMMON_NKI_CHECK_RULES_H_
#define NKIAGENT_COMMON_NKI_CHECK_RULES_H_

#include <string>
#include <vector>

#include "common/nki/check/facts.h"

namespace nkiagent::nki::check {

using Findings = std::vector<Diagnostic>;

// Instructions and tensors as such (ir/legality.h).
void CheckLegality(const Facts& facts, Findings& found);

// err_tensor_access_out_of_bound: an index that some unmasked element takes lies outside its axis.
void CheckBounds(const Facts& facts, Findings& found);

// err_start_partition_not_supported: a compute instruction's tile moves over partitions by steps that the
// hardware can't start at.
void CheckPartitionStarts(const Facts& facts, Findings& found);

// err_tensor_output_not_written_to: no output, or one that no instruction that runs stores to. Warns of an
// output with elements that are surely never stored.
void CheckOutputs(const Facts& facts, Findings& found);

// err_cannot_update_immutable_parameter: a store into an argument that is not returned.
void CheckParameters(const Facts& facts, Findings& found);

// err_unexpected_output_dependencies: two iterations of an affine_range loop, or two programs of the launch
// grid, write the same element. Accumulation (matmul into PSUM, t += x, DMA with add) may be reordered and is
// allowed. Warns (loop_carried_dependence) where one iteration reads what another one writes.
void CheckDependences(const Facts& facts, Findings& found);

// err_tensor_read_before_write: a tensor is read and nothing can have written it before. Warns
// (undefined_elements_used) where elements that the writes of a tensor leave out are summed up or stored to
// an output.
void CheckUndefinedReads(const Facts& facts, Findings& found);

// Warns (psum_accumulation_broken) where something else writes a PSUM tile between the matmuls that add to
// it, or starts it anew before the sum was read.
void CheckAccumulation(const Facts& facts, Findings& found);

// err_sbuf_capacity_exceeded, err_psum_capacity_exceeded: the tiles of one instruction can't fit. Warns
// (sbuf_spill, psum_spill) where the tiles alive at one point have to be spilled.
void CheckCapacity(const Facts& facts, Findings& found);

// A finding at a place in the source.
Diagnostic Finding(Severity severity, std::string rule, ir::SourceLoc loc, std::string message,
                   std::string limit, std::string actual, std::string hint);

// "[128, 512]"
std::string ShapeText(const std::vector<int64_t>& shape);

}  // namespace nkiagent::nki::check

#endif  // NKIAGENT_COMMON_NKI_CHECK_RULES_H_
