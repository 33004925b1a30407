#include "services/nkictl/session_flags.h"

#include <CLI/CLI.hpp>
#include <cmath>
#include <utility>

#include "services/nkictl/client.h"

namespace nkiagent::nkictl {

void AddSamplingFlags(CLI::App* command, SessionFlags* flags) {
  command->add_option("--model", flags->model, "Model, by the name that llm-gateway knows")
      ->capture_default_str();
  command->add_option("--mode", flags->mode, "How the model is asked")
      ->check(CLI::IsMember(std::vector<std::string>{"single-shot", "multi-turn", "agent"}))
      ->capture_default_str();
  command->add_option("--max-turns", flags->max_turns, "Most model calls of a session; 0: the mode's default")
      ->check(CLI::Range(0, 100));
  command->add_option("--trials", flags->trials, "Trials of each verification; 0: 3")
      ->check(CLI::Range(0, 64));
  command
      ->add_option("--rigor", flags->rigor,
                   "How hard kernels are tried; high: also on large, tiny, signed, constant, permuted, NaN "
                   "and infinite inputs")
      ->check(CLI::IsMember({"standard", "high"}))
      ->capture_default_str();
  command->add_option("--seed", flags->seeds, "Seeds of the trials' inputs, as many as there are trials");
  command->add_option("--weight-seed", flags->weight_seed, "Seed of the module's weights");
  command->add_option("--prompt", flags->prompt, "Name of the prompt: rank-aware or plain");
  command->add_option("--wall-limit", flags->wall_limit_s, "Longest time of a session in seconds")
      ->check(CLI::PositiveNumber);
  command->add_option("--temperature", flags->temperature, "Sampling temperature")
      ->check(CLI::Range(0.0, 2.0));
  command->add_flag("--optimize", flags->optimize,
                    "Go on after the first verified kernel, to find a faster one");
  command->add_option(
      "--tool", flags->tools,
      "Tools of the agent: compile_kernel, verify_kernel, profile_kernel, lookup_api; all by default");
}

void AddSessionFlags(CLI::App* command, SessionFlags* flags) {
  AddSamplingFlags(command, flags);
  command->add_option("--level", flags->level, "Level of the task, for counts")->check(CLI::Range(0, 3));
  command->add_option("--name", flags->name, "Name of the task; the file's by default");
  command
      ->add_option("--max-cost", flags->max_cost_usd,
                   "Most that model calls may cost, in US dollars; 0: no limit")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--request-id", flags->request_id,
                      "Makes a retry safe: the same id gives the same session");
}

orchestrator::v1::Mode ParseMode(const std::string& name) {
  if (name == "single-shot") return orchestrator::v1::MODE_SINGLE_SHOT;
  if (name == "multi-turn") return orchestrator::v1::MODE_MULTI_TURN;
  return orchestrator::v1::MODE_AGENT;
}

orchestrator::v1::SessionOptions OptionsFor(const SessionFlags& flags) {
  orchestrator::v1::SessionOptions options;
  options.set_max_turns(flags.max_turns);
  options.set_trials(flags.trials);
  if (flags.rigor == "high") options.set_rigor(verify::v1::RIGOR_HIGH);
  for (const uint64_t seed : flags.seeds) options.add_seeds(seed);
  options.set_optimize(flags.optimize);
  options.set_prompt_name(flags.prompt);
  options.set_max_cost_micro_usd(std::llround(flags.max_cost_usd * 1e6));
  if (flags.wall_limit_s > 0) {
    options.mutable_wall_limit()->set_seconds(static_cast<int64_t>(flags.wall_limit_s));
    options.mutable_wall_limit()->set_nanos(
        static_cast<int32_t>(1e9 * (flags.wall_limit_s - std::floor(flags.wall_limit_s))));
  }
  for (const std::string& tool : flags.tools) options.add_tools(tool);
  if (flags.temperature >= 0) options.mutable_sampling()->set_temperature(flags.temperature);
  return options;
}

absl::StatusOr<orchestrator::v1::SubmitTaskRequest> SubmitRequestFor(const SessionFlags& flags,
                                                                     const std::string& file) {
  absl::StatusOr<common::v1::Task> task = ReadTaskFile(file);
  if (!task.ok()) return task.status();
  orchestrator::v1::SubmitTaskRequest request;
  request.set_request_id(flags.request_id);
  *request.mutable_task() = *std::move(task);
  if (!flags.name.empty()) request.mutable_task()->set_name(flags.name);
  request.mutable_task()->set_weight_seed(flags.weight_seed);
  request.mutable_task()->set_level(flags.level);
  request.set_model(flags.model);
  request.set_mode(ParseMode(flags.mode));
  *request.mutable_options() = OptionsFor(flags);
  return request;
}

}  // namespace nkiagent::nkictl
