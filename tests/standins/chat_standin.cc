#include "tests/standins/chat_standin.h"

#include <curl/curl.h>
#include <fcntl.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdlib>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"

extern char** environ;

namespace nkiagent::standins {
namespace {

std::string FromEnvironment(const char* name, const char* fallback) {
  const char* value = std::getenv(name);
  return value != nullptr ? value : fallback;
}

size_t AppendTo(char* data, size_t size, size_t count, void* text) {
  static_cast<std::string*>(text)->append(data, size * count);
  return size * count;
}

nlohmann::json Get(const std::string& url) {
  std::string body;
  CURL* easy = curl_easy_init();
  curl_easy_setopt(easy, CURLOPT_URL, url.c_str());
  curl_easy_setopt(easy, CURLOPT_NOPROXY, "*");
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, &AppendTo);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &body);
  curl_easy_setopt(easy, CURLOPT_TIMEOUT, 30L);
  curl_easy_perform(easy);
  curl_easy_cleanup(easy);
  return nlohmann::json::parse(body, nullptr, false);
}

}  // namespace

absl::StatusOr<std::unique_ptr<ChatStandin>> ChatStandin::Start(const std::vector<std::string>& pems) {
  const std::string python = FromEnvironment("NKI_PYTHON", "/usr/bin/python3");
  const std::string script = FromEnvironment("NKI_SOURCE_DIR", ".") + "/tests/standins/chat_standin.py";
  int in[2];
  int out[2];
  if (pipe2(in, O_CLOEXEC) != 0 || pipe2(out, O_CLOEXEC) != 0) return absl::ErrnoToStatus(errno, "pipe2");
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in[0], 0);
  posix_spawn_file_actions_adddup2(&actions, out[1], 1);
  std::vector<std::string> words = {python, script};
  for (const std::string& pem : pems) words.push_back(absl::StrCat("--tls=", pem));
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawn(&pid, python.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(in[0]);
  close(out[1]);
  std::string line;
  char buffer[256];
  while (error == 0 && line.find('\n') == std::string::npos) {
    const ssize_t got = read(out[0], buffer, sizeof(buffer));
    if (got <= 0) break;
    line.append(buffer, static_cast<size_t>(got));
  }
  close(out[0]);
  const nlohmann::json json = nlohmann::json::parse(line, nullptr, false);
  if (error != 0 || !json.is_object()) {
    close(in[1]);
    if (error == 0) waitpid(pid, nullptr, 0);
    return absl::UnavailableError(absl::StrCat(python, " ", script, " did not start"));
  }
  return std::unique_ptr<ChatStandin>(
      new ChatStandin(pid, in[1], json["port"].get<int>(), json["tls_ports"].get<std::vector<int>>()));
}

ChatStandin::~ChatStandin() {
  close(stdin_fd_);
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

std::string ChatStandin::url() const { return absl::StrCat("http://127.0.0.1:", port_); }

std::string ChatStandin::tls_url(size_t i) const {
  return absl::StrCat("https://127.0.0.1:", tls_ports_.at(i));
}

nlohmann::json ChatStandin::Log() const { return Get(url() + "/log"); }

nlohmann::json ChatStandin::Log(const std::string& model) const {
  nlohmann::json matching = nlohmann::json::array();
  for (const nlohmann::json& entry : Log()) {
    if (entry["model"] == model) matching.push_back(entry);
  }
  return matching;
}

bool ChatStandin::Await(const std::string& model, const std::string& event, int count) const {
  const nlohmann::json json =
      Get(absl::StrCat(url(), "/await?model=", model, "&event=", event, "&count=", count));
  return json.is_object() && json.value("happened", false);
}

}  // namespace nkiagent::standins
