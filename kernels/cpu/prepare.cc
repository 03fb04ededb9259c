// Which kernel runs an operation on the CPU; and the entry to all that is compiled for an instruction set.
#include "kernels/cpu/convolutions.h"
#include "kernels/cpu/instruction_sets.h"
#include "kernels/cpu/product.h"
#include "kernels/implementations.h"

namespace densetree {
namespace cpu {
namespace {

std::nullptr_t refuse(std::string* why_not, const char* reason) {
  *why_not = reason;
  return nullptr;
}

template <class Op>
std::unique_ptr<Kernel> direct(Team& team, const Op& o, std::string*) {
  return std::make_unique<DirectKernel<Op, Team>>(team, o);
}

std::unique_ptr<Kernel> first(Team& team, const op::Convolution& o, std::string* why_not) {
  if (o.shape.input_use != Use::kInput || o.shape.output_use != Use::kSpatial) {
    return refuse(why_not, "it is not the convolution of the network's input");
  }
  if (!o.shape.training) {
    return refuse(why_not, "only training needs sums in fp64");
  }
  return make_first_convolution(team, o);
}

template <class Op>
std::unique_ptr<Kernel> widened(Team& team, const Op& o, std::string* why_not) {
  if (o.shape.precision != Precision::kBFloat16) {
    return refuse(why_not, "it is not in bf16");
  }
  if (kMultipliesBFloat16) {
    return refuse(why_not, "the processor multiplies bf16 itself");
  }
  return make_widened_convolution(team, o);
}

template <class Op>
std::unique_ptr<Kernel> vendor(Team& team, const Op& o, std::string*) {
  return make_onednn_convolution(team, o);
}

template <class Op>
std::unique_ptr<Kernel> fused(Team& team, const Op& o, std::string* why_not) {
  return make_norm_convolution(team, o, why_not);
}

// Of operations that have no list of their own.
template <class Op>
constexpr Implementation<Op, Team> kList[] = {{"own", direct<Op>}};

template <>
constexpr Implementation<op::Convolution, Team> kList<op::Convolution>[] = {
    {"own sums in fp64", first}, {"bf16 in fp32", widened<op::Convolution>}, {"oneDNN", vendor<op::Convolution>}};
template <>
constexpr Implementation<op::ConvolutionWeightGradient, Team> kList<op::ConvolutionWeightGradient>[] = {
    {"bf16 in fp32", widened<op::ConvolutionWeightGradient>}, {"oneDNN", vendor<op::ConvolutionWeightGradient>}};
template <>
constexpr Implementation<op::ConvolutionDataGradient, Team> kList<op::ConvolutionDataGradient>[] = {
    {"bf16 in fp32", widened<op::ConvolutionDataGradient>}, {"oneDNN", vendor<op::ConvolutionDataGradient>}};
template <>
constexpr Implementation<op::NormConvolution, Team> kList<op::NormConvolution>[] = {
    {"fused tiles", fused<op::NormConvolution>}};
template <>
constexpr Implementation<op::NormConvolutionGradient, Team> kList<op::NormConvolutionGradient>[] = {
    {"fused tiles", fused<op::NormConvolutionGradient>}};

std::unique_ptr<Kernel> make_kernel(Team& team, const Operation& operation, std::vector<Refusal>* refusals) {
  return std::visit([&]<class Op>(const Op& o) { return first_of<Op, Team>(kList<Op>, team, o, refusals); }, operation);
}

}  // namespace
}  // namespace cpu
}  // namespace densetree

extern "C" [[gnu::visibility("hidden")]] const densetree::cpu::Compiled DENSETREE_COMPILED = {
    .lanes = densetree::cpu::kBlock,
    .bfloat16 = densetree::cpu::kBlock == 16,
    .make_kernel = densetree::cpu::make_kernel};
