// Answers what a name of the kernel language is. The words are the tracer's own (nki_frontend/reference.py),
// asked of a child of the trace role, so they are of the modules that kernels are traced with.
#ifndef SERVICES_COMPILE_API_REFERENCE_H_
#define SERVICES_COMPILE_API_REFERENCE_H_

#include <cstddef>
#include <string>

#include "absl/status/statusor.h"
#include "common/rpc/context.h"
#include "common/storage/content_store.h"
#include "nkiagent/compile/v1/compile_service.pb.h"
#include "services/compile/compiler.h"

namespace nkiagent::compile {

// Longest name that is looked up (compile_service.proto).
inline constexpr size_t kMaxApiNameBytes = 256;

// Thread safe.
class ApiReference {
 public:
  // `trace` runs a request of the trace role. `toolchain` is part of the store's keys. `store` outlives the
  // reference.
  ApiReference(TraceFn trace, common::v1::ToolchainVersion toolchain, storage::ContentStore& store)
      : trace_(std::move(trace)), toolchain_(std::move(toolchain)), store_(store) {}

  // CompileService.LookupApi.
  absl::StatusOr<v1::LookupApiResponse> Lookup(const rpc::CallContext& call,
                                               const v1::LookupApiRequest& request);

 private:
  const TraceFn trace_;
  const common::v1::ToolchainVersion toolchain_;
  storage::ContentStore& store_;
};

}  // namespace nkiagent::compile

#endif  // SERVICES_COMPILE_API_REFERENCE_H_
