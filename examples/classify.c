/* What a trained network finds in X-rays: probabilities, and with a calibration an answer along the label tree.
 *   classify RUN CALIBRATION|- IMAGE...
 * cc classify.c $(pkg-config --cflags --libs densetree) -o classify */
#include <densetree.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void check(densetree_status* status) {
  if (status) {
    fprintf(stderr, "classify: %s\n", densetree_status_message(status));
    densetree_status_release(status);
    exit(EXIT_FAILURE);
  }
}

static void* allocate(size_t count, size_t size) {
  void* memory = calloc(count, size);
  if (!memory) {
    fprintf(stderr, "classify: out of memory\n");
    exit(EXIT_FAILURE);
  }
  return memory;
}

int main(int argc, char** argv) {
  if (argc < 4) {
    fprintf(stderr, "usage: classify RUN CALIBRATION|- IMAGE...\n");
    return 2;
  }
  const size_t count = (size_t)(argc - 3);

  densetree_engine_params engine_params;
  check(densetree_engine_params_init(&engine_params, sizeof engine_params));
  densetree_engine* engine = NULL;
  check(densetree_engine_create(DENSETREE_VERSION, &engine_params, &engine));

  densetree_model_params params;
  check(densetree_model_params_init(&params, sizeof params));
  params.run = argv[1];
  params.batch_size = (int64_t)count;
  densetree_plan* plan = NULL;
  check(densetree_plan_create(engine, &params, &plan));
  densetree_model_info info = {.size = sizeof info};
  check(densetree_plan_get_info(plan, &info));
  fprintf(stderr, "%s on %s takes %.1f MiB\n", info.architecture, densetree_engine_device(engine),
          (double)info.bytes / 1048576);
  densetree_model* model = NULL;
  check(densetree_model_create(plan, NULL, 0, &model));
  densetree_plan_release(plan);

  const size_t side = (size_t)info.source_size, labels = (size_t)info.labels;
  uint8_t* pixels = allocate(count * side, side);
  for (size_t i = 0; i < count; ++i) {
    check(densetree_image_read(argv[3 + i], info.source_size, pixels + i * side * side, side * side));
  }
  double* scores = allocate(count * labels, sizeof *scores);
  densetree_images images = {
      .size = sizeof images, .pixels = pixels, .pixels_size = count * side * side, .count = (int64_t)count};
  densetree_outputs outputs = {.size = sizeof outputs, .probabilities = scores, .probabilities_size = count * labels};
  check(densetree_model_infer(model, &images, &outputs, NULL, NULL));

  densetree_calibration* calibration = NULL;
  densetree_calibration_info tree = {.size = sizeof tree};
  double* posteriors = NULL;
  if (strcmp(argv[2], "-") != 0) {
    check(densetree_calibration_read(engine, argv[2], &calibration));
    check(densetree_calibration_check_model(calibration, model));
    check(densetree_calibration_get_info(calibration, &tree));
    posteriors = allocate(count * (size_t)tree.nodes, sizeof *posteriors);
    check(densetree_calibration_posteriors(calibration, scores, count * labels, posteriors, count * (size_t)tree.nodes));
  }
  for (size_t i = 0; i < count; ++i) {
    printf("%s\n", argv[3 + i]);
    for (size_t l = 0; l < labels; ++l) {
      printf("  %-20s %.6f\n", densetree_model_label(model, (int64_t)l), scores[i * labels + l]);
    }
    if (calibration) {
      const size_t nodes = (size_t)tree.nodes;
      char text[4096];
      size_t length = 0;
      check(densetree_calibration_report(calibration, posteriors + i * nodes, nodes, NULL, 0, text, sizeof text, &length));
      fputs(text, stdout);
    }
  }
  free(posteriors), free(scores), free(pixels);
  densetree_calibration_release(calibration);
  densetree_model_release(model);
  densetree_engine_release(engine);
  return 0;
}
