// Runs tests/standins/chat_standin.py for a test.
#ifndef TESTS_STANDINS_CHAT_STANDIN_H_
#define TESTS_STANDINS_CHAT_STANDIN_H_

#include <sys/types.h>

#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace nkiagent::standins {

inline constexpr char kAnthropicKey[] = "sk-ant-standin-0123456789";
inline constexpr char kOpenAiKey[] = "sk-standin-9876543210";
inline constexpr char kAwsAccessKeyId[] = "AKIDSTANDIN000000000";
inline constexpr char kAwsSecretAccessKey[] = "standin/secret+0123456789abcdefghijklmn";
inline constexpr char kAwsRegion[] = "us-west-2";

// One server process, ended by the destructor.
class ChatStandin {
 public:
  // Returns once it serves. Needs NKI_PYTHON and NKI_SOURCE_DIR in the environment, as ctest sets them.
  // Each of `pems`, files with a key and a certificate, is served by TLS on a port of its own.
  static absl::StatusOr<std::unique_ptr<ChatStandin>> Start(const std::vector<std::string>& pems = {});
  ~ChatStandin();

  // "http://127.0.0.1:1234"
  std::string url() const;
  // "https://127.0.0.1:1234", with the certificate of that place in `pems`.
  std::string tls_url(size_t i) const;

  // The requests so far, see the script.
  nlohmann::json Log() const;
  // Those for one model.
  nlohmann::json Log(const std::string& model) const;
  // Waits until so many requests for `model` have seen `event`; false after 20 s.
  bool Await(const std::string& model, const std::string& event, int count = 1) const;

 private:
  ChatStandin(pid_t pid, int stdin_fd, int port, std::vector<int> tls_ports)
      : pid_(pid), stdin_fd_(stdin_fd), port_(port), tls_ports_(std::move(tls_ports)) {}

  const pid_t pid_;
  const int stdin_fd_;
  const int port_;
  const std::vector<int> tls_ports_;
};

}  // namespace nkiagent::standins

#endif  // TESTS_STANDINS_CHAT_STANDIN_H_
