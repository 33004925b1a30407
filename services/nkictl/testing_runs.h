// Signed runs for tests of reports and files, in few words.
#ifndef SERVICES_NKICTL_TESTING_RUNS_H_
#define SERVICES_NKICTL_TESTING_RUNS_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <string>
#include <vector>

#include "common/storage/content_hash.h"
#include "common/storage/signing_key.h"
#include "services/nkictl/run_file.h"
#include "services/orchestrator/result_record.h"
#include "services/orchestrator/run_requests.h"
#include "services/orchestrator/snapshot.h"

namespace nkiagent::nkictl::testing_runs {

inline const storage::SigningKey& Key() {
  static const auto* const key = [] {
    std::string folder = testing::TempDir() + "/key_XXXXXX";
    EXPECT_NE(mkdtemp(folder.data()), nullptr);
    return new storage::SigningKey(*storage::SigningKey::LoadOrCreate(folder + "/key.pem"));
  }();
  return *key;
}

inline common::v1::KernelSource Kernel(const std::string& text) {
  common::v1::KernelSource kernel;
  kernel.set_source("# " + text);
  kernel.set_entry_name("nki_kernel");
  return kernel;
}

inline void Sign(const google::protobuf::Message& message, orchestrator::v1::SignedText* text) {
  *text = *orchestrator::SignMessage(message, Key());
}

// A finished run of tasks t0, t1 ...; `passed` says of each row, repeat after repeat, whether it passed.
inline RunData MakeRun(const std::string& name, int tasks, const std::vector<bool>& passed,
                       const std::string& model = "builtin",
                       orchestrator::v1::Mode mode = orchestrator::v1::MODE_AGENT) {
  RunData data;
  orchestrator::v1::CreateRunRequest request;
  orchestrator::v1::RunSpec* spec = request.mutable_spec();
  spec->set_name(name);
  spec->set_suite("small");
  spec->set_model(model);
  spec->set_mode(mode);
  spec->set_repeats(static_cast<int>(passed.size()) / tasks);
  for (int i = 0; i < tasks; ++i) {
    common::v1::Task* task = spec->add_tasks();
    task->set_id("t" + std::to_string(i));
    task->set_level(1 + i % 3);
    task->set_reference_source("class Model: pass  # " + std::to_string(i));
    (*task->mutable_labels())["category"] = i % 2 == 0 ? "norm" : "matmul";
  }
  data.run = orchestrator::NewRunFor(request, "r-" + name);
  data.run.set_public_key(Key().public_key());
  data.run.set_state(orchestrator::v1::RUN_STATE_FINISHED);
  data.run.mutable_active_time()->set_seconds(12);
  data.run.mutable_counts()->set_total(static_cast<int>(passed.size()));
  Sign(orchestrator::ManifestOf(data.run), &data.manifest);
  for (int row = 0; row < static_cast<int>(passed.size()); ++row) {
    RunRowData& out = data.rows.emplace_back();
    out.kernel = Kernel(std::to_string(row));
    orchestrator::v1::ResultRecord& record = out.record;
    record.set_format(orchestrator::kRecordFormat);
    record.set_run_id(data.run.id());
    record.set_row(row);
    record.set_repeat(1 + row / tasks);
    record.set_task_id(data.TaskOf(row).id());
    record.set_level(data.TaskOf(row).level());
    record.set_category(data.TaskOf(row).labels().at("category"));
    record.set_model(model);
    record.set_mode(mode);
    record.set_session_id("s-" + std::to_string(row));
    record.set_task_hash("hash of " + record.task_id());
    record.set_reference_hash(storage::Sha256Hex(data.TaskOf(row).reference_source()));
    record.set_kernel_hash(storage::Sha256Hex(orchestrator::KernelKey(out.kernel)));
    record.set_passed(passed[row]);
    record.set_state(passed[row] ? orchestrator::v1::SESSION_STATE_PASSED
                                 : orchestrator::v1::SESSION_STATE_NOT_SOLVED);
    record.set_turns_used(2);
    record.mutable_wall_time()->set_seconds(1);
    record.mutable_usage()->set_calls(2);
    record.mutable_usage()->set_cost_micro_usd(1000);
    if (passed[row]) {
      record.set_turn_of_success(2);
      // 1 s, 2 s ... by task.
      record.mutable_verify_time()->set_seconds(1 + row % tasks);
      record.set_latency_us(10);
      record.set_fused_roofline_us(4);
      record.set_op_by_op_us(20);
    } else {
      record.set_failure_class(orchestrator::v1::FAILURE_CLASS_COMPILE);
      record.set_failure("err_unsupported_memory");
      record.set_message("no kernel, \"quoted\" | piped");
    }
    Sign(record, &out.signed_text);
  }
  return data;
}

}  // namespace nkiagent::nkictl::testing_runs

#endif  // SERVICES_NKICTL_TESTING_RUNS_H_
