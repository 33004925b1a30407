// The command line of `nkictl bench`, and the flags of a session that its verbs share with others.
#ifndef SERVICES_NKICTL_BENCH_COMMAND_LINE_H_
#define SERVICES_NKICTL_BENCH_COMMAND_LINE_H_

#include <CLI/CLI.hpp>
#include <functional>

#include "services/nkictl/commands.h"

namespace nkiagent::nkictl {

// Flags that describe one session or all sessions of a run.
void AddSamplingFlags(CLI::App* command, SessionFlags* flags);
// The same, and what only a single session has.
void AddSessionFlags(CLI::App* command, SessionFlags* flags);

// Adds `bench` with its verbs. Parsing sets `verb` to what is to be done; `environment` is read then.
void AddBenchCommands(CLI::App* app, const Environment* environment, std::function<int()>* verb);

}  // namespace nkiagent::nkictl

#endif  // SERVICES_NKICTL_BENCH_COMMAND_LINE_H_
