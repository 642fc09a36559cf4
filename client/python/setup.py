"""Generates the messages of our services into the built package."""

import pathlib

from setuptools import setup
from setuptools.command.build_py import build_py

PROTO_ROOT = pathlib.Path(__file__).resolve().parents[2] / "proto"
PROTOS = ["headwise/v1/attention.proto", "headwise/v1/head_plan.proto",
          "headwise/v1/neural_memory.proto", "headwise/v1/selection.proto"]


class BuildWithProto(build_py):
    def run(self):
        super().run()
        # Only needed here: whoever installs a wheel has no compiler.
        from grpc_tools import protoc
        arguments = ["protoc", f"-I{PROTO_ROOT}",
                     f"--python_out={self.build_lib}",
                     f"--grpc_python_out={self.build_lib}", *PROTOS]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"can't compile {PROTOS} in {PROTO_ROOT}")


setup(cmdclass={"build_py": BuildWithProto})
