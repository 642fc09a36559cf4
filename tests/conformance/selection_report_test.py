"""The page of `headwise select report` in headless Chromium.

    selection_report_test.py PROGRAM [--keep FOLDER]

PROGRAM prints a page. --keep leaves the screenshots in FOLDER.
"""

import html
import pathlib
import subprocess
import sys
import tempfile
import unittest

from PIL import Image

from html_outline import Outline

CHROMIUM = "chromium"
SECONDS = 120  # an upper bound, on a loaded machine
PROGRAM = None
KEEP = None
FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
         "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions",
         "--disable-background-networking"]
# Shows a page within a window of a width, and writes into its own text how wide
# the page became.
FRAME = """<!DOCTYPE html><title>frame</title><body>
<iframe id="f" style="width:{width}px;height:900px;border:0" srcdoc="{page}">
</iframe><p id="widths"></p><script>
const frame = document.getElementById("f");
frame.onload = () => {{
  const root = frame.contentDocument.documentElement;
  document.getElementById("widths").textContent =
      "width " + root.scrollWidth + " of " + root.clientWidth + "!";
}};
</script>"""


class SelectionReportTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(folder.cleanup)
        cls.folder = pathlib.Path(folder.name)
        cls.page = subprocess.run([PROGRAM], check=True, timeout=SECONDS,
                                  capture_output=True).stdout.decode()
        cls.file = cls.folder / "page.html"
        cls.file.write_text(cls.page)

    def chromium(self, *flags, file=None):
        profile = tempfile.mkdtemp(dir=self.folder)
        done = subprocess.run(
            [CHROMIUM, *FLAGS, f"--user-data-dir={profile}", *flags,
             (file or self.file).as_uri()],
            capture_output=True, timeout=SECONDS)
        self.assertEqual(done.returncode, 0, done.stderr.decode()[-2000:])
        return done.stdout.decode()

    def screenshot(self, name, *flags):
        path = (KEEP or self.folder) / name
        self.chromium(f"--screenshot={path}", "--window-size=900,1400",
                      *flags)
        with Image.open(path) as image:
            return image.convert("RGB")

    def test_the_browser_finds_every_part(self):
        outline = Outline(self.chromium("--dump-dom"))
        domains = ["web", "code", "math", "bücher"]
        parts = ["Scores", "Losses of the model as it is",
                 "Quantiles of ranked documents", "Selection",
                 "Highest scores", "Middle of the ranking", "Lowest scores"]
        self.assertEqual(
            outline.headings,
            ["Selection of a drawn corpus", "What was scored",
             "What became of the documents", "Domains"]
            + [heading for domain in domains
               for heading in (domain, *parts)])
        # Two histograms and two shares a domain, and one strip of outcomes.
        self.assertEqual(outline.tags["svg"], 4 * 4 + 1)
        self.assertEqual(outline.tags["article"], 4 * 6)
        self.assertEqual(outline.tags["script"], 0)
        self.assertIn('a[i] != "<end>"', outline.text)

    def test_the_picture_is_not_blank(self):
        image = self.screenshot("light.png")
        self.assertEqual(image.size, (900, 1400))
        counts = sorted(image.getcolors(900 * 1400), reverse=True)
        self.assertGreater(len(counts), 50)
        self.assertLess(counts[0][0], 0.97 * 900 * 1400)
        colors = {color for _, color in counts}
        self.assertIn((0x0d, 0x7d, 0x76), colors)  # what is selected

    def test_it_is_dark_where_the_reader_wants_that(self):
        # 0 is dark.
        dark = self.screenshot("dark.png",
                               "--blink-settings=preferredColorScheme=0")
        light = self.screenshot("light.png",
                                "--blink-settings=preferredColorScheme=1")
        self.assertLess(sum(dark.getpixel((2, 2))), 120)
        self.assertGreater(sum(light.getpixel((2, 2))), 700)

    def test_nothing_is_wider_than_a_window_or_a_phone(self):
        for width in (340, 390, 900):
            with self.subTest(width):
                frame = self.folder / "frame.html"
                frame.write_text(FRAME.format(
                    width=width, page=html.escape(self.page)))
                dom = self.chromium("--dump-dom", file=frame)
                self.assertIn(f"width {width} of {width}!", dom)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    if "--keep" in sys.argv:
        at = sys.argv.index("--keep")
        KEEP = pathlib.Path(sys.argv[at + 1])
        del sys.argv[at:at + 2]
    unittest.main(verbosity=2)
