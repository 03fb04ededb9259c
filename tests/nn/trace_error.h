// How far a trace is from the float64 one, by the measures below, and how far it may
// be: three times as far as PyTorch's own float32 run of the same case, or within floors where that was lucky.
//
// Where only part of the float64 trace is stored, each measure is taken from that part:
//   exactly      what is there in full (losses, logits)
//   from below   a lower bound of the measure: what breaks the limit would break it with everything stored, too
//   estimated    from a sample, or from random sums whose expectation is the measure
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "nn/trace.h"
#include "tests/nn/reference_case.h"

namespace densetree::test {

struct TraceError {
  std::map<std::string, double> measures;
  // How many parameters weights_off was counted over, where they are a sample: then it may be above its limit by what
  // a sample of that size leaves open. 0: all.
  std::int64_t samples = 0;
};

// error() itself.
TraceError full_error(const nn::Trace& got, const TensorFile& want, const ReferenceCase& c);

// From a case that tests/reference/make_cases.py wrote: losses, logits of step 0, evaluation logits, and of each tensor
// its norm and first four values. Measures:
//   loss, eval_logits   exactly; logits from below (step 0 alone)
//   grad_norms          from below, for grad_total: the norms' distance, over all tensors, over the norm of everything
//   grad_total          estimated: squared errors of a tensor's first values stand for all of its elements
//   weights_off         estimated from the first values
//   running             estimated: first values, over the larger of them and the tensor's root mean square
TraceError summary_error(const nn::Trace& got, const nlohmann::json& summary, const ReferenceCase& c);

// From a case of tests/reference/make_cases.py, whose header says what is stored. loss, logits, eval_logits exactly,
// grad_total estimated from random sums, grad_norms as above, weights_off from every stride-th parameter, running from
// below. `state`: see state_of().
TraceError sketch_error(const nn::Trace& got, const nlohmann::json& stored, const std::vector<ExpectedTensor>& state,
                        const ReferenceCase& c);

// How large a measure may be; of one that was counted over so many samples, what a sample leaves open is added.
double limit_of(const std::string& measure, const nlohmann::json& pytorch, std::int64_t samples);

// So much of what a case's conditioning says is granted.
inline constexpr double kConditioning = 1.5;

// The measures beyond their limits; each in words that give measure, limit and PyTorch's error. `conditioning` says how
// far a measure gets in fp32 where every weight moves by a rounding; kConditioning times that is within the limit, too.
std::vector<std::string> beyond(const TraceError& error, const nlohmann::json& pytorch,
                                const std::map<std::string, double>& conditioning = {});
}  // namespace densetree::test
