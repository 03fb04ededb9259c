// Small matrix products in registers: what the fused convolutions of the CPU are made of.
//
// Activations are slabs: kLanes channels of a pixel lie side by side, then the next pixel. A vector holds kLanes
// channels of one pixel. The blocks below are as large as the registers allow, so that a product of two numbers in
// memory costs less than one load: 14 pixels × 2 vectors of sums with AVX-512, 6 × 2 with AVX2.
//
// Numbers are fp32, or bf16 in pairs whose two products go into one fp32 sum: twice the products per instruction, and
// the same loops over half as many 32-bit elements.
#pragma once

#include <array>
#include <cstdint>
#include <type_traits>
#include <utility>

#include "kernels/core/bfloat16.h"
#include "kernels/core/integer.h"
#include "kernels/cpu/simd.h"

namespace densetree::cpu {

#ifdef __AVX512BF16__
inline constexpr bool kMultipliesBFloat16 = true;  // there is an instruction that multiplies pairs of bf16
#else
inline constexpr bool kMultipliesBFloat16 = false;
#endif

#if defined(__AVX512F__)
inline constexpr int kLanes = 16;  // of the vectors that this is compiled for; 0: none worth the name
inline constexpr int kRun = 7;     // pixels side by side that are summed up together; two runs at a time
inline constexpr int kOutputs = 8;
#elif defined(__AVX2__) && defined(__FMA__)
inline constexpr int kLanes = 8;
inline constexpr int kRun = 3;
inline constexpr int kOutputs = 4;
#else
inline constexpr int kLanes = 0;
inline constexpr int kRun = 1;
inline constexpr int kOutputs = 1;
#endif
inline constexpr int kPair = 2;  // vectors of sums beside each other

// Registers; without AVX2 nothing here runs, and any width compiles.
using V = Simd<kLanes == 0 ? 8 : kLanes>;
using Vector = V::Float;
using Pairs = V::Bits;  // two bf16 each
typedef std::uint32_t PairInMemory __attribute__((may_alias));

// Numbers as a T holds them.
template <class T>
Vector as(Vector value) {
  if constexpr (std::is_same_v<T, BFloat16>) {
    return reinterpret_cast<Vector>(V::nearest_bits(value));
  } else {
    return value;
  }
}

// How numbers are multiplied: kDepth of them side by side, for the same sum.
template <class T>
struct Numbers;

template <>
struct Numbers<float> {
  static constexpr int kDepth = 1;
  using Lanes = Vector;
  static Lanes load(const float* from) { return V::load(from); }
  static void add_product(Vector& sum, Lanes a, const float* b) { sum += a * *b; }
};

#ifdef __AVX512BF16__
template <>
struct Numbers<BFloat16> {
  static constexpr int kDepth = 2;
  using Lanes = Pairs;
  static Lanes load(const BFloat16* from) { return V::load_pairs(from); }
  static void add_product(Vector& sum, Lanes a, const BFloat16* b) {
    const std::uint32_t pair = *reinterpret_cast<const PairInMemory*>(b);
    sum = reinterpret_cast<Vector>(_mm512_dpbf16_ps(reinterpret_cast<__m512>(sum), reinterpret_cast<__m512bh>(a),
                                                    reinterpret_cast<__m512bh>(Pairs{} + pair)));
  }
};
#endif

// Where a sum over input channels finds them: slab i of the pixel at p lies at p + offsets[i].
struct Slabs {
  const std::int64_t* offsets;
  std::int64_t count;
};

// Sums over channels, for kRuns runs of kRows pixels each, overwriting y:
//   y[run][row][v] = Σ_i Σ_l x[run][row + offsets[i] + l] · w[i][l][v],  v < kVectors
// Vector v of a pixel of y lies v·vector_stride further on; w is [count][kLanes / kDepth][kVectors][kLanes][kDepth].
template <int kRuns, int kRows, int kVectors, class T, class Sum>
void sum_over_channels(const std::array<const T*, kRuns>& x, Slabs slabs, const T* w, const std::array<Sum*, kRuns>& y,
                       std::int64_t vector_stride) {
  using N = Numbers<T>;
  Vector sums[kRuns][kRows][kVectors] = {};
  for (std::int64_t i = 0; i < slabs.count; ++i) {
    std::array<const T*, kRuns> from;
    for (int run = 0; run < kRuns; ++run) {
      from[run] = x[run] + slabs.offsets[i];
    }
#pragma GCC unroll 4
    for (int l = 0; l < kLanes; l += N::kDepth, w += kVectors * kLanes * N::kDepth) {
      typename N::Lanes weights[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        weights[v] = N::load(w + v * kLanes * N::kDepth);
      }
#pragma GCC unroll 2
      for (int run = 0; run < kRuns; ++run) {
#pragma GCC unroll 8
        for (int row = 0; row < kRows; ++row) {
          for (int v = 0; v < kVectors; ++v) {
            N::add_product(sums[run][row][v], weights[v], from[run] + row * kLanes + l);
          }
        }
      }
    }
  }
  for (int run = 0; run < kRuns; ++run) {
    for (int row = 0; row < kRows; ++row) {
      for (int v = 0; v < kVectors; ++v) {
        V::store(sums[run][row][v], y[run] + row * kLanes + v * vector_stride);
      }
    }
  }
}

// Rows of pixels in a tile: `rows` rows of `width` pixels, `stride` numbers from one row to the next.
struct Rows {
  std::int64_t rows, width, stride;
};

// kDepth pixels side by side for each channel, which is how sums over pixels read them:
//   to[row][i][l][d] = from[row][first + kDepth·i + d][l],  i < groups, zeros for pixels from rows.width on
// A row of `to` is to_stride numbers long.
inline void pair_pixels(const BFloat16* from, const Rows& rows, std::int64_t first, std::int64_t groups, BFloat16* to,
                        std::int64_t to_stride) {
  for (std::int64_t row = 0; row < rows.rows; ++row, from += rows.stride, to += to_stride) {
    for (std::int64_t i = 0; i < groups; ++i) {
      const std::int64_t pixel = first + 2 * i;
      const Pairs low = pixel < rows.width ? V::load_bits(from + pixel * kLanes) : Pairs{};
      const Pairs high = pixel + 1 < rows.width ? V::load_bits(from + (pixel + 1) * kLanes) : Pairs{};
      V::store_pairs(low | high << 16, to + i * 2 * kLanes);
    }
  }
}

// Sums over pixels, adding to dw[kOutputs][kVectors][kLanes]:
//   dw[o][v] += Σ_row Σ_p dy[row][p][o] · z[row][p][v]
// dy points at the first of kOutputs channels; vector v of z lies v·vector_stride further on. Both have kDepth pixels
// side by side for each channel, and rows.width counts such groups.
template <int kVectors, class T>
void sum_over_pixels(const T* dy, std::int64_t dy_stride, const T* z, const Rows& rows, std::int64_t vector_stride,
                     float* dw) {
  using N = Numbers<T>;
  Vector sums[kOutputs][kVectors];
  for (int o = 0; o < kOutputs; ++o) {
    for (int v = 0; v < kVectors; ++v) {
      sums[o][v] = V::load(dw + (o * kVectors + v) * kLanes);
    }
  }
  for (std::int64_t row = 0; row < rows.rows; ++row) {
    const T* from = dy + row * dy_stride;
    const T* by = z + row * rows.stride;
    for (std::int64_t p = 0; p < rows.width; ++p, from += kLanes * N::kDepth, by += kLanes * N::kDepth) {
      typename N::Lanes values[kVectors];
      for (int v = 0; v < kVectors; ++v) {
        values[v] = N::load(by + v * vector_stride);
      }
#pragma GCC unroll 8
      for (int o = 0; o < kOutputs; ++o) {
        for (int v = 0; v < kVectors; ++v) {
          N::add_product(sums[o][v], values[v], from + o * N::kDepth);
        }
      }
    }
  }
  for (int o = 0; o < kOutputs; ++o) {
    for (int v = 0; v < kVectors; ++v) {
      V::store(sums[o][v], dw + (o * kVectors + v) * kLanes);
    }
  }
}

// Memory that is wanted soon, fetched into L2 piece by piece between products, which hide how long that takes.
class Ahead {
 public:
  // `vectors` vectors of channels of `pixels` pixels each, in about `steps` steps; `written`: to be written to.
  template <class T>
  Ahead(const T* from, std::int64_t vectors, std::int64_t vector_stride, std::int64_t pixels, std::int64_t steps,
        bool written = false)
      : from_(reinterpret_cast<const char*>(from)),
        vectors_(vectors),
        stride_(vector_stride * sizeof(T)),
        bytes_(pixels * kLanes * sizeof(T)),
        piece_(quotient_up(vectors * quotient_up(bytes_, kLine), steps)),
        written_(written) {}
  Ahead() = default;

  void step() {
    for (std::int64_t i = 0; i < piece_ && vectors_ > 0; ++i) {
      if (written_) {
        __builtin_prefetch(from_ + at_, 1, 2);
      } else {
        __builtin_prefetch(from_ + at_, 0, 2);
      }
      at_ += kLine;
      if (at_ >= bytes_) {
        at_ = 0, from_ += stride_, --vectors_;
      }
    }
  }

 private:
  static constexpr std::int64_t kLine = 64;  // of a cache

  const char* from_ = nullptr;
  std::int64_t vectors_ = 0, stride_ = 0, bytes_ = 0, piece_ = 0, at_ = 0;
  bool written_ = false;
};

// sum_over_channels for a whole tile. x and y point at its first pixel; a row of y follows the one before. A step of
// `ahead` after every product.
template <int kVectors, class T, class Sum>
void convolve_tile(const T* x, const Rows& rows, Slabs slabs, const T* w, Sum* y, std::int64_t vector_stride,
                   Ahead& ahead) {
  const auto run_at = [&](std::int64_t index, std::int64_t per_row, std::int64_t first) {
    const std::int64_t row = index / per_row, pixel = first + index % per_row * kRun;
    return std::pair(x + row * rows.stride + pixel * kLanes, y + (row * rows.width + pixel) * kLanes);
  };
  // All runs of kRows pixels, per_row of them in a row from pixel `first` on, two at a time.
  const auto all = [&]<int kRows>(std::integral_constant<int, kRows>, std::int64_t per_row, std::int64_t first) {
    const std::int64_t runs = rows.rows * per_row;
    std::int64_t index = 0;
    for (; index + 2 <= runs; index += 2) {
      const auto a = run_at(index, per_row, first), b = run_at(index + 1, per_row, first);
      sum_over_channels<2, kRows, kVectors, T, Sum>({a.first, b.first}, slabs, w, {a.second, b.second}, vector_stride);
      ahead.step();
    }
    if (index < runs) {
      const auto a = run_at(index, per_row, first);
      sum_over_channels<1, kRows, kVectors, T, Sum>({a.first}, slabs, w, {a.second}, vector_stride);
      ahead.step();
    }
  };
  const std::int64_t whole = rows.width / kRun, rest = rows.width % kRun;
  if (whole > 0) {
    all(std::integral_constant<int, kRun>{}, whole, 0);
  }
  [&]<int... kRest>(std::integer_sequence<int, kRest...>) {
    ((rest == kRest + 1 ? all(std::integral_constant<int, kRest + 1>{}, 1, whole * kRun) : void()), ...);
  }
  (std::make_integer_sequence<int, kRun - 1>{});
}

}  // namespace densetree::cpu
