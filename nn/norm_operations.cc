// Batch norm on the tape: plain, factored, and fused with the convolution that follows it.
#include "kernels/core/error.h"
#include "nn/operations.h"

namespace densetree::nn {

Feature Feature::slice(std::int64_t begin, std::int64_t count) const {
  Feature part = *this;
  part.x = x.slice(begin, count);
  part.first += begin;
  return part;
}

Statistics Feature::statistics_of(const Run& run) const {
  float* base = run.array(statistics) + first;
  return {base, base + total, base + 2 * total};
}

GradientSums Feature::sums_of(const Run& run) const {
  double* base = run.array<double>(sums) + first;
  return {base, base + total};
}

namespace {

// Batch norm's numbers in training: the batch's statistics.
Affine affine_of(const Run& run, const Feature& feature, const NormParameters& p) {
  const Statistics statistics = feature.statistics_of(run);
  return {statistics.mean, statistics.rstd, p.gamma.value(), p.beta.value()};
}

// In inference: the running statistics. rstd is float[channels] of scratch.
Affine running_affine(const Run& run, const NormParameters& p, std::int64_t channels, StorageId rstd) {
  const float* running = p.gamma.memory->running;
  run.device.reciprocal_std(running + p.running_variance, channels, kBatchNormEps, run.array(rstd));
  return {running + p.running_mean, run.array(rstd), p.gamma.value(), p.beta.value()};
}

// Running averages move once a step, however often the output is made.
void move_running(const Run& run, const Feature& feature, const NormParameters& p) {
  if (!run.recompute) {
    const Shape& shape = feature.x.shape;
    float* running = p.gamma.memory->running;
    run.device.update_running(feature.statistics_of(run), shape.c, shape.n * shape.pixels(), kBatchNormMomentum,
                              running + p.running_mean, running + p.running_variance);
  }
}

class NormalizeOperation final : public Operation {
 public:
  NormalizeOperation(std::string name, Device& device, Tensor source, Feature feature, Tensor dsource, Tensor s)
      : Operation(std::move(name)),
        source_(source),
        dsource_(dsource),
        s_(s),
        feature_(feature),
        workspace_(device.reduction_bytes(feature.x.shape.c)) {}

  Uses forward_uses() const override {
    Uses uses{.reads = {source_.storage}, .writes = {feature_.statistics}, .workspace = workspace_};
    if (!in_place()) {
      uses.writes.push_back(feature_.x.storage);
    }
    return uses;
  }
  void forward(const Run& run) override {
    const Statistics statistics = feature_.statistics_of(run);
    if (in_place()) {
      run.device.channel_statistics(run.view(source_), kBatchNormEps, statistics, run.workspace);
    } else {
      run.device.copy_with_statistics(run.view(source_), run.view(feature_.x), kBatchNormEps, statistics,
                                      run.workspace);
    }
  }
  std::optional<Uses> backward_uses() override {
    Uses uses{.reads = {s_.storage, feature_.x.storage, feature_.statistics, feature_.sums}};
    if (!in_place()) {
      uses.writes.push_back(dsource_.storage);
    }
    return uses;
  }
  void backward(const Run& run) override {
    run.device.normalize_backward(run.view(s_), run.view(feature_.x), feature_.statistics_of(run),
                                  feature_.sums_of(run), GradMode::kOverwrite, run.view(dsource_));
  }

 private:
  bool in_place() const { return source_.storage == feature_.x.storage; }

  Tensor source_, dsource_, s_;
  Feature feature_;
  std::size_t workspace_;
};

class NormReluOperation final : public Operation {
 public:
  NormReluOperation(std::string name, Device& device, Feature feature, NormParameters p, Tensor y, Tensor s, Tensor dy)
      : Operation(std::move(name)),
        feature_(feature),
        p_(p),
        y_(y),
        s_(s),
        dy_(dy),
        workspace_(device.reduction_bytes(feature.x.shape.c)) {}

  Uses forward_uses() const override {
    return {.reads = {feature_.x.storage, feature_.statistics}, .writes = {y_.storage}};
  }
  void forward(const Run& run) override {
    run.device.affine_relu(run.view(feature_.x), affine_of(run, feature_, p_), true, run.view(y_));
    move_running(run, feature_, p_);
  }
  std::optional<Uses> backward_uses() override {
    return Uses{.reads = {dy_.storage, feature_.x.storage, feature_.statistics},
                .writes = {feature_.sums, p_.gamma.gradients},
                .accumulates = s_,
                .workspace = workspace_};
  }
  void backward(const Run& run) override {
    run.device.affine_relu_backward(run.view(dy_), run.view(feature_.x), affine_of(run, feature_, p_), true, run.mode,
                                    run.view(s_), feature_.sums_of(run), p_.gamma.gradient(run), p_.beta.gradient(run),
                                    run.workspace);
  }

 private:
  Feature feature_;
  NormParameters p_;
  Tensor y_, s_, dy_;
  std::size_t workspace_;
};

// Batch norm by itself, as frameworks have it: its own statistics, its own gradient. `normalized` has room for S.
class BatchNormReluOperation final : public Operation {
 public:
  BatchNormReluOperation(std::string name, Device& device, Feature feature, NormParameters p, Tensor y, Tensor dx,
                         Tensor dy, Tensor normalized)
      : Operation(std::move(name)),
        feature_(feature),
        p_(p),
        y_(y),
        dx_(dx),
        dy_(dy),
        s_(normalized),
        workspace_(device.reduction_bytes(feature.x.shape.c)) {}

  Uses forward_uses() const override {
    return {.reads = {feature_.x.storage}, .writes = {feature_.statistics, y_.storage}, .workspace = workspace_};
  }
  void forward(const Run& run) override {
    const View x = run.view(feature_.x);
    run.device.channel_statistics(x, kBatchNormEps, feature_.statistics_of(run), run.workspace);
    run.device.affine_relu(x, affine_of(run, feature_, p_), true, run.view(y_));
    move_running(run, feature_, p_);
  }
  std::optional<Uses> backward_uses() override {
    return Uses{.reads = {dy_.storage, feature_.x.storage, feature_.statistics},
                .writes = {feature_.sums, s_.storage, p_.gamma.gradients},
                .accumulates = dx_,
                .workspace = workspace_};
  }
  void backward(const Run& run) override {
    const View x = run.view(feature_.x), s = run.view(s_);
    run.device.affine_relu_backward(run.view(dy_), x, affine_of(run, feature_, p_), true, GradMode::kOverwrite, s,
                                    feature_.sums_of(run), p_.gamma.gradient(run), p_.beta.gradient(run),
                                    run.workspace);
    run.device.normalize_backward(s, x, feature_.statistics_of(run), feature_.sums_of(run), run.mode, run.view(dx_));
  }

 private:
  Feature feature_;
  NormParameters p_;
  Tensor y_, dx_, dy_, s_;
  std::size_t workspace_;
};

class NormReluInferenceOperation final : public Operation {
 public:
  NormReluInferenceOperation(std::string name, Tensor x, NormParameters p, Tensor y, StorageId rstd)
      : Operation(std::move(name)), x_(x), y_(y), p_(p), rstd_(rstd) {}

  Uses forward_uses() const override { return {.reads = {x_.storage}, .writes = {y_.storage, rstd_}}; }
  void forward(const Run& run) override {
    run.device.affine_relu(run.view(x_), running_affine(run, p_, x_.shape.c, rstd_), true, run.view(y_));
  }

 private:
  Tensor x_, y_;
  NormParameters p_;
  StorageId rstd_;
};

// out = conv(max(0, γ·x̂ + β)) and out's statistics. z has no storage where it is not kept. Backward first turns out's S
// into ∂L/∂out, in place: nobody else reads it any more.
class NormConvolutionOperation final : public Operation {
 public:
  std::string implementation() const override { return convolution_->implementation().text(); }
  NormConvolutionOperation(std::string name, std::unique_ptr<NormConvolution> convolution, Feature in, NormParameters p,
                           Weight w, Feature out, Tensor z, Tensor s_in, Tensor s_out)
      : Operation(std::move(name)),
        convolution_(std::move(convolution)),
        in_(in),
        out_(out),
        p_(p),
        w_(w),
        z_(z),
        s_in_(s_in),
        s_out_(s_out) {}

  Uses forward_uses() const override {
    Uses uses{.reads = {in_.x.storage, in_.statistics},
              .writes = {out_.x.storage, out_.statistics},
              .workspace = convolution_->workspace_bytes()};
    if (kept()) {
      uses.writes.push_back(z_.storage);
    }
    return uses;
  }
  void forward(const Run& run) override {
    convolution_->forward(run.view(in_.x), affine_of(run, in_, p_), w_.value(), run.view(out_.x),
                          {kBatchNormEps, out_.statistics_of(run), z_of(run)}, run.workspace);
    move_running(run, in_, p_);
  }
  std::optional<Uses> backward_uses() override {
    Uses uses{.reads = {s_out_.storage, out_.x.storage, out_.statistics, out_.sums, in_.x.storage, in_.statistics},
              .writes = {in_.sums, w_.gradients},
              .accumulates = s_in_,
              .workspace = convolution_->workspace_bytes()};
    if (kept()) {
      uses.reads.push_back(z_.storage);
    }
    return uses;
  }
  void backward(const Run& run) override {
    const View dy = run.view(s_out_);
    run.device.normalize_backward(dy, run.view(out_.x), out_.statistics_of(run), out_.sums_of(run),
                                  GradMode::kOverwrite, dy);
    convolution_->backward(
        run.view(in_.x), affine_of(run, in_, p_), w_.value(), dy, z_of(run), run.mode, run.view(s_in_),
        {in_.sums_of(run), w_.gradient(run), p_.gamma.gradient(run), p_.beta.gradient(run)}, run.workspace);
  }

 private:
  bool kept() const { return z_.storage >= 0; }
  View z_of(const Run& run) const { return kept() ? run.view(z_) : View{}; }

  std::unique_ptr<NormConvolution> convolution_;
  Feature in_, out_;
  NormParameters p_;
  Weight w_;
  Tensor z_, s_in_, s_out_;
};

class NormConvolutionInferenceOperation final : public Operation {
 public:
  std::string implementation() const override { return convolution_->implementation().text(); }
  NormConvolutionInferenceOperation(std::string name, std::unique_ptr<NormConvolution> convolution, Tensor x,
                                    NormParameters p, Weight w, Tensor y, StorageId rstd)
      : Operation(std::move(name)), convolution_(std::move(convolution)), x_(x), y_(y), p_(p), w_(w), rstd_(rstd) {}

  Uses forward_uses() const override {
    return {.reads = {x_.storage}, .writes = {y_.storage, rstd_}, .workspace = convolution_->workspace_bytes()};
  }
  void forward(const Run& run) override {
    convolution_->forward(run.view(x_), running_affine(run, p_, x_.shape.c, rstd_), w_.value(), run.view(y_), {},
                          run.workspace);
  }

 private:
  std::unique_ptr<NormConvolution> convolution_;
  Tensor x_, y_;
  NormParameters p_;
  Weight w_;
  StorageId rstd_;
};

}  // namespace

std::unique_ptr<Operation> make_normalize(std::string name, Device& device, Tensor source, Feature feature,
                                          Tensor dsource, Tensor s) {
  return std::make_unique<NormalizeOperation>(std::move(name), device, source, feature, dsource, s);
}

std::unique_ptr<Operation> make_norm_relu(std::string name, Device& device, Feature feature, NormParameters parameters,
                                          Tensor y, Tensor s, Tensor dy) {
  return std::make_unique<NormReluOperation>(std::move(name), device, feature, parameters, y, s, dy);
}

std::unique_ptr<Operation> make_norm_relu_inference(std::string name, Tensor x, NormParameters parameters, Tensor y,
                                                    StorageId rstd) {
  return std::make_unique<NormReluInferenceOperation>(std::move(name), x, parameters, y, rstd);
}

std::unique_ptr<Operation> make_batch_norm_relu(std::string name, Device& device, Feature feature,
                                                NormParameters parameters, Tensor y, Tensor dx, Tensor dy,
                                                Tensor normalized) {
  return std::make_unique<BatchNormReluOperation>(std::move(name), device, feature, parameters, y, dx, dy, normalized);
}

std::unique_ptr<Operation> make_norm_convolution(std::string name, std::unique_ptr<NormConvolution> convolution,
                                                 Feature in, NormParameters parameters, Weight w, Feature out, Tensor z,
                                                 Tensor s_in, Tensor s_out) {
  return std::make_unique<NormConvolutionOperation>(std::move(name), std::move(convolution), in, parameters, w, out, z,
                                                    s_in, s_out);
}

std::unique_ptr<Operation> make_norm_convolution_inference(std::string name,
                                                           std::unique_ptr<NormConvolution> convolution, Tensor x,
                                                           NormParameters parameters, Weight w, Tensor y,
                                                           StorageId rstd) {
  return std::make_unique<NormConvolutionInferenceOperation>(std::move(name), std::move(convolution), x, parameters, w,
                                                             y, rstd);
}

}  // namespace densetree::nn
