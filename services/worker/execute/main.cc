// nki-exec-parent: the warm parent of the role `execute`. Each child runs one program on tensors in shared
// memory. No Python, no files, no environment.
//
// Started by verify-service; by hand it only says that it isn't meant to be.
#include <cstdio>

#include "common/sandbox/parent_server.h"
#include "services/worker/execute/runner.h"

int main() {
  using nkiagent::sandbox::HandlerResult;
  nkiagent::sandbox::ParentOptions options;
  options.policy = nkiagent::sandbox::Policy::kNative;
  auto server = nkiagent::sandbox::ParentServer::Connect(options);
  absl::Status status = server.status();
  if (status.ok()) {
    status = (*server)->Serve(
        [](absl::string_view payload, absl::Span<const int> fds) {
          return HandlerResult{nkiagent::sandbox::ReplyState::kOk,
                               nkiagent::worker::execute::Run(payload, fds)};
        },
        {}, {});
  }
  if (!status.ok()) {
    fprintf(stderr, "nki-exec-parent: %s\n", status.ToString().c_str());
    return 1;
  }
  return 0;
}
