// The models that are offered when the configuration has no section `models`.
#ifndef SERVICES_LLM_GATEWAY_DEFAULT_MODELS_H_
#define SERVICES_LLM_GATEWAY_DEFAULT_MODELS_H_

#include <vector>

#include "services/llm_gateway/model_config.h"

namespace nkiagent::llm_gateway {

// Anthropic's and OpenAI's models, with keys from ANTHROPIC_API_KEY and OPENAI_API_KEY. Models that are
// listed by name carry the prices that their vendor published; the patterns after them take any other model
// of that vendor, without prices, so that its cost is reported as 0.
std::vector<ModelConfig> DefaultModels();

}  // namespace nkiagent::llm_gateway

#endif  // SERVICES_LLM_GATEWAY_DEFAULT_MODELS_H_
