// The JSON of the reference role (services/worker/nkiagent_worker/reference/handler.py), encoded and, since
// it comes from a process that ran a stranger's code, decoded with every bound checked.
#ifndef SERVICES_VERIFY_REFERENCE_PROTOCOL_H_
#define SERVICES_VERIFY_REFERENCE_PROTOCOL_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/sandbox/tensor_arena.h"
#include "services/verify/task_data.h"

namespace nkiagent::verify {

std::string DescribeRequestJson(const common::v1::Task& task);
std::string RunRequestJson(const common::v1::Task& task, const TaskData& data,
                           absl::Span<const TrialPlan> plans);

struct DescribeReply {
  v1::TaskFacts facts;
  std::vector<sandbox::ArenaSlot> parameter_slots;
  int input_count = 0;
};
// `arena_bytes`: size of the arena that the slots must lie in. INVALID_ARGUMENT says what is malformed.
absl::StatusOr<OrProblem<DescribeReply>> ParseDescribeReply(absl::string_view reply, uint64_t arena_bytes);

struct TrialReply {
  // Not empty: the family can't be tried, and nothing else is set.
  std::string skipped;
  // For each output; empty for drawn inputs.
  std::vector<double> sensitivity;
  std::vector<sandbox::ArenaSlot> input_slots;
  std::vector<sandbox::ArenaSlot> expected_slots;
  absl::Duration reference_time;
};
// One entry for each plan, with slots of exactly the sizes that `facts` say.
absl::StatusOr<OrProblem<std::vector<TrialReply>>> ParseRunReply(absl::string_view reply,
                                                                 const TaskData& data,
                                                                 absl::Span<const TrialPlan> plans);

// Bytes of each input, of each output.
std::vector<uint64_t> InputSizes(const TaskData& data);
std::vector<uint64_t> OutputSizes(const v1::TaskFacts& facts);

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_REFERENCE_PROTOCOL_H_
