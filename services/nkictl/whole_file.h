// Files that appear as a whole or not at all.
#ifndef SERVICES_NKICTL_WHOLE_FILE_H_
#define SERVICES_NKICTL_WHOLE_FILE_H_

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace nkiagent::nkictl {

// Writes to <path>.<pid>.part and renames it at the end; destroyed without Commit() it leaves nothing. Links
// are followed; what is there and is no regular file (/dev/null, a pipe) is written to directly. Not thread
// safe.
class WholeFile {
 public:
  explicit WholeFile(std::string path) : path_(std::move(path)) {}
  ~WholeFile();
  WholeFile(const WholeFile&) = delete;
  WholeFile& operator=(const WholeFile&) = delete;

  // Each UNAVAILABLE with the path and the system's reason. Open() first, Commit() last.
  absl::Status Open();
  absl::Status Write(absl::string_view text);
  absl::Status Commit();

 private:
  absl::Status Failed(int error);

  const std::string path_;
  std::string target_;     // what path_ leads to
  std::string temporary_;  // empty: none, target_ itself is open
  int file_ = -1;
};

// A whole file in one call. Errors as above.
absl::Status WriteWhole(const std::string& path, absl::string_view text);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_WHOLE_FILE_H_
