"""The Python package, plain grpcio and the CLI against a server with TLS."""

import os
import pathlib
import subprocess
import tempfile
import unittest

import grpc
import headwise
from headwise_server import HeadwiseServer

_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Authority:
    """Makes certificates with the program openssl."""

    def __init__(self, folder: str):
        self._folder = pathlib.Path(folder)
        self.ca = str(self._folder / "ca.pem")
        self._run("req", "-x509", *_NEW_KEY, "-keyout", "ca.key",
                  "-out", "ca.pem", "-subj", "/CN=authority", "-days", "2")

    def issue(self, name: str, names: str) -> tuple[str, str]:
        """Paths of a certificate for these names and of its key."""
        self._run("req", "-new", *_NEW_KEY, "-keyout", f"{name}.key",
                  "-out", f"{name}.csr", "-subj", f"/CN={name}",
                  "-addext", f"subjectAltName={names}")
        self._run("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem",
                  "-CAkey", "ca.key", "-copy_extensions", "copy",
                  "-days", "2", "-out", f"{name}.pem")
        return (str(self._folder / f"{name}.pem"),
                str(self._folder / f"{name}.key"))

    def _run(self, *arguments: str) -> None:
        subprocess.run(["openssl", *arguments], cwd=self._folder, check=True,
                       capture_output=True)


class TlsClientTest(unittest.TestCase):

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.authority = Authority(cls.folder.name)
        cert, key = cls.authority.issue("server",
                                        "IP:127.0.0.1,DNS:headwise.example")
        cls.cert, cls.key = cls.authority.issue("caller", "DNS:caller")
        cls.server = HeadwiseServer("--tls-cert", cert, "--tls-key", key,
                                    "--tls-ca", cls.authority.ca)

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.folder.cleanup()

    def place(self, **changes):
        return headwise.Server(**{
            "address": self.server.address, "ca": self.authority.ca,
            "cert": self.cert, "key": self.key, **changes})

    def create(self, server):
        return headwise.NeuralMemory.create(
            server, num_heads=1, head_dim=16, gates=headwise.Gates(0.05),
            timeout=30.0)

    def test_the_package_is_served_with_a_certificate(self):
        for server in (self.place(),
                       self.place(server_name="headwise.example")):
            with self.create(server) as memory:
                self.assertEqual(memory.num_tokens, 0)

    def test_without_the_right_one_it_is_not(self):
        for server in (self.server.address, self.place(cert="", key=""),
                       self.place(server_name="another.example")):
            with self.assertRaises(headwise.HeadwiseError) as refused:
                self.create(server)
            self.assertEqual(refused.exception.code,
                             grpc.StatusCode.UNAVAILABLE)
        with self.assertRaisesRegex(ValueError, "cert and key need each"):
            self.create(self.place(key=""))

    def test_the_cli_is_served_and_names_a_bad_file(self):
        def run(*flags):
            return subprocess.run(
                [os.environ["HEADWISE_PROGRAM"], "heads", "map",
                 "--server", self.server.address, *flags],
                capture_output=True, text=True, timeout=60)

        good = run("--tls-ca", self.authority.ca, "--tls-cert", self.cert,
                   "--tls-key", self.key)
        self.assertEqual(good.returncode, 0, good.stderr)
        bad = run("--tls-ca", "/none.pem")
        self.assertEqual(bad.returncode, 1)
        self.assertIn("--tls-ca /none.pem: No such file", bad.stderr)


if __name__ == "__main__":
    unittest.main()
