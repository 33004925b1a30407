// What a verification of high rigor tries beside the inputs that a task draws, and how it judges that.
#ifndef SERVICES_VERIFY_RIGOR_H_
#define SERVICES_VERIFY_RIGOR_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "nkiagent/verify/v1/verdict.pb.h"
#include "services/verify/task_data.h"

namespace nkiagent::verify {

// "drawn", "constant_rows": the name in the reference role's requests and in messages.
std::string FamilyName(v1::InputFamily family);
// True for those whose expected outputs may hold NaN; it must then stand at the same places.
bool MayHoldNan(v1::InputFamily family);

// A trial for each seed, and for RIGOR_HIGH one for each other family, on the first seed's inputs.
std::vector<TrialPlan> PlanTrials(absl::Span<const uint64_t> seeds, v1::Rigor rigor);

// Root mean square over the finite elements, in the units of the elements; 0 if there are none.
double RootMeanSquare(common::v1::DataType type, absl::Span<const uint8_t> bytes);

// The absolute tolerance for an output of a trial: `atol` for drawn inputs. For others it follows the scale
// of the expected output, `rms`, against that for drawn inputs: upwards for all families, downwards for tiny
// inputs, to no less than 1/64. Rows of equal elements get eight times as much, since what norms divide by is
// then all rounding. And no less than eight times `sensitivity`, by which a rounding of the inputs moves the
// output: a right kernel rounds as well.
double FamilyAtol(double atol, v1::InputFamily family, double drawn_rms, double rms, double sensitivity);

// Fills verdict.families from the trials that were judged and those that were skipped.
void SummarizeFamilies(absl::Span<const TrialDataPtr> all, v1::Verdict& verdict);

}  // namespace nkiagent::verify

#endif  // SERVICES_VERIFY_RIGOR_H_
