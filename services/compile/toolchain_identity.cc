#include "services/compile/toolchain_identity.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <system_error>

#include "absl/strings/str_cat.h"
#include "common/revision/revision.h"
#include "common/storage/content_hash.h"

namespace nkiagent::compile {
namespace {

namespace fs = std::filesystem;

std::string HashOfFile(const fs::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return "";
  std::stringstream text;
  text << file.rdbuf();
  return storage::Sha256Hex(std::move(text).str());
}

// Files of the trace role below one folder of the Python path, by path relative to it.
std::vector<fs::path> RoleFiles(const fs::path& root) {
  std::vector<fs::path> files;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root, error)) {
    if (entry.path().extension() == ".so") files.push_back(entry.path());
  }
  for (const char* folder : {"nki_frontend", "neuronxcc", "nkiagent_worker"}) {
    for (fs::recursive_directory_iterator it(root / folder, error), end; !error && it != end;
         it.increment(error)) {
      if (it->path().extension() == ".py") files.push_back(it->path());
    }
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

absl::StatusOr<common::v1::ToolchainVersion> ToolchainIdentity(const std::vector<std::string>& python_path) {
  std::string hashes = HashOfFile("/proc/self/exe");
  if (hashes.empty()) return absl::UnavailableError("the executable can't be read for its hash");
  for (const std::string& root : python_path) {
    for (const fs::path& file : RoleFiles(root)) {
      absl::StrAppend(&hashes, "\n", file.lexically_relative(root).string(), " ", HashOfFile(file));
    }
  }
  common::v1::ToolchainVersion version;
  version.set_version(ToolchainVersion());
  version.set_commit(SourceRevision());
  version.set_table_version(storage::Sha256Hex(hashes).substr(0, 16));
  version.set_backend("simulator");
  return version;
}

}  // namespace nkiagent::compile
