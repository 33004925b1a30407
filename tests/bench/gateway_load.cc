// Loads llm-gateway, or a model server directly, and prints what it saw as JSON.
//
//   nki_gateway_load latency    --gateway HOST:PORT | --direct URL   --streams 500 --pieces 40 --pause_ms 50
//   nki_gateway_load throughput --gateway HOST:PORT | --direct URL   --concurrency 64 --seconds 3
//   nki_gateway_load hold       --gateway HOST:PORT                  --streams 2000
//   nki_gateway_load mixed      --gateway HOST:PORT                  --rate 40 --seconds 3600
//
// latency: so many streams at once; each piece of an answer is the time at which
// tests/standins/load_standin.cc sent it, so its age on arrival is what the way took. throughput: whole
// answers one after the other. hold: opens streams, prints once all have their first piece, and ends when its
// standard input does. mixed: calls of all kinds at a gentle rate (gateway_mix.h).
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <condition_variable>
#include <functional>
#include <iostream>
#include <latch>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include "CLI/CLI.hpp"
#include "nkiagent/llm/v1/llm_service.grpc.pb.h"
#include "nlohmann/json.hpp"
#include "services/llm_gateway/http/event_loop.h"
#include "services/llm_gateway/http/http_client.h"
#include "services/llm_gateway/stream/sse_parser.h"
#include "tests/bench/gateway_client.h"
#include "tests/bench/gateway_mix.h"

namespace {

namespace gateway = nkiagent::llm_gateway;
namespace gateway_load = nkiagent::gateway_load;
namespace llm = nkiagent::llm::v1;
using gateway_load::Channels;
using Clock = std::chrono::steady_clock;

struct Options {
  std::string gateway;
  std::string direct;
  std::string model = "load";  // the gateway's prefix of names
  int streams = 500;
  int pieces = 40;
  int pause_ms = 50;
  int concurrency = 64;
  double seconds = 3;
  double rate = 40;
};

int64_t NowNs() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now().time_since_epoch()).count();
}

// Ages of pieces in milliseconds; thread-safe.
class Ages {
 public:
  // `text` may hold several joined pieces.
  void Add(const std::string& text) {
    const int64_t now = NowNs();
    const std::lock_guard lock(mutex_);
    if (!counting_) return;
    const char* at = text.c_str();
    char* end = nullptr;
    for (int64_t sent = std::strtoll(at, &end, 10); end != at; sent = std::strtoll(at, &end, 10)) {
      ms_.push_back(static_cast<double>(now - sent) * 1e-6);
      at = end;
    }
  }
  // Pieces count from here on.
  void Start() {
    const std::lock_guard lock(mutex_);
    counting_ = true;
  }
  nlohmann::json Summary() {
    const std::lock_guard lock(mutex_);
    if (ms_.empty()) throw std::runtime_error("no piece came");
    std::sort(ms_.begin(), ms_.end());
    const auto at = [&](double q) {
      return ms_[std::min(ms_.size() - 1, static_cast<size_t>(q * static_cast<double>(ms_.size())))];
    };
    return {{"pieces", ms_.size()},
            {"p50_ms", at(0.5)},
            {"p90_ms", at(0.9)},
            {"p99_ms", at(0.99)},
            {"max_ms", ms_.back()}};
  }

 private:
  std::mutex mutex_;
  bool counting_ = false;
  std::vector<double> ms_;
};

std::string Body(const std::string& model, bool stream) {
  return nlohmann::json({{"model", model},
                         {"stream", stream},
                         {"messages",
                          {{{"role", "user"},
                            {"content", "Write a kernel that adds two tensors, and say why it is right."}}}}})
      .dump();
}

struct Http {
  std::unique_ptr<gateway::EventLoop> loop = *gateway::EventLoop::Create();
  std::unique_ptr<gateway::HttpClient> client = *gateway::HttpClient::Create(loop.get(), {});

  gateway::HttpRequest Post(const std::string& url, std::string body) const {
    gateway::HttpRequest request{.url = url};
    request.headers = {{"content-type", "application/json"}, {"authorization", "Bearer sk-load"}};
    request.body = std::make_shared<const std::string>(std::move(body));
    return request;
  }
};

nlohmann::json Latency(const Options& options) {
  Ages ages;
  std::latch done(options.streams);
  std::atomic<int> failed = 0;
  const std::string play =
      "stream-" + std::to_string(options.pieces) + "-" + std::to_string(options.pause_ms);
  // Their beginnings are spread over a second, as those of callers of their own would be.
  const auto spread = std::chrono::microseconds(1'000'000 / options.streams);
  Http http;
  std::unique_ptr<Channels> channels;
  if (!options.gateway.empty()) channels = std::make_unique<Channels>(options.gateway);
  auto next = Clock::now();
  for (int i = 0; i < options.streams; ++i) {
    if (channels != nullptr) {
      gateway_load::StartStream((*channels)[i], gateway_load::Question(options.model + "-" + play),
                                absl::ZeroDuration(),
                                [&](const llm::ContentDelta& delta) { ages.Add(delta.text()); },
                                [&](const grpc::Status& status) {
                                  if (!status.ok()) ++failed;
                                  done.count_down();
                                });
    } else {
      gateway::HttpRequest request = http.Post(options.direct, Body(play, true));
      auto parser = std::make_shared<gateway::SseParser>();
      request.on_body = [parser, &ages](absl::string_view bytes) {
        (void)parser->Feed(bytes, [&](absl::string_view, absl::string_view data) {
          const nlohmann::json event = nlohmann::json::parse(data.begin(), data.end(), nullptr, false);
          if (event.is_object() && !event["choices"].empty())
            ages.Add(event["choices"][0]["delta"].value("content", ""));
          return absl::OkStatus();
        });
        return gateway::BodyAction::kProgress;
      };
      http.client->Start(std::move(request), [&](const gateway::HttpResult& result) {
        if (result.response.status != 200) ++failed;
        done.count_down();
      });
    }
    next += spread;
    while (Clock::now() < next) usleep(100);
  }
  // Only now are there as many at once as are asked about.
  ages.Start();
  done.wait();
  nlohmann::json report = ages.Summary();
  report["streams"] = options.streams;
  report["failed"] = failed.load();
  return report;
}

// Keeps `concurrency` calls going for so long; `start` begins one and says when it ended, and whether it was
// good.
nlohmann::json Repeat(const Options& options,
                      const std::function<void(int, std::function<void(bool)>)>& start) {
  std::atomic<int64_t> good = 0;
  std::atomic<int64_t> bad = 0;
  std::latch ended(options.concurrency);
  const auto begin = Clock::now();
  const auto end =
      begin + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(options.seconds));
  std::function<void(int)> again = [&](int worker) {
    start(worker, [&, worker](bool ok) {
      ++(ok ? good : bad);
      if (Clock::now() < end) return again(worker);
      ended.count_down();
    });
  };
  for (int i = 0; i < options.concurrency; ++i) again(i);
  ended.wait();
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  return {{"calls", good.load()},
          {"failed", bad.load()},
          {"calls_per_s", static_cast<double>(good.load()) / seconds}};
}

nlohmann::json Throughput(const Options& options) {
  if (!options.gateway.empty()) {
    Channels channels(options.gateway);
    const llm::GenerateRequest request = gateway_load::Question(options.model + "-chat");
    return Repeat(options, [&](int worker, std::function<void(bool)> done) {
      gateway_load::StartUnary(channels[worker], request, absl::ZeroDuration(),
                               [done = std::move(done)](const grpc::Status& status) { done(status.ok()); });
    });
  }
  Http http;
  const std::string body = Body(options.model, false);
  return Repeat(options, [&](int, std::function<void(bool)> done) {
    http.client->Start(http.Post(options.direct, body), [done](const gateway::HttpResult& result) {
      done(result.failure == gateway::HttpFailure::kNone && result.response.status == 200);
    });
  });
}

void Hold(const Options& options) {
  Channels channels(options.gateway);
  std::latch first(options.streams);
  std::latch done(options.streams);
  std::vector<std::weak_ptr<gateway_load::Call>> streams;
  for (int i = 0; i < options.streams; ++i) {
    const auto opened = std::make_shared<std::once_flag>();
    streams.push_back(gateway_load::StartStream(
        channels[i], gateway_load::Question(options.model + "-hold"), absl::ZeroDuration(),
        [&first, opened](const llm::ContentDelta&) { std::call_once(*opened, [&] { first.count_down(); }); },
        [&](const grpc::Status&) { done.count_down(); }));
  }
  first.wait();
  std::cout << nlohmann::json({{"streams", options.streams}}).dump() << std::endl;
  std::string line;
  while (std::getline(std::cin, line)) {
  }
  for (const auto& stream : streams) {
    if (const auto call = stream.lock()) call->Cancel();
  }
  done.wait();
}

}  // namespace

int main(int argc, char** argv) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
  Options options;
  CLI::App app("Loads llm-gateway, or a model server directly.");
  app.require_subcommand(1);
  const auto add = [&](const char* name, const char* help) {
    CLI::App* command = app.add_subcommand(name, help);
    command->add_option("--gateway", options.gateway, "host:port of the gateway");
    command->add_option("--direct", options.direct, "URL of chat completions");
    command->add_option("--model", options.model, "the gateway's prefix of names, or the server's model");
    return command;
  };
  CLI::App* latency = add("latency", "ages of pieces of many streams at once");
  latency->add_option("--streams", options.streams)->check(CLI::Range(1, 100'000));
  latency->add_option("--pieces", options.pieces)->check(CLI::Range(1, 1'000'000));
  latency->add_option("--pause_ms", options.pause_ms)->check(CLI::Range(0, 60'000));
  CLI::App* throughput = add("throughput", "whole answers each second");
  throughput->add_option("--concurrency", options.concurrency)->check(CLI::Range(1, 10'000));
  throughput->add_option("--seconds", options.seconds)->check(CLI::Range(0.1, 3600.0));
  CLI::App* hold = add("hold", "keeps streams open");
  hold->add_option("--streams", options.streams)->check(CLI::Range(1, 100'000));
  CLI::App* mixed = add("mixed", "calls of all kinds at a gentle rate; a line of JSON every ten seconds");
  mixed->add_option("--rate", options.rate, "calls a second")->check(CLI::Range(0.1, 1000.0));
  mixed->add_option("--seconds", options.seconds)->check(CLI::Range(0.1, 1e6));
  CLI11_PARSE(app, argc, argv);
  try {
    if (options.gateway.empty() == options.direct.empty())
      throw std::runtime_error("one of --gateway and --direct");
    if (*latency) std::cout << Latency(options).dump() << "\n";
    if (*throughput) std::cout << Throughput(options).dump() << "\n";
    if (*hold) Hold(options);
    if (*mixed)
      gateway_load::RunMix({.target = options.gateway,
                            .prefix = options.model,
                            .rate = options.rate,
                            .duration = absl::Seconds(options.seconds)});
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 1;
  }
  return 0;
}
