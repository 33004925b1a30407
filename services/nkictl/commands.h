// The verbs of nkictl, and what they share. Each lies in a file of its own, which declares its flags, too.
#ifndef SERVICES_NKICTL_COMMANDS_H_
#define SERVICES_NKICTL_COMMANDS_H_

#include <functional>
#include <string>
#include <vector>

#include "common/rpc/channel.h"
#include "services/nkictl/interrupt.h"
#include "services/nkictl/local_cluster.h"

namespace CLI {
class App;
}  // namespace CLI

namespace nkiagent::nkictl {

// What a verb's process ends with: a pass, or an answer where nothing is judged; anything else; wrong usage;
// after Ctrl-C.
inline constexpr int kExitPass = 0;
inline constexpr int kExitFail = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitInterrupted = 130;

// The orchestrator of `./dev up`, for commands about sessions that are there already.
inline constexpr char kDefaultServer[] = "127.0.0.1:7600";

// What all commands share.
struct Environment {
  const Interrupt* interrupt = nullptr;
  bool json = false;
  // Where the orchestrator is; an empty target means a local cluster for run and demo, kDefaultServer for the
  // others.
  rpc::ChannelOptions server;
  ClusterOptions cluster;
};

// What a command line asks for; returns the exit code.
using Verb = std::function<int(const Environment&)>;

// Each adds one verb (AddPrompt and, in bench.h, AddBench: one with verbs of its own). Parsing a command line
// of it sets `verb`, which must outlive the app.
void AddRun(CLI::App* app, Verb* verb);
void AddSubmit(CLI::App* app, Verb* verb);
void AddPrompt(CLI::App* app, Verb* verb);
void AddExport(CLI::App* app, Verb* verb);
void AddWatch(CLI::App* app, Verb* verb);
void AddList(CLI::App* app, Verb* verb);
void AddShow(CLI::App* app, Verb* verb);
void AddCancel(CLI::App* app, Verb* verb);
void AddDemo(CLI::App* app, Verb* verb);
void AddProfile(CLI::App* app, Verb* verb);
void AddVerify(CLI::App* app, Verb* verb);
void AddUp(CLI::App* app, Verb* verb);
// For --help alone: RunAsPython() comes before all parsing.
void AddPython(CLI::App* app);
void AddBenchModules(CLI::App* bench);

// `python SCRIPT ...`, `bench lint ...` and `bench mutation ...` replace this process by Python, with the
// modules of common/nki/frontend before all others; what follows is the script's, options included. Call it
// before anything touches the process's signals. Returns the exit code if the command line is one of these
// and Python can't be run, and nothing if it is another one.
std::optional<int> RunAsPython(const std::vector<std::string>& arguments);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_COMMANDS_H_
