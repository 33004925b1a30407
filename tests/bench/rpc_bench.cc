// Times warm RPCs of a running compile-service and verify-service, one caller, one call at a time, and prints
// JSON.
//
//   nki_rpc_bench --compile 127.0.0.1:7601 --verify 127.0.0.1:7602 --data tests/bench/data --calls 50
//
// Compile calls bypass the store, and verify calls draw fresh seeds, so that every call does all its work.
#include <algorithm>
#include <chrono>
#include <fstream>
#include <iostream>
#include <iterator>
#include <stdexcept>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "grpcpp/grpcpp.h"
#include "nkiagent/compile/v1/compile_service.grpc.pb.h"
#include "nkiagent/verify/v1/verify_service.grpc.pb.h"
#include "nlohmann/json.hpp"

namespace {

using Clock = std::chrono::steady_clock;
namespace compile_v1 = nkiagent::compile::v1;
namespace verify_v1 = nkiagent::verify::v1;
namespace common_v1 = nkiagent::common::v1;

constexpr int kWarmUpCalls = 5;
constexpr std::chrono::seconds kCallDeadline{60};

std::string ReadFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("can't read " + path);
  return {std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
}

// Percentiles in milliseconds of `calls` timed calls, after a few untimed ones. Throws if any call fails.
template <typename Call>
nlohmann::json Measure(int calls, Call&& call) {
  std::vector<double> ms;
  for (int i = 0; i < calls + kWarmUpCalls; ++i) {
    const auto start = Clock::now();
    call();
    if (i >= kWarmUpCalls)
      ms.push_back(std::chrono::duration<double, std::milli>(Clock::now() - start).count());
  }
  std::sort(ms.begin(), ms.end());
  const auto at = [&ms](double q) {
    return ms[std::min(ms.size() - 1, static_cast<size_t>(q * static_cast<double>(ms.size())))];
  };
  return {{"calls", calls},
          {"p50_ms", at(0.5)},
          {"p90_ms", at(0.9)},
          {"min_ms", ms.front()},
          {"max_ms", ms.back()}};
}

void Check(const grpc::Status& status) {
  if (!status.ok()) throw std::runtime_error("rpc failed: " + status.error_message());
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"Times warm compile and verify RPCs"};
  std::string compile_address, verify_address, data;
  int calls = 50;
  app.add_option("--compile", compile_address, "host:port of compile-service")->required();
  app.add_option("--verify", verify_address, "host:port of verify-service")->required();
  app.add_option("--data", data, "folder with softmax_kernel.py and softmax_task.py")->required();
  app.add_option("--calls", calls, "timed calls of each kind")->check(CLI::Range(1, 10000));
  CLI11_PARSE(app, argc, argv);

  try {
    auto compile = compile_v1::CompileService::NewStub(
        grpc::CreateChannel(compile_address, grpc::InsecureChannelCredentials()));
    auto verify = verify_v1::VerifyService::NewStub(
        grpc::CreateChannel(verify_address, grpc::InsecureChannelCredentials()));

    compile_v1::CompileRequest compile_request;
    compile_request.mutable_kernel()->set_source(ReadFile(data + "/softmax_kernel.py"));
    common_v1::TensorSpec* x = compile_request.add_arguments();
    x->set_name("x");
    x->set_dtype(common_v1::DATA_TYPE_FLOAT32);
    x->add_dims(128);
    x->add_dims(512);
    compile_request.set_include_program(true);
    compile_request.set_bypass_cache(true);
    compile_v1::CompileResponse compiled;
    const auto do_compile = [&] {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + kCallDeadline);
      Check(compile->Compile(&context, compile_request, &compiled));
      if (compiled.result().outcome() != compile_v1::COMPILE_OUTCOME_COMPILED) {
        throw std::runtime_error("the bench kernel does not compile: " + compiled.result().DebugString());
      }
    };

    verify_v1::VerifyRequest verify_request;
    verify_request.mutable_task()->set_name("softmax");
    verify_request.mutable_task()->set_reference_source(ReadFile(data + "/softmax_task.py"));
    verify_request.set_trials(3);
    const auto do_verify = [&] {
      grpc::ClientContext context;
      context.set_deadline(std::chrono::system_clock::now() + kCallDeadline);
      verify_v1::VerifyResponse response;
      Check(verify->Verify(&context, verify_request, &response));
      if (!response.verdict().passed()) {
        throw std::runtime_error("the bench kernel does not pass: " + response.verdict().DebugString());
      }
    };

    nlohmann::json report;
    report["compile"] = Measure(calls, do_compile);
    verify_request.set_program_bytes(compiled.program());
    report["verify_3_trials"] = Measure(calls, do_verify);
    std::cout << report.dump(2) << std::endl;
  } catch (const std::exception& e) {
    std::cerr << "nki_rpc_bench: " << e.what() << std::endl;
    return 1;
  }
  return 0;
}
