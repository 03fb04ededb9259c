#include "nn/operations.h"

#include "kernels/core/error.h"

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

class InputOperation final : public Operation {
 public:
  InputOperation(std::string name, StorageId pixels, std::int64_t source, StorageId transforms, Tensor y)
      : Operation(std::move(name)), pixels_(pixels), source_(source), transforms_(transforms), y_(y) {}

  Uses forward_uses() const override { return {.reads = {pixels_, transforms_}, .writes = {y_.storage}}; }
  void forward(const Run& run) override {
    run.device.images_to_input(run.array<std::uint8_t>(pixels_), source_, run.array<ImageTransform>(transforms_),
                               InputNormalization{}, run.view(y_));
  }

 private:
  StorageId pixels_;
  std::int64_t source_;
  StorageId transforms_;
  Tensor y_;
};

class ConvolutionOperation final : public Operation {
 public:
  ConvolutionOperation(std::string name, std::unique_ptr<Convolution> convolution, Tensor x, Weight w, Tensor y,
                       Tensor dx, Tensor dy, bool input_gradient)
      : Operation(std::move(name)),
        convolution_(std::move(convolution)),
        x_(x),
        y_(y),
        dx_(dx),
        dy_(dy),
        w_(w),
        input_gradient_(input_gradient) {}

  Uses forward_uses() const override {
    return {.reads = {x_.storage}, .writes = {y_.storage}, .workspace = convolution_->workspace_bytes()};
  }
  void forward(const Run& run) override {
    convolution_->forward(run.view(x_), w_.value(), run.view(y_), run.workspace);
  }
  std::optional<Uses> backward_uses() override {
    Uses uses{
        .reads = {x_.storage, dy_.storage}, .writes = {w_.gradients}, .workspace = convolution_->workspace_bytes()};
    if (input_gradient_) {
      uses.writes.push_back(dx_.storage);
    }
    return uses;
  }
  void backward(const Run& run) override {
    convolution_->backward_weights(run.view(x_), run.view(dy_), w_.gradient(run), run.workspace);
    if (input_gradient_) {
      convolution_->backward_data(run.view(dy_), w_.value(), run.view(dx_), run.workspace);
    }
  }

 private:
  std::unique_ptr<Convolution> convolution_;
  Tensor x_, y_, dx_, dy_;
  Weight w_;
  bool input_gradient_;
};

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
                                  feature_.sums_of(run), run.view(dsource_));
  }

 private:
  bool in_place() const { return source_.storage == feature_.x.storage; }

  Tensor source_, dsource_, s_;
  Feature feature_;
  std::size_t workspace_;
};

class CopyOperation final : public Operation {
 public:
  CopyOperation(std::string name, Tensor x, Tensor y) : Operation(std::move(name)), x_(x), y_(y) {}
  Uses forward_uses() const override { return {.reads = {x_.storage}, .writes = {y_.storage}}; }
  void forward(const Run& run) override { run.device.copy_view(run.view(x_), run.view(y_)); }

 private:
  Tensor x_, y_;
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
    const View x = run.view(feature_.x);
    run.device.affine_relu(x, affine(run), true, run.view(y_));
    if (!run.recompute) {  // running averages move once a step, however often the output is made
      run.device.update_running(feature_.statistics_of(run), x.c, x.count(), kBatchNormMomentum,
                                p_.gamma.memory->running + p_.running_mean,
                                p_.gamma.memory->running + p_.running_variance);
    }
  }
  std::optional<Uses> backward_uses() override {
    return Uses{.reads = {dy_.storage, feature_.x.storage, feature_.statistics},
                .writes = {feature_.sums, p_.gamma.gradients},
                .accumulates = s_,
                .workspace = workspace_};
  }
  void backward(const Run& run) override {
    run.device.affine_relu_backward(run.view(dy_), run.view(feature_.x), affine(run), true, run.mode, run.view(s_),
                                    feature_.sums_of(run), p_.gamma.gradient(run), p_.beta.gradient(run),
                                    run.workspace);
  }

 private:
  Affine affine(const Run& run) const {
    const Statistics statistics = feature_.statistics_of(run);
    return {statistics.mean, statistics.rstd, p_.gamma.value(), p_.beta.value()};
  }

  Feature feature_;
  NormParameters p_;
  Tensor y_, s_, dy_;
  std::size_t workspace_;
};

class NormReluInferenceOperation final : public Operation {
 public:
  NormReluInferenceOperation(std::string name, Tensor x, NormParameters p, Tensor y, StorageId rstd)
      : Operation(std::move(name)), x_(x), y_(y), p_(p), rstd_(rstd) {}

  Uses forward_uses() const override { return {.reads = {x_.storage}, .writes = {y_.storage, rstd_}}; }
  void forward(const Run& run) override {
    const float* running = p_.gamma.memory->running;
    run.device.reciprocal_std(running + p_.running_variance, x_.shape.c, kBatchNormEps, run.array(rstd_));
    run.device.affine_relu(run.view(x_),
                           {running + p_.running_mean, run.array(rstd_), p_.gamma.value(), p_.beta.value()}, true,
                           run.view(y_));
  }

 private:
  Tensor x_, y_;
  NormParameters p_;
  StorageId rstd_;
};

class MaxPoolOperation final : public Operation {
 public:
  MaxPoolOperation(std::string name, int kernel, int stride, int padding, Tensor x, Tensor y, StorageId choice,
                   Tensor dx, Tensor dy)
      : Operation(std::move(name)),
        kernel_(kernel),
        stride_(stride),
        padding_(padding),
        x_(x),
        y_(y),
        dx_(dx),
        dy_(dy),
        choice_(choice) {}

  Uses forward_uses() const override {
    Uses uses{.reads = {x_.storage}, .writes = {y_.storage}};
    if (choice_ >= 0) {
      uses.writes.push_back(choice_);
    }
    return uses;
  }
  void forward(const Run& run) override {
    run.device.max_pool(run.view(x_), kernel_, stride_, padding_, run.view(y_),
                        choice_ >= 0 ? run.array<std::uint8_t>(choice_) : nullptr);
  }
  std::optional<Uses> backward_uses() override {
    return Uses{.reads = {dy_.storage, choice_}, .writes = {dx_.storage}};
  }
  void backward(const Run& run) override {
    run.device.max_pool_backward(run.view(dy_), run.array<std::uint8_t>(choice_), kernel_, stride_, padding_,
                                 run.view(dx_));
  }

 private:
  int kernel_, stride_, padding_;
  Tensor x_, y_, dx_, dy_;
  StorageId choice_;
};

class AveragePoolOperation final : public Operation {
 public:
  AveragePoolOperation(std::string name, int kernel, Tensor x, Tensor y, Tensor dx, Tensor dy)
      : Operation(std::move(name)), kernel_(kernel), x_(x), y_(y), dx_(dx), dy_(dy) {}

  Uses forward_uses() const override { return {.reads = {x_.storage}, .writes = {y_.storage}}; }
  void forward(const Run& run) override { run.device.average_pool(run.view(x_), kernel_, run.view(y_)); }
  std::optional<Uses> backward_uses() override { return Uses{.reads = {dy_.storage}, .writes = {dx_.storage}}; }
  void backward(const Run& run) override { run.device.average_pool_backward(run.view(dy_), kernel_, run.view(dx_)); }

 private:
  int kernel_;
  Tensor x_, y_, dx_, dy_;
};

class GlobalAveragePoolOperation final : public Operation {
 public:
  GlobalAveragePoolOperation(std::string name, Tensor x, StorageId y, Tensor dx, StorageId dy)
      : Operation(std::move(name)), x_(x), dx_(dx), y_(y), dy_(dy) {}

  Uses forward_uses() const override { return {.reads = {x_.storage}, .writes = {y_}}; }
  void forward(const Run& run) override { run.device.global_average_pool(run.view(x_), run.array(y_)); }
  std::optional<Uses> backward_uses() override { return Uses{.reads = {dy_}, .writes = {dx_.storage}}; }
  void backward(const Run& run) override { run.device.global_average_pool_backward(run.array(dy_), run.view(dx_)); }

 private:
  Tensor x_, dx_;
  StorageId y_, dy_;
};

class LinearOperation final : public Operation {
 public:
  LinearOperation(std::string name, std::int64_t n, std::int64_t k, std::int64_t l, StorageId x, Weight w, Weight b,
                  StorageId y, StorageId dx, StorageId dy)
      : Operation(std::move(name)), n_(n), k_(k), l_(l), x_(x), y_(y), dx_(dx), dy_(dy), w_(w), b_(b) {}

  Uses forward_uses() const override { return {.reads = {x_}, .writes = {y_}}; }
  void forward(const Run& run) override {
    run.device.linear(run.array(x_), w_.value(), b_.value(), n_, k_, l_, run.array(y_));
  }
  std::optional<Uses> backward_uses() override { return Uses{.reads = {x_, dy_}, .writes = {dx_, w_.gradients}}; }
  void backward(const Run& run) override {
    run.device.linear_backward(run.array(x_), w_.value(), run.array(dy_), n_, k_, l_, run.array(dx_), w_.gradient(run),
                               b_.gradient(run));
  }

 private:
  std::int64_t n_, k_, l_;
  StorageId x_, y_, dx_, dy_;
  Weight w_, b_;
};

class SigmoidOperation final : public Operation {
 public:
  SigmoidOperation(std::string name, std::int64_t count, StorageId x, StorageId y)
      : Operation(std::move(name)), count_(count), x_(x), y_(y) {}
  Uses forward_uses() const override { return {.reads = {x_}, .writes = {y_}}; }
  void forward(const Run& run) override { run.device.sigmoid(run.array(x_), count_, run.array(y_)); }

 private:
  std::int64_t count_;
  StorageId x_, y_;
};

class LossOperation final : public Operation {
 public:
  LossOperation(std::string name, LossKind kind, std::int64_t n, std::int64_t l, StorageId logits, StorageId targets,
                StorageId positive_weights, StorageId loss, StorageId dlogits)
      : Operation(std::move(name)),
        kind_(kind),
        n_(n),
        l_(l),
        logits_(logits),
        targets_(targets),
        positive_weights_(positive_weights),
        loss_(loss),
        dlogits_(dlogits) {}

  Uses forward_uses() const override {
    Uses uses{.reads = {logits_, targets_}, .writes = {loss_, dlogits_}};
    if (positive_weights_ >= 0) {
      uses.reads.push_back(positive_weights_);
    }
    return uses;
  }
  void forward(const Run& run) override {
    run.device.loss(kind_, run.array(logits_), run.array(targets_),
                    positive_weights_ >= 0 ? run.array(positive_weights_) : nullptr, n_, l_, run.array<double>(loss_),
                    run.array(dlogits_));
  }

 private:
  LossKind kind_;
  std::int64_t n_, l_;
  StorageId logits_, targets_, positive_weights_, loss_, dlogits_;
};

}  // namespace

std::unique_ptr<Operation> make_input(std::string name, StorageId pixels, std::int64_t source, StorageId transforms,
                                      Tensor y) {
  return std::make_unique<InputOperation>(std::move(name), pixels, source, transforms, y);
}

std::unique_ptr<Operation> make_convolution(std::string name, std::unique_ptr<Convolution> convolution, Tensor x,
                                            Weight w, Tensor y, Tensor dx, Tensor dy, bool input_gradient) {
  return std::make_unique<ConvolutionOperation>(std::move(name), std::move(convolution), x, w, y, dx, dy,
                                                input_gradient);
}

std::unique_ptr<Operation> make_normalize(std::string name, Device& device, Tensor source, Feature feature,
                                          Tensor dsource, Tensor s) {
  return std::make_unique<NormalizeOperation>(std::move(name), device, source, feature, dsource, s);
}

std::unique_ptr<Operation> make_copy(std::string name, Tensor x, Tensor y) {
  return std::make_unique<CopyOperation>(std::move(name), x, y);
}

std::unique_ptr<Operation> make_norm_relu(std::string name, Device& device, Feature feature, NormParameters parameters,
                                          Tensor y, Tensor s, Tensor dy) {
  return std::make_unique<NormReluOperation>(std::move(name), device, feature, parameters, y, s, dy);
}

std::unique_ptr<Operation> make_norm_relu_inference(std::string name, Tensor x, NormParameters parameters, Tensor y,
                                                    StorageId rstd) {
  return std::make_unique<NormReluInferenceOperation>(std::move(name), x, parameters, y, rstd);
}

std::unique_ptr<Operation> make_max_pool(std::string name, int kernel, int stride, int padding, Tensor x, Tensor y,
                                         StorageId choice, Tensor dx, Tensor dy) {
  return std::make_unique<MaxPoolOperation>(std::move(name), kernel, stride, padding, x, y, choice, dx, dy);
}

std::unique_ptr<Operation> make_average_pool(std::string name, int kernel, Tensor x, Tensor y, Tensor dx, Tensor dy) {
  return std::make_unique<AveragePoolOperation>(std::move(name), kernel, x, y, dx, dy);
}

std::unique_ptr<Operation> make_global_average_pool(std::string name, Tensor x, StorageId y, Tensor dx, StorageId dy) {
  return std::make_unique<GlobalAveragePoolOperation>(std::move(name), x, y, dx, dy);
}

std::unique_ptr<Operation> make_linear(std::string name, std::int64_t n, std::int64_t k, std::int64_t l, StorageId x,
                                       Weight w, Weight b, StorageId y, StorageId dx, StorageId dy) {
  return std::make_unique<LinearOperation>(std::move(name), n, k, l, x, w, b, y, dx, dy);
}

std::unique_ptr<Operation> make_sigmoid(std::string name, std::int64_t count, StorageId x, StorageId y) {
  return std::make_unique<SigmoidOperation>(std::move(name), count, x, y);
}

std::unique_ptr<Operation> make_loss(std::string name, LossKind kind, std::int64_t n, std::int64_t l, StorageId logits,
                                     StorageId targets, StorageId positive_weights, StorageId loss, StorageId dlogits) {
  return std::make_unique<LossOperation>(std::move(name), kind, n, l, logits, targets, positive_weights, loss, dlogits);
}

}  // namespace densetree::nn
