"""The Python package over the library of this build: what it says is what the program says, and bad input is named.

  python_test.py DENSETREE      the program, with the package on PYTHONPATH and the library in DENSETREE_LIBRARY
"""

import gc
import json
import os
import subprocess
import sys
import tempfile
import threading
import unittest
import weakref

try:
    import numpy as np
except ImportError:
    print("NumPy is not installed")
    sys.exit(77)

import densetree as dt
from densetree import _arrays, _c

PROGRAM = sys.argv.pop(1)
TINY = {"architecture": "growth=8,blocks=2-3-2,init=12", "labels": ["Mass", "Nodule", "Edema"], "batch_size": 4,
        "image_size": 32, "source_size": 40}
RNG = np.random.default_rng(1)
IMAGES = RNG.integers(0, 256, (7, 40, 40), dtype=np.uint8)


class Foreign:
    """An array of another library: nothing but DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack__(self, stream=None):
        return self.array.__dlpack__()

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()


class OnGpu(Foreign):
    """An array that says it is on a GPU."""

    def __dlpack_device__(self):
        return (2, 1)


class Runs(unittest.TestCase):
    """Beside the program, on a run that it trained."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.path = staticmethod(lambda name: os.path.join(cls.folder.name, name))
        for command in (["synth", "--out", "x", "--count", "60", "--size", "48", "--seed", "3"],
                        ["prepare", "--images", "x/images", "--labels", "x/Data_Entry_2017.csv", "--out", "d", "--size", "40"],
                        ["train", "--device", "cpu", "--data", "d", "--out", "run", "--arch", "growth=8,blocks=2-4,init=16",
                         "--image-size", "48", "--batch-size", "8", "--epochs", "1"],
                        ["calibrate", "--device", "cpu", "--run", "run", "--data", "d", "--split", "train", "--out", "c.json",
                         "--choose", "any-false:0.5"]):
            subprocess.run([PROGRAM, *command], cwd=cls.folder.name, check=True, capture_output=True)
        cls.files = [f"x/images/{name}" for name in sorted(os.listdir(cls.path("x/images")))[:5]]
        cls.engine = dt.Engine("cpu")
        cls.model = cls.engine.load(cls.path("run"), batch_size=2)

    @classmethod
    def tearDownClass(cls):
        cls.folder.cleanup()

    def predict(self, *arguments):
        answers = subprocess.run([PROGRAM, "predict", "--device", "cpu", "--run", "run", "--json", *arguments, *self.files],
                                 cwd=self.folder.name, check=True, capture_output=True, text=True).stdout
        return [json.loads(line) for line in answers.splitlines()]

    def images(self):
        return self.model.read_images([self.path(name) for name in self.files])

    def test_scores_are_the_programs(self):
        scores = self.model.score(self.images())
        for row, answer in zip(scores, self.predict()):
            np.testing.assert_allclose(row, [answer["probabilities"][label] for label in self.model.labels], rtol=1e-12)

    def test_features_are_the_programs(self):
        subprocess.run([PROGRAM, "embed", "--device", "cpu", "--run", "run", "--out", "f.npy", *self.files],
                       cwd=self.folder.name, check=True, capture_output=True)
        np.testing.assert_allclose(self.model.embed(self.images()), np.load(self.path("f.npy")), rtol=1e-5, atol=1e-6)

    def test_answers_are_the_programs(self):
        calibration = self.engine.read_calibration(self.path("c.json"))
        calibration.check(self.model)
        posteriors = calibration.posteriors(self.model.score(self.images()))
        reports = calibration.report(posteriors)
        reported = calibration.answer(posteriors)
        for i, answer in enumerate(self.predict("--calibration", "c.json")):
            np.testing.assert_allclose(posteriors[i], [answer["posteriors"][node] for node in calibration.nodes], rtol=1e-12)
            self.assertEqual(reports[i].splitlines(), answer["text"])
            self.assertEqual({calibration.nodes[v] for v in np.flatnonzero(reported[i])},
                             {finding["node"] for finding in answer["findings"]})
        self.assertEqual(calibration.parents[-1], -1)
        self.assertTrue(calibration.answer(posteriors, 0.0).any(axis=1).all())
        self.assertFalse(calibration.answer(posteriors, 1.1).any())

    def test_what_it_tells_of_itself(self):
        self.assertEqual(self.model.source_size, 40)
        self.assertEqual(self.model.image_size, 48)
        self.assertEqual(len(self.model.labels), 14)
        self.assertEqual(self.engine.device, "cpu")
        self.assertIsNone(self.engine.stream)
        listed = json.loads(subprocess.run([PROGRAM, "devices", "--json"], check=True, capture_output=True).stdout)
        self.assertEqual([(device.name, device.available, device.detail) for device in dt.devices()],
                         [(device["name"], device["available"], device["detail"]) for device in listed])
        with self.assertRaisesRegex(dt.InvalidArgument, "labels is 3, but the run was trained with 14"):
            self.engine.load(self.path("run"), labels=3)


class Models(unittest.TestCase):
    def setUp(self):
        self.engine = dt.Engine("cpu", threads=1)

    def test_a_plan_says_what_a_model_takes(self):
        plan = self.engine.plan(**TINY, training=True)
        self.assertGreater(plan.bytes, plan.persistent_bytes)
        self.assertEqual(plan.architecture, TINY["architecture"])
        self.assertEqual(plan.model().bytes, plan.bytes)
        self.assertEqual(plan.model().bytes, plan.bytes)  # a second one
        fits = self.engine.largest_batch(plan.bytes, **TINY, training=True)
        self.assertEqual(fits, 4)
        self.assertEqual(self.engine.largest_batch(1000, **TINY), 0)

    def test_training_lowers_the_loss_and_checkpoints_go_on(self):
        targets = np.array([[1, 0, np.nan], [0, 1, 0], [1, 1, 0], [0, 0, 1]])
        model = self.engine.model(**TINY, training=True, loss="bce")
        losses = [model.train_step(IMAGES[:4], targets, lr=3e-3) for _ in range(20)]
        self.assertLess(losses[-1], losses[0] / 2)
        self.assertIsNone(model.train_step(IMAGES[:4], targets, wait=False))
        self.assertEqual(model.steps, 21)
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "w.safetensors")
            model.save(file)
            again = self.engine.load(file, batch_size=4, training=True, loss="bce")
        self.assertEqual(again.labels, TINY["labels"])
        self.assertEqual(again.steps, 21)
        for name, values in model.tensors().items():
            np.testing.assert_array_equal(values, again.tensors()[name], err_msg=name)
        self.assertEqual(again.train_step(IMAGES[:4], targets), model.train_step(IMAGES[:4], targets))

    def test_results_go_where_they_are_wanted(self):
        model = self.engine.model(**TINY)
        logits = model.logits(IMAGES)
        self.assertEqual(logits.shape, (7, 3))
        np.testing.assert_allclose(model.score(IMAGES), 1 / (1 + np.exp(-logits.astype(np.float64))), rtol=1e-12)
        out = np.full((7, 3), -7, np.float32)
        self.assertIs(model.logits(IMAGES, out=out), out)
        np.testing.assert_array_equal(out, logits)
        features = np.zeros((7, model.features), np.float32)
        model.embed(Foreign(IMAGES), out=Foreign(features))
        np.testing.assert_array_equal(features, model.embed(IMAGES))
        for strided in (np.asfortranarray(IMAGES), np.repeat(IMAGES, 2, axis=2)[:, :, ::2]):
            np.testing.assert_array_equal(model.logits(strided), logits)
        self.assertEqual(model.score(IMAGES[:0]).shape, (0, 3))

    def test_dlpack_is_read_in_place(self):
        memory = _arrays.of_dlpack(Foreign(IMAGES[2:]), np.uint8, "images")
        self.assertEqual((memory.pointer, memory.shape, memory.place), (IMAGES[2:].ctypes.data, (5, 40, 40), _c.HOST))
        with self.assertRaisesRegex(TypeError, "images has elements of DLPack's type"):
            _arrays.of_dlpack(IMAGES, np.float32, "images")
        with self.assertRaisesRegex(ValueError, "images is not dense"):
            _arrays.of_dlpack(IMAGES[:, ::2], np.uint8, "images")
        array = np.zeros(3)
        alive = weakref.ref(array)
        memory = _arrays.of_dlpack(array, np.float64, "x")
        del array
        gc.collect()
        self.assertIsNotNone(alive())
        del memory
        gc.collect()
        self.assertIsNone(alive())

    def test_progress_is_told_cancels_and_raises(self):
        model = self.engine.model(**TINY)
        seen = []
        model.score(IMAGES, progress=lambda *now: seen.append(now))
        self.assertEqual(seen, [(4, 7), (7, 7)])
        with self.assertRaisesRegex(dt.Cancelled, "cancelled after 4 of 7 images"):
            model.score(IMAGES, progress=lambda done, total: False)

        def interrupted(done, total):
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            model.score(IMAGES, progress=interrupted)
        busy = []

        def again(done, total):
            with self.assertRaises(dt.Busy) as refused:
                model.initialize(1)
            busy.append(refused.exception.code)

        model.score(IMAGES, progress=again)
        self.assertEqual(busy, [_c.BUSY, _c.BUSY])

    def test_engines_in_threads_work_side_by_side(self):
        expected = self.engine.model(**TINY).logits(IMAGES)
        found = [None] * 3

        def work(place):
            with dt.Engine("cpu", threads=1) as engine, engine.model(**TINY) as model:
                found[place] = [model.logits(IMAGES) for _ in range(5)][-1]

        threads = [threading.Thread(target=work, args=(place,)) for place in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for logits in found:
            np.testing.assert_array_equal(logits, expected)

    def test_calibrations_are_fitted_and_written(self):
        scores = RNG.random((300, 14))
        targets = (RNG.random((300, 14)) < scores**2).astype(np.float32)
        targets[3, 4] = np.nan
        fitted = self.engine.fit_calibration(scores, targets, np.arange(300) // 2, bins=8, choose="precision:0.5,delta:0.2")
        self.assertEqual(len(fitted.thresholds), len(fitted.nodes))
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "c.json")
            fitted.write(file)
            read = self.engine.read_calibration(file)
        np.testing.assert_array_equal(read.posteriors(scores), fitted.posteriors(scores))
        np.testing.assert_array_equal(read.thresholds, fitted.thresholds)
        self.assertIsNone(self.engine.fit_calibration(scores, targets, np.arange(300)).thresholds)

    def test_pictures_are_read_and_resized(self):
        picture = np.arange(12, dtype=np.uint8).reshape(3, 4)
        small = dt.resize_image(picture, 2)
        self.assertEqual(small.shape, (2, 2))
        self.assertEqual(small.tolist(), [[3, 5], [4, 5]])  # means, halves up, of a square with a black row below
        with self.assertRaisesRegex(dt.Error, "/nowhere.png"):
            dt.read_image("/nowhere.png", 8)

    def test_bad_arguments_are_named(self):
        model = self.engine.model(**TINY, training=True)
        nine = (np.full((9, 14), 0.5), np.ones((9, 14)), np.arange(9))  # scores, targets, patients
        calibration = self.engine.fit_calibration(*nine)
        for words, bad in {
            r"images has the shape \(7, 39, 40\); it must have \(N, 40, 40\)": lambda: model.score(IMAGES[:, 1:]),
            r"images has the shape \(40, 40\)": lambda: model.score(IMAGES[0]),
            "images has elements of type float64; it must have uint8": lambda: model.score(IMAGES / 255),
            "images has elements of type int64": lambda: model.score(IMAGES.astype(np.int64)),
            r"out has the shape \(7, 4\); it must have \(7, 3\)": lambda: model.logits(IMAGES, out=np.ones((7, 4), np.float32)),
            "out has elements of type float64": lambda: model.logits(IMAGES, out=np.empty((7, 3))),
            "out must be dense and writeable": lambda: model.logits(IMAGES, out=np.empty((3, 7), np.float32).T),
            r"targets has the shape \(4, 2\)": lambda: model.train_step(IMAGES[:4], np.ones((4, 2))),
            "a step takes a whole batch of 4 images": lambda: model.train_step(IMAGES, np.ones((7, 3))),
            r"targets\[0\] is 2": lambda: model.train_step(IMAGES[:4], np.full((4, 3), 2)),
            "lr is -1": lambda: model.train_step(IMAGES[:4], np.ones((4, 3)), lr=-1),
            "images is on cuda:1; it must be on the host": lambda: model.score(OnGpu(IMAGES)),
            "out is on cuda:1; it must be on the host": lambda: model.logits(IMAGES, out=OnGpu(np.empty((7, 3), np.float32))),
            "scores is on cuda:1; it must be on the host": lambda: calibration.posteriors(OnGpu(nine[0])),
            "labels is empty": lambda: self.engine.plan(labels=[]),
            r"targets has the shape \(14, 9\)": lambda: self.engine.fit_calibration(nine[0], nine[1].T, nine[2]),
            "device is gpu": lambda: dt.Engine("gpu"),
            "a model has no setting 'batchsize'": lambda: self.engine.plan(batchsize=4),
            "precision is 'fp16'; use one of fp32, tf32, bf16": lambda: self.engine.plan(precision="fp16"),
            "positive_weights has 2 values": lambda: self.engine.plan(**TINY, positive_weights=[1, 2]),
            "tf32 needs a CUDA device": lambda: self.engine.plan(precision="tf32"),
            "/nowhere": lambda: self.engine.load("/nowhere"),
            r"scores has the shape \(3, 13\); it must have \(N, 14\)": lambda: calibration.posteriors(np.ones((3, 13))),
            r"scores\[0\] is nan": lambda: calibration.posteriors(np.full((3, 14), np.nan)),
            "holds no thresholds": lambda: calibration.answer(np.ones((1, len(calibration.nodes)))),
            "the three forms are": lambda: self.engine.fit_calibration(*nine, choose="best"),
        }.items():
            with self.subTest(words), self.assertRaisesRegex((dt.Error, TypeError, ValueError), words):
                bad()
        model.close()
        model.close()
        with self.assertRaisesRegex(dt.InvalidArgument, "model is null"):
            model.score(IMAGES)

    def test_nothing_is_left_behind(self):
        model = self.engine.model(**TINY)
        engine = weakref.ref(self.engine)
        handle = weakref.ref(model)
        self.engine = None
        self.assertIsNotNone(engine())  # the model has it
        del model
        gc.collect()
        self.assertIsNone(handle())
        self.assertIsNone(engine())

    def test_lines_for_a_log_arrive(self):
        lines = []
        engine = dt.Engine("cpu", log=lines.append)
        with tempfile.TemporaryDirectory() as folder:
            file = os.path.join(folder, "w.safetensors")
            model = engine.model(**TINY)
            model.save(file)
            with open(file, "rb") as stream:
                data = stream.read()
            length = int.from_bytes(data[:8], "little")
            header = json.loads(data[8 : 8 + length])  # of safetensors; as torch's DataParallel names tensors
            header = {name if name == "__metadata__" else f"module.{name}": tensor for name, tensor in header.items()}
            renamed = json.dumps(header).encode()
            renamed += b" " * (-len(renamed) % 8)
            with open(file, "wb") as stream:
                stream.write(len(renamed).to_bytes(8, "little") + renamed + data[8 + length :])
            model.load(file)
        self.assertTrue(any("module." in line for line in lines), lines)


if __name__ == "__main__":
    unittest.main()
