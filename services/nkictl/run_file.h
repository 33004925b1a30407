// A benchmark run with its signed rows, from an orchestrator or from an exported file, and the check that
// nobody changed it. Any thread.
#ifndef SERVICES_NKICTL_RUN_FILE_H_
#define SERVICES_NKICTL_RUN_FILE_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "nkiagent/orchestrator/v1/run.pb.h"
#include "services/nkictl/client.h"

namespace nkiagent::nkictl {

// One session of a run.
struct RunRowData {
  orchestrator::v1::SignedText signed_text;
  orchestrator::v1::ResultRecord record;  // parsed from the text; empty if that is no record
  common::v1::KernelSource
      kernel;  // the one that the record names; empty if there is none or it was not read
};

struct RunData {
  orchestrator::v1::Run run;  // with its tasks
  orchestrator::v1::SignedText manifest;
  std::vector<RunRowData> rows;  // in the order in which they ended
  bool with_kernels = true;      // false: kernels were not read

  // The task of a row, by its place.
  const common::v1::Task& TaskOf(int row) const { return run.spec().tasks(row % run.spec().tasks_size()); }
  // "task softmax", or with repeats "task softmax, repeat 2": how messages name a row.
  std::string RowName(int row) const;
};

// The run of this id or name. NOT_FOUND: no such run.
absl::StatusOr<orchestrator::v1::Run> FindRun(Client& client, const std::string& id_or_name);

// Reads a run with all rows that it has by now; with the kernels, which takes a call for each. NOT_FOUND as
// above.
absl::StatusOr<RunData> FetchRun(Client& client, const std::string& id_or_name, bool with_kernels);

// A run as one JSON document: format "nkiagent.run-file.v1", the run, its signed manifest, its rows with the
// very texts that were signed, and the kernels.
std::string RunFileText(const RunData& data);
// INVALID_ARGUMENT: not such a document. What was changed in one is for CheckRun() to find.
absl::StatusOr<RunData> ParseRunFile(const std::string& text);
// NOT_FOUND: no such file; otherwise as ParseRunFile, with the file's name.
absl::StatusOr<RunData> ReadRunFile(const std::string& path);

// What is wrong with a run's signatures and hashes, a sentence each that names the row: a manifest or record
// that was changed or signed by another key, rows that are missing, doubled or of another run, a kernel that
// is missing, a kernel or task that is not the one that was recorded. Empty when nothing is. `public_key`:
// the key to trust; empty means the run's own. Rows can only be missed in a run that has finished.
std::vector<std::string> CheckRun(const RunData& data, const std::string& public_key);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_RUN_FILE_H_
