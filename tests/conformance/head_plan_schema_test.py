"""docs/schemas/head_plan.schema.json: what it takes and what we write.

Our reader is held to the same table by model/head_plan/head_plan_text_test.cc.
"""

import copy
import json
import os
import pathlib
import subprocess
import tempfile
import unittest

import jsonschema

SOURCE = pathlib.Path(__file__).resolve().parents[2]
SCHEMA = json.loads(
    (SOURCE / "docs/schemas/head_plan.schema.json").read_text())
TABLE = json.loads((SOURCE / "tests/golden/head_plan_texts.json").read_text())
HEADWISE = os.environ["HEADWISE_PROGRAM"]


def merge_patch(target, patch):
    """RFC 7386."""
    if not isinstance(patch, dict):
        return copy.deepcopy(patch)
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = merge_patch(merged.get(key), value)
    return merged


def convert(source, target):
    return subprocess.run([HEADWISE, "plan", "convert", source, target],
                          capture_output=True, text=True, check=False)


class HeadPlanSchemaTest(unittest.TestCase):
    """The schema, the table and the program."""

    def setUp(self):
        self.validator = jsonschema.Draft202012Validator(SCHEMA)
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)

    def test_schema_is_one(self):
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    def test_table(self):
        for case in TABLE["cases"]:
            with self.subTest(case["name"]):
                plan = merge_patch(TABLE["base"], case["patch"])
                self.assertEqual(case["schema"],
                                 self.validator.is_valid(plan))
                # Nothing that we take may be refused by the schema.
                self.assertTrue(case["schema"] or "error" in case)

    def test_what_we_write_validates(self):
        text, binary = self.folder / "in.json", self.folder / "plan"
        for case in TABLE["cases"]:
            if "error" in case:
                continue
            with self.subTest(case["name"]):
                text.write_text(
                    json.dumps(merge_patch(TABLE["base"], case["patch"])))
                again = self.folder / "out.json"
                for source, target in (text, binary), (binary, again):
                    result = convert(source, target)
                    self.assertEqual((0, ""),
                                     (result.returncode, result.stderr))
                self.validator.validate(json.loads(again.read_text()))


if __name__ == "__main__":
    unittest.main()
