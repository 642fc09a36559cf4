"""Generates the messages of headwise.v1.Attention into the built package."""

import pathlib

from setuptools import setup
from setuptools.command.build_py import build_py

PROTO_ROOT = pathlib.Path(__file__).resolve().parents[2] / "proto"
PROTO = "headwise/v1/attention.proto"


class BuildWithProto(build_py):
    def run(self):
        super().run()
        # Only needed here: whoever installs a wheel has no compiler.
        from grpc_tools import protoc
        arguments = ["protoc", f"-I{PROTO_ROOT}",
                     f"--python_out={self.build_lib}",
                     f"--grpc_python_out={self.build_lib}", PROTO]
        if protoc.main(arguments) != 0:
            raise RuntimeError(f"can't compile {PROTO_ROOT / PROTO}")


setup(cmdclass={"build_py": BuildWithProto})
