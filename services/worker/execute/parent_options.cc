#include "services/worker/execute/parent_options.h"

#include <unistd.h>

#include <filesystem>
#include <system_error>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

#if !defined(NKIAGENT_EXEC_PARENT)
#error "the default comes from the build"
#endif

namespace nkiagent::worker::execute {

absl::StatusOr<sandbox::WarmParentOptions> ParentOptions(const std::string& program,
                                                         const sandbox::WarmParentOptions& like) {
  std::string path = program;
  if (path.empty()) {
    std::error_code error;
    const auto self = std::filesystem::read_symlink("/proc/self/exe", error);
    path = (self.parent_path() / "nki-exec-parent").string();
    if (error || access(path.c_str(), X_OK) != 0) path = NKIAGENT_EXEC_PARENT;
  }
  if (access(path.c_str(), X_OK) != 0) {
    return absl::NotFoundError(absl::StrCat("the program that executes kernels, ", path,
                                            ", can't be run (--exec_parent names another)"));
  }
  sandbox::WarmParentOptions options = like;
  options.name = "execute";
  options.argv = {std::filesystem::absolute(path).string()};
  // OpenBLAS would start threads of its own when it is loaded, and a parent that forks has one.
  options.environment = {"OPENBLAS_NUM_THREADS=1", "MALLOC_ARENA_MAX=2", "LC_ALL=C.UTF-8"};
  options.max_payload_bytes = uint64_t{80} << 20;  // A program of the largest size, and its header.
  return options;
}

}  // namespace nkiagent::worker::execute
