// verify-service's own part, without gRPC: describes tasks and judges programs.
#ifndef SERVICES_VERIFY_VERIFIER_H_
#define SERVICES_VERIFY_VERIFIER_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "common/metrics/metrics.h"
#include "common/nki/ir/program.h"
#include "common/rpc/context.h"
#include "nkiagent/verify/v1/verify_service.pb.h"
#include "services/verify/execute_role.h"
#include "services/verify/lru_cache.h"
#include "services/verify/reference_role.h"
#include "services/verify/task_data.h"

namespace nkiagent::verify {

struct VerifierOptions {
  // Facts and parameters of tasks, in bytes of shared memory.
  int64_t task_cache_bytes = int64_t{256} << 20;
  // Inputs and expected outputs of (task, seed).
  int64_t trial_cache_bytes = int64_t{256} << 20;
  // Version, commit and backend; the version of PyTorch comes from the children.
  common::v1::ToolchainVersion toolchain;
};

// Every metric of the verify service beside the per-call ones of common/rpc.
struct VerifyMetrics {
  explicit VerifyMetrics(metrics::Metrics& metrics);

  prometheus::Family<prometheus::Counter>& verdicts_total;       // {reason}
  prometheus::Family<prometheus::Counter>& descriptions_total;   // {result}: facts, or the kind of problem
  prometheus::Family<prometheus::Counter>& cache_lookups_total;  // {cache: task, trial; result: hit, miss}
  prometheus::Family<prometheus::Gauge>& cache_bytes;            // {cache}
  prometheus::Family<prometheus::Histogram>& phase_duration_seconds;  // {phase: reference, execute, compare}
};

// The bytes of a stored program by its id; NotFound if there is no such.
using ProgramStore = std::function<absl::StatusOr<std::string>(const std::string& program_id)>;
// A seed that nobody can foresee.
using DrawSeed = std::function<uint64_t()>;

// Thread safe.
class Verifier {
 public:
  // References outlive the verifier.
  Verifier(VerifierOptions options, ReferenceRole& reference, ExecuteRole& execute, ProgramStore programs,
           DrawSeed draw_seed, VerifyMetrics& metrics);

  // Errors are those of the contract (verify_service.proto); what is wrong with the task or the program is in
  // the answer.
  absl::StatusOr<v1::DescribeTaskResponse> DescribeTask(const rpc::CallContext& call,
                                                        const v1::DescribeTaskRequest& request);
  absl::StatusOr<v1::VerifyResponse> Verify(const rpc::CallContext& call, const v1::VerifyRequest& request);

 private:
  // What is known about a task for good: its data, or a lasting problem.
  using Known = OrProblem<TaskDataPtr>;

  absl::StatusOr<Known> Task(const rpc::CallContext& call, const common::v1::Task& task,
                             const std::string& hash, bool& cached);
  // `keep`: in the cache, for seeds that a caller named and may name again.
  absl::StatusOr<OrProblem<std::vector<TrialDataPtr>>> Trials(const rpc::CallContext& call,
                                                              const common::v1::Task& task,
                                                              const TaskData& data,
                                                              absl::Span<const TrialPlan> plans, bool keep,
                                                              v1::Verdict& verdict);
  absl::StatusOr<std::string> ProgramBytes(const v1::VerifyRequest& request);
  std::vector<uint64_t> Seeds(const v1::VerifyRequest& request);
  // Fills the verdict; the frame around it is Verify's.
  absl::Status Judge(const rpc::CallContext& call, const v1::VerifyRequest& request, v1::Verdict& verdict);
  void ObservePhase(const char* phase, absl::Time start);

  const VerifierOptions options_;
  ReferenceRole& reference_;
  ExecuteRole& execute_;
  const ProgramStore programs_;
  const DrawSeed draw_seed_;
  VerifyMetrics& metrics_;
  LruCache<Known> tasks_;
  LruCache<TrialData> trials_;
};

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_VERIFIER_H_
