#include "services/nkictl/whole_file.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"

namespace nkiagent::nkictl {

namespace fs = std::filesystem;

WholeFile::~WholeFile() {
  if (file_ >= 0) close(file_);
  if (!temporary_.empty()) unlink(temporary_.c_str());
}

absl::Status WholeFile::Open() {
  std::error_code error;
  const fs::path target = fs::weakly_canonical(path_, error);
  target_ = error ? path_ : target.string();
  const bool direct = fs::exists(target_, error) && !fs::is_regular_file(target_, error);
  const std::string opened = direct ? target_ : absl::StrCat(target_, ".", getpid(), ".part");
  file_ =
      open(opened.c_str(), direct ? O_WRONLY | O_CLOEXEC : O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (file_ < 0) return Failed(errno);
  if (!direct) temporary_ = opened;
  return absl::OkStatus();
}

absl::Status WholeFile::Write(absl::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(file_, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return Failed(written < 0 ? errno : EIO);
    text.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

absl::Status WholeFile::Commit() {
  if (close(std::exchange(file_, -1)) != 0) return Failed(errno);
  if (temporary_.empty()) return absl::OkStatus();
  if (rename(temporary_.c_str(), target_.c_str()) != 0) return Failed(errno);
  temporary_.clear();
  return absl::OkStatus();
}

absl::Status WholeFile::Failed(int error) {
  return absl::UnavailableError(absl::StrCat("can't write ", path_, ": ", strerror(error)));
}

absl::Status WriteWhole(const std::string& path, absl::string_view text) {
  WholeFile file(path);
  absl::Status status = file.Open();
  if (status.ok()) status = file.Write(text);
  return status.ok() ? file.Commit() : status;
}

}  // namespace nkiagent::nkictl
