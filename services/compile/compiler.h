// compile-service's own part, without gRPC: kernel source to program or diagnostics, through the store, the
// sandbox, the checks and the timing model.
#ifndef SERVICES_COMPILE_COMPILER_H_
#define SERVICES_COMPILE_COMPILER_H_

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "common/metrics/metrics.h"
#include "common/nki/ir/program.h"
#include "common/rpc/context.h"
#include "common/sandbox/warm_parent.h"
#include "common/storage/content_store.h"
#include "nkiagent/compile/v1/compile_service.pb.h"

namespace nkiagent::compile {

// Runs one trace request in one confined child: WarmParent::Run of the trace role.
using TraceFn =
    std::function<absl::StatusOr<sandbox::Outcome>(const sandbox::Request&, const rpc::CallContext&)>;

struct CompilerOptions {
  // Wall limit of a child; requests may lower it, never raise it.
  absl::Duration max_wall_time = absl::Seconds(120);
  // RLIMIT_AS and RLIMIT_CPU of a child. A trace computes with symbols, so it needs little of either.
  int64_t max_address_space_bytes = int64_t{4} << 30;
  absl::Duration max_cpu_time = absl::Seconds(120);
  // Most instructions that a program may list; requests may lower it.
  int64_t max_instructions = 1'000'000;
  // Who compiles: part of every store key and of every answer. table_version must change with the toolchain.
  common::v1::ToolchainVersion toolchain;
};

// Every metric of the compile service beside the per-call ones of common/rpc.
struct CompileMetrics {
  explicit CompileMetrics(metrics::Metrics& metrics);

  // Answers, by how the compilation ended.
  prometheus::Family<prometheus::Counter>& results_total;  // {outcome}
  // Look-ups: hit, miss, or bypass.
  prometheus::Family<prometheus::Counter>& store_lookups_total;  // {result}
  // Ends of children, by kind of outcome.
  prometheus::Family<prometheus::Counter>& children_total;  // {kind}
  // Where the time goes: queue, trace, check, estimate.
  prometheus::Family<prometheus::Histogram>& phase_duration_seconds;  // {phase}
};

// Thread safe.
class Compiler {
 public:
  // `store` and `metrics` outlive the compiler.
  Compiler(CompilerOptions options, TraceFn trace, storage::ContentStore& store, CompileMetrics& metrics);

  // The errors are those of the contract (compile_service.proto); what is wrong with the kernel is in the
  // response.
  absl::StatusOr<v1::CompileResponse> Compile(const rpc::CallContext& call,
                                              const v1::CompileRequest& request);

  absl::StatusOr<v1::GetProgramResponse> GetProgram(const v1::GetProgramRequest& request);

 private:
  // What a compilation without a look at the store gives.
  struct Fresh {
    v1::CompileResult result;
    std::string program;
  };
  absl::StatusOr<Fresh> CompileFresh(const rpc::CallContext& call, const v1::CompileRequest& request);
  // Parses, checks and costs what the child sent; fills `fresh`. INVALID_ARGUMENT says why the reply is not
  // one, INTERNAL that a part of ours failed.
  absl::Status Judge(const v1::CompileRequest& request, const std::string& reply, Fresh& fresh);
  // The stored answer, with its program; false if there is none.
  bool Lookup(const std::string& key, v1::CompileResponse& response);
  void Keep(const std::string& key, const v1::CompileRequest& request, const Fresh& fresh);
  std::string Key(const v1::CompileRequest& request) const;
  int64_t MaxInstructions(const v1::CompileRequest& request) const;
  void ObservePhase(const char* phase, absl::Duration duration);

  const CompilerOptions options_;
  const TraceFn trace_;
  storage::ContentStore& store_;
  CompileMetrics& metrics_;
};

}  // namespace nkiagent::compile

#endif  // SERVICES_COMPILE_COMPILER_H_
