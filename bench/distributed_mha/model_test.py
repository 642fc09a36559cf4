"""Tests of model.py."""

import unittest

import model

GPU = model.Gpu()
SHAPE = (8, 64)  # heads, head_dim


class FourWorkersTest(unittest.TestCase):

    def test_is_the_time_of_a_quarter_and_of_all_messages(self):
        self.assertAlmostEqual(model.four_workers(4.0, 1.25, 0.5), 1.75)

    def test_gains_no_more_than_four_times(self):
        self.assertAlmostEqual(model.four_workers(4.0, 0.5, 0.0), 1.0)


class GpuTest(unittest.TestCase):

    def test_vanilla_is_flops_and_passes_over_the_scores(self):
        # 8 heads x 1000 x 1000 scores: 2.048 GFLOP, six passes of 16 MB.
        self.assertAlmostEqual(model.gpu_vanilla(GPU, 1000, *SHAPE),
                               2.048e9 / 100e12 + 96e6 / 1008e9, places=12)

    def test_vanilla_ends_where_scores_exceed_the_memory(self):
        self.assertIsNotNone(model.gpu_vanilla(GPU, 38_000, *SHAPE))
        self.assertIsNone(model.gpu_vanilla(GPU, 39_000, *SHAPE))

    def test_one_gpu_sends_nothing(self):
        self.assertAlmostEqual(model.gpu_tiled(GPU, 100_000, *SHAPE, 1),
                               2 * 1e10 * 512 / 100e12)

    def test_four_gpus_gain_less_than_four_times(self):
        for tokens in (1024, 65_536, 1 << 20):
            gain = (model.gpu_tiled(GPU, tokens, *SHAPE, 1)
                    / model.gpu_tiled(GPU, tokens, *SHAPE, 4))
            self.assertLess(gain, 4.0)
        self.assertGreater(gain, 3.9)  # a million: the link hardly counts


if __name__ == '__main__':
    unittest.main()
