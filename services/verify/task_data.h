// What verify-service knows about a task and about one seed of it, once a reference child has told.
#ifndef SERVICES_VERIFY_TASK_DATA_H_
#define SERVICES_VERIFY_TASK_DATA_H_

#include <cstdint>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "common/sandbox/shared_memory.h"
#include "common/sandbox/tensor_arena.h"
#include "nkiagent/common/v1/task.pb.h"
#include "nkiagent/verify/v1/verdict.pb.h"

namespace nkiagent::verify {

// Limits of the contract (proto/nkiagent/common/v1/task.proto, verify_service.proto).
inline constexpr size_t kMaxSourceBytes = size_t{4} << 20;
inline constexpr int kMaxLabels = 64;
inline constexpr int kMaxTrials = 64;
inline constexpr int kDefaultTrials = 3;
inline constexpr double kDefaultTolerance = 1e-3;

// [A-Za-z_][A-Za-z0-9_]*, at most 128 of them.
bool IsIdentifier(absl::string_view name);

// INVALID_ARGUMENT names the field and the limit.
absl::Status ValidateTask(const common::v1::Task& task);
absl::Status ValidateTolerance(const common::v1::Tolerance& tolerance);

// The task's tolerance, or the default.
common::v1::Tolerance ToleranceOf(const common::v1::Task& task);

// Lower-case hex SHA-256 over everything in the task that can change a verdict: source, entry points,
// tolerance, weight seed.
std::string TaskHash(const common::v1::Task& task);

// Immutable once made; shared between calls.
struct TaskData {
  v1::TaskFacts facts;
  // Parameters, buffers and lifted constants, sealed; `parameter_slots` are those of facts.arguments after
  // the inputs.
  sandbox::SharedMemory parameters;
  std::vector<sandbox::ArenaSlot> parameter_slots;
  int input_count = 0;  // The first arguments are inputs.
  // Bytes that this holds, for the cache.
  int64_t bytes = 0;
};

// A trial as it is asked for.
struct TrialPlan {
  uint64_t seed = 0;
  v1::InputFamily family = v1::INPUT_FAMILY_DRAWN;
};

struct TrialData {
  uint64_t seed = 0;
  v1::InputFamily family = v1::INPUT_FAMILY_DRAWN;
  // Why this family says nothing about the task; everything below is empty then.
  std::string skipped;
  // For other families than the drawn: by how much a rounding of the inputs moves each output.
  std::vector<double> sensitivity;
  // Sealed, and not mapped: what the cache holds counts for nothing in this process's memory.
  sandbox::SharedMemory inputs;
  sandbox::SharedMemory expected;
  std::vector<sandbox::ArenaSlot> input_slots;
  std::vector<sandbox::ArenaSlot> expected_slots;
  absl::Duration reference_time;
  int64_t bytes = 0;
};

using TaskDataPtr = std::shared_ptr<const TaskData>;
using TrialDataPtr = std::shared_ptr<const TrialData>;

// Either what was asked for or why the task can't be judged.
template <typename T>
using OrProblem = std::variant<T, v1::TaskProblem>;

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_TASK_DATA_H_
